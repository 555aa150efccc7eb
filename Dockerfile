# syntax=docker/dockerfile:1
# The service, for CPUs or with PyTorch for NVIDIA GPUs:
#
#   docker build -t convad .
#   docker build -t convad:gpu --build-arg GPU=1 .
#   docker build -t convad:batch --build-arg BATCH=1 .   # with what `vad batch` needs, and Ray
#
# Every package is held to its hash by requirements.lock or its like, which tools/lock.sh exports
# from uv.lock.
#
# BASE is a tag here, so that a build has Debian's security updates; name it by its digest,
# `--build-arg BASE=debian@sha256:…`, for the same base each time, as .github/workflows/image.yaml does.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ARG GPU=
ARG BATCH=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ONLY_BINARY=:all:
# Debian's security updates shall come in with each build, so no versions here.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# What changes seldom comes first: a change of the code downloads nothing.
COPY requirements.lock requirements-gpu.lock requirements-batch.lock requirements-build.lock ./
RUN python3 -m venv --without-pip /opt/convad \
    && pip --python /opt/convad/bin/python install --require-hashes \
        -r "requirements${GPU:+-gpu}${BATCH:+-batch}.lock"
RUN python3 -m venv --without-pip /opt/build \
    && pip --python /opt/build/bin/python install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE convad.py ./
COPY models models
COPY docs docs
COPY vad vad
COPY service service
RUN /opt/build/bin/python -m hatchling build -t wheel -d /dist \
    && pip --python /opt/convad/bin/python install --no-deps --no-index /dist/*.whl

FROM ${BASE}
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="convad" \
      org.opencontainers.image.description="Finds where people speak: HTTP and WebSocket service" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/${BASE}"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 convad \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
               --shell /usr/sbin/nologin convad
COPY --from=build /opt/convad /opt/convad
ENV PATH=/opt/convad/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    VAD_HOST=0.0.0.0 \
    VAD_PORT=8000 \
    VAD_LOG_FORMAT=json
# By number, so that Kubernetes' runAsNonRoot can tell.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"VAD_PORT\"]}/healthz/ready', timeout=4)"]
# tini reaps what worker processes leave behind and passes signals on.
ENTRYPOINT ["tini", "--", "vad"]
CMD ["serve"]
