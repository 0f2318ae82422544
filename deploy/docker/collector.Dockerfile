# Collector: fetches documents; git for addresses of repositories.
# From the root of the repository: docker build -f deploy/docker/collector.Dockerfile -t jeeves-collector .
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS builder
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
WORKDIR /build
# The pattern of deploy/wheels matches nothing in a fresh clone, which is fine beside a file that exists.
COPY deploy/docker/install.sh deploy/wheel[s] /build/wheels/
COPY deploy/constraints.txt /build/deploy/
COPY shared/pyproject.toml /build/shared/
COPY services/collector/pyproject.toml services/collector/README.m[d] /build/services/collector/
RUN sh /build/wheels/install.sh dependencies ./shared './services/collector[parquet]'
COPY shared/ /build/shared/
COPY services/collector/ /build/services/collector/
RUN sh /build/wheels/install.sh packages ./shared ./services/collector

FROM ${BASE_IMAGE}
# The distribution's current version: its security updates are what is wanted.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --system --gid 10001 jeeves \
    && useradd --system --uid 10001 --gid 10001 --no-create-home jeeves \
    && install -d -o jeeves -g jeeves /data /store
COPY --from=builder /opt/jeeves /opt/jeeves
COPY deploy/docker/healthcheck.py /opt/jeeves/healthcheck.py
ENV PATH=/opt/jeeves/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/data \
    JEEVES_HOST=0.0.0.0 \
    JEEVES_PORT=8101 \
    JEEVES_DATA_DIR=/data \
    JEEVES_STORE_URL=/store
WORKDIR /app
USER 10001:10001
EXPOSE 8101
VOLUME ["/data", "/store"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/jeeves/healthcheck.py"]
CMD ["python", "-m", "jeeves_collector"]
