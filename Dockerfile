# Tag, and digest of the index for every architecture. To renew it:
#   docker buildx imagetools inspect python:3.13-slim --format '{{.Manifest.Digest}}'
ARG PYTHON_TAG=3.13-slim
ARG PYTHON_DIGEST=sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM docker.io/library/python:${PYTHON_TAG}@${PYTHON_DIGEST} AS wheel
WORKDIR /src
COPY requirements/build.txt requirements/
RUN python -m venv /build \
    && /build/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/build.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY exporter exporter
ARG REVISION=unknown
RUN COMFYCONTROL_EXPORTER_REVISION="${REVISION}" /build/bin/python -m hatchling build -t wheel -d /wheel

FROM docker.io/library/python:${PYTHON_TAG}@${PYTHON_DIGEST} AS install
COPY requirements/runtime.txt /
# Without pip: nothing is installed into it later.
RUN python -m venv --without-pip /opt/comfycontrol-exporter \
    && python -m pip --python /opt/comfycontrol-exporter/bin/python install \
       --no-cache-dir --disable-pip-version-check --no-compile --require-hashes --only-binary :all: -r /runtime.txt
COPY --from=wheel /wheel /wheel
RUN python -m pip --python /opt/comfycontrol-exporter/bin/python install \
       --no-cache-dir --disable-pip-version-check --no-compile --no-deps --no-index /wheel/*.whl \
    && mkdir /data
# For a read-only root. "Unchecked": whatever becomes of the files' times on the way, it is heeded.
RUN python -m compileall -q -f --invalidation-mode unchecked-hash /opt/comfycontrol-exporter/lib

FROM docker.io/library/python:${PYTHON_TAG}@${PYTHON_DIGEST}
# The official image comes without bytecode of the standard library. Compiled anew, that takes every
# start and every health check a quarter of a second of a core. Left out is what no service imports.
RUN python -m compileall -q -f --invalidation-mode unchecked-hash \
       -x '/(site-packages|test|idlelib|tkinter|turtledemo|ensurepip|pydoc_data|lib2to3)/' \
       "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ARG PYTHON_TAG
ARG PYTHON_DIGEST
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="comfycontrol-exporter" \
      org.opencontainers.image.description="Prometheus exporter for workflows hosted on ComfyControl" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.url="https://github.com/comfycontrol/comfycontrol-exporter" \
      org.opencontainers.image.source="https://github.com/comfycontrol/comfycontrol-exporter" \
      org.opencontainers.image.documentation="https://github.com/comfycontrol/comfycontrol-exporter/tree/main/docs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:${PYTHON_TAG}" \
      org.opencontainers.image.base.digest="${PYTHON_DIGEST}"
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
