# Three images from one file, each with one extra: docker build --target embedding|ranking|trainer -t twotower-<target> .
FROM python:3.11-slim-bookworm AS base
WORKDIR /app
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
RUN useradd --create-home twotower \
    && mkdir -p /releases /users /suppressions /home/twotower/.cache \
    && chown twotower /releases /users /suppressions /home/twotower/.cache && chmod 700 /users /suppressions
COPY constraints.txt ./

# What each extra needs, as a file of its own, so that a change of anything else does not install it again.
FROM base AS requirements
COPY pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; [print(*p['dependencies'], *extra, sep='\n', file=open(f'/{name}.txt', 'w')) for name, extra in p['optional-dependencies'].items()]"

FROM base AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY twotower twotower
COPY embedding_service embedding_service
COPY ranking_service ranking_service
COPY trainer trainer
COPY clients clients
RUN python -m pip wheel --no-deps --wheel-dir /wheels .

FROM base AS embedding
COPY --from=requirements /embedding.txt ./
RUN python -m pip install -c constraints.txt -r embedding.txt
COPY --from=wheel /wheels /wheels
RUN python -m pip install --no-deps /wheels/*.whl
USER twotower
EXPOSE 50051
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["python", "-m", "twotower.health", "127.0.0.1:50051"]
ENTRYPOINT ["python", "-m", "embedding_service"]

FROM base AS ranking
COPY --from=requirements /ranking.txt ./
RUN python -m pip install -c constraints.txt -r ranking.txt
COPY --from=wheel /wheels /wheels
RUN python -m pip install --no-deps /wheels/*.whl
USER twotower
EXPOSE 50052
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["python", "-m", "twotower.health", "127.0.0.1:50052"]
ENTRYPOINT ["python", "-m", "ranking_service"]

FROM base AS trainer
ENV OPENBLAS_NUM_THREADS=1
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
# PyTorch alone first: asked for on its own with its exact version it takes the CPU build wherever the machine offers one.
RUN python -m pip install "$(grep '^torch==' constraints.txt)"
COPY --from=requirements /trainer.txt ./
RUN python -m pip install -c constraints.txt -r trainer.txt
COPY --from=wheel /wheels /wheels
RUN python -m pip install --no-deps /wheels/*.whl
USER twotower
ENTRYPOINT ["python", "-m", "trainer"]
