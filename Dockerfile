# Tag, and digest of the index for every architecture. To renew it:
#   docker buildx imagetools inspect python:3.13-slim --format '{{.Manifest.Digest}}'
ARG PYTHON_TAG=3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM docker.io/library/python:${PYTHON_TAG} AS wheel
WORKDIR /src
COPY requirements/build.txt requirements/
RUN python -m venv /build \
    && /build/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/build.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY exporter exporter
ARG REVISION=unknown
RUN COMFYCONTROL_EXPORTER_REVISION="${REVISION}" /build/bin/python -m hatchling build -t wheel -d /wheel

FROM docker.io/library/python:${PYTHON_TAG} AS install
COPY requirements/runtime.txt /
# Without pip: nothing is installed into it later. Bytecode is compiled here, for a read-only root.
RUN python -m venv --without-pip /opt/comfycontrol-exporter \
    && python -m pip --python /opt/comfycontrol-exporter/bin/python install \
       --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: -r /runtime.txt
COPY --from=wheel /wheel /wheel
RUN python -m pip --python /opt/comfycontrol-exporter/bin/python install \
       --no-cache-dir --disable-pip-version-check --no-deps --no-index /wheel/*.whl \
    && mkdir /data

FROM docker.io/library/python:${PYTHON_TAG}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="comfycontrol-exporter" \
      org.opencontainers.image.description="Prometheus exporter for workflows hosted on ComfyControl" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim"
COPY --from=install /opt/comfycontrol-exporter /opt/comfycontrol-exporter
COPY --from=install --chown=65532:65532 /data /data
ENV PATH=/opt/comfycontrol-exporter/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
VOLUME ["/data"]
EXPOSE 10871
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["comfycontrol-exporter", "health"]
ENTRYPOINT ["comfycontrol-exporter", "--storage.path=/data"]
