# CPU image:   docker build -t mal-pipeline .
# CUDA image:  docker build -t mal-pipeline:cuda --build-arg BASE=nvidia/cuda:13.0.2-devel-ubuntu24.04 \
#                --build-arg MMCV_OPS=compiled --build-arg CUDA=1 .
# Smaller still: docker build -t mal-pipeline --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
# The environment comes from the same script and the same lock as `make setup`; scripts/slim_image.py
# then takes out what nothing in the image can use. scripts/try_image.py tries an image.
ARG BASE=debian:12-slim

FROM ${BASE} AS base
SHELL ["/bin/sh", "-eu", "-c"]
# Debian 12 brings Python 3.11; other bases take it from the deadsnakes archive when their own is
# another version.
# hadolint ignore=DL3008
RUN apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates; \
    if ! apt-get install -y --no-install-recommends python3.11 python3.11-venv; then \
        apt-get install -y --no-install-recommends gpg-agent software-properties-common; \
        add-apt-repository -y ppa:deadsnakes/ppa; \
        apt-get install -y --no-install-recommends python3.11 python3.11-venv; \
    fi; \
    rm -rf /var/lib/apt/lists/*

# What changes rarely and is large: a change of the project's own code leaves this stage as it is.
FROM base AS environment
ARG MMCV_OPS=torchvision
ARG CUDA=
ARG TORCH_INDEX=
# hadolint ignore=DL3008
RUN if [ "$MMCV_OPS" = compiled ]; then \
        apt-get update; \
        apt-get install -y --no-install-recommends g++ python3.11-dev; \
        rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /app
COPY requirements.lock pyproject.toml LICENSE ./
COPY scripts/find_python.sh scripts/setup.py scripts/build_mmcv_ops.py scripts/slim_image.py scripts/
# Mmcv finds its ops here, and setup checks that it does.
COPY phase2_configs/mmcv_compat phase2_configs/mmcv_compat
# The wheel cache of mmcv's compiled ops outlives the layer, so a rebuild does not compile again.
# An index of CPU wheels has torch==VERSION+cpu, which pip prefers to VERSION and which needs none
# of the CUDA libraries that the lock names for the ordinary wheel.
RUN --mount=type=cache,target=/var/cache/build \
    export XDG_CACHE_HOME=/var/cache/build; \
    if [ -n "$TORCH_INDEX" ]; then \
        export PIP_EXTRA_INDEX_URL="$TORCH_INDEX"; \
        sed -i -E '/^(nvidia-|cuda-|triton==)/d' requirements.lock; \
    fi; \
    mkdir mal_core flows; \
    touch README.md; \
    python=$(scripts/find_python.sh); \
    "$python" -I scripts/setup.py --venv /app/.venv --mmcv-ops "$MMCV_OPS" ${CUDA:+--cuda}; \
    .venv/bin/python -I scripts/slim_image.py ${CUDA:+--cuda}

FROM base AS final
# Some bases bring a user 1000 of their own. The folders exist so that volumes mounted there
# start out owned by the user who writes into them; code and environment stay root's.
RUN if id -u 1000 >/dev/null 2>&1; then userdel --remove "$(id -nu 1000)"; fi; \
    useradd --create-home --uid 1000 mal; \
    mkdir -p /app/runs /data/store /home/mal/.cache /home/mal/.prefect; \
    chown -R mal:mal /app /data /home/mal
WORKDIR /app
COPY --from=environment /app/.venv .venv
COPY pyproject.toml LICENSE prefect.yaml automations.yaml ./
COPY work_pools work_pools
COPY conf conf
COPY phase2_configs phase2_configs
COPY scenes scenes
COPY mal_core mal_core
COPY flows flows
# Nobody can write it later, and a run starts a dozen interpreters.
RUN .venv/bin/python -m compileall -q mal_core flows scenes conf phase2_configs
USER 1000:1000
# The server copies its pages; by default into the environment, where it must not write.
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    MAL_STORE=/data/store \
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/home/mal/.prefect/ui \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1
# Results go to the mounted folder unless a command says otherwise.
VOLUME ["/data"]
ENTRYPOINT ["/app/.venv/bin/mal"]
CMD ["run", "experiment=demo", "workdir=/data/demo"]
