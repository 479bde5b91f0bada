# CPU image:   docker build -t mal-pipeline .
# CUDA image:  docker build -t mal-pipeline:cuda --build-arg BASE=nvidia/cuda:13.0.2-devel-ubuntu24.04 \
#                --build-arg MMCV_OPS=compiled --build-arg CUDA=1 .
# The environment comes from the same script and the same lock as `make setup`.
ARG BASE=debian:12-slim

FROM ${BASE} AS base
SHELL ["/bin/sh", "-eu", "-c"]
# libglib2.0: headless OpenCV's only system library. Debian 12 brings Python 3.11; other bases
# take it from the deadsnakes archive when their own is another version.
# hadolint ignore=DL3008
RUN apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates git libglib2.0-0 make; \
    if ! apt-get install -y --no-install-recommends python3.11 python3.11-venv; then \
        apt-get install -y --no-install-recommends gpg-agent software-properties-common; \
        add-apt-repository -y ppa:deadsnakes/ppa; \
        apt-get install -y --no-install-recommends python3.11 python3.11-venv; \
    fi; \
    rm -rf /var/lib/apt/lists/*

FROM base AS build
ARG MMCV_OPS=torchvision
ARG CUDA=
# hadolint ignore=DL3008
RUN if [ "$MMCV_OPS" = compiled ]; then \
        apt-get update; \
        apt-get install -y --no-install-recommends g++ python3.11-dev; \
        rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /app
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY scripts scripts
COPY mal_core mal_core
COPY flows flows
COPY phase2_configs phase2_configs
COPY conf conf
COPY scenes scenes
# The wheel cache of mmcv's compiled ops outlives the layer, so a rebuild does not compile again.
RUN --mount=type=cache,target=/var/cache/build \
    export XDG_CACHE_HOME=/var/cache/build; \
    python=$(scripts/find_python.sh); \
    "$python" -I scripts/setup.py --venv /app/.venv --mmcv-ops "$MMCV_OPS" ${CUDA:+--cuda}

FROM base AS final
# Some bases bring a user 1000 of their own. The folders exist so that volumes mounted there
# start out owned by the user who writes into them.
RUN if id -u 1000 >/dev/null 2>&1; then userdel --remove "$(id -nu 1000)"; fi; \
    useradd --create-home --uid 1000 mal; \
    mkdir -p /app/runs /data/store /home/mal/.cache /home/mal/.prefect; \
    chown -R mal:mal /app /data /home/mal
WORKDIR /app
COPY --from=build --chown=mal:mal /app /app
COPY --chown=mal:mal Makefile prefect.yaml ./
COPY --chown=mal:mal work_pools work_pools
USER 1000:1000
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    MAL_STORE=/data/store \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1
# Results go to the mounted folder unless a command says otherwise.
VOLUME ["/data"]
ENTRYPOINT ["/app/.venv/bin/mal"]
CMD ["run", "experiment=demo", "workdir=/data/demo"]
