# The jeeves command, for machines without Python and for the network of compose.yaml.
# From the root of the repository: docker build -f deploy/docker/cli.Dockerfile -t jeeves-cli .
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
RUN sh /build/wheels/install.sh dependencies './shared[cli]'
COPY shared/ /build/shared/
RUN sh /build/wheels/install.sh packages ./shared

FROM ${BASE_IMAGE}
RUN install -d -o 10001 -g 10001 /manifests
COPY --from=builder /opt/jeeves /opt/jeeves
ENV PATH=/opt/jeeves/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001:10001
VOLUME ["/manifests"]
ENTRYPOINT ["jeeves"]
CMD ["--help"]
