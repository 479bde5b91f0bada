# Needs Python 3.11 to 3.13, make, git and a POSIX shell. `make` alone prints this list.
#   make demo     the whole pipeline on drawn scenes; ends with the retention table and a report
#   make demo-real   the same on real microscope images with pretrained segmenters
#   make test     every test (slow ones too)         make quick   without the slow ones
#   make check    ruff, mypy, import contracts       make fix     let ruff repair what it can
#   make setup    create or repair .venv  [PYTHON=python3.11] [MMCV_OPS=torchvision|compiled]
#   make server   Prefect server on 127.0.0.1:4200   make worker  a worker   make deploy  deployments
#   make docs     the pages of docs/ as a site, build/docs/index.html
#   make bench    speed of the method, in decodes of a photo and matrix products
#   make wheel-check   the wheel in fresh environments of the other Pythons here; minutes
#   make gpu-check   does everything run on this GPU, and how fast? [GPU_CHECK_ARGS=--toy]
#   make clean    remove caches and build leftovers (keeps .venv and runs)

VENV ?= .venv
MMCV_OPS ?= torchvision
BIN := $(VENV)/bin
PYTEST_ARGS ?=

# Two OpenMP threads beside a busy process spin-wait on each other: 100 times slower (docs/decisions).
OMP_NUM_THREADS ?= 1
PREFECT_SERVER_ANALYTICS_ENABLED ?= false
DO_NOT_TRACK ?= 1
export OMP_NUM_THREADS PREFECT_SERVER_ANALYTICS_ENABLED DO_NOT_TRACK

# Without an address, worker and deploy would talk to a server of their own that nobody sees.
AT_SERVER := PREFECT_API_URL="$${PREFECT_API_URL:-http://127.0.0.1:4200/api}"

.PHONY: help setup demo demo-real test quick check fix docs bench wheel-check gpu-check server worker deploy clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

setup:
	@python=$$(PYTHON='$(PYTHON)' scripts/find_python.sh) && \
	"$$python" -I scripts/setup.py --venv '$(VENV)' --mmcv-ops '$(MMCV_OPS)' $(if $(CUDA),--cuda)

demo: setup
	@$(BIN)/mal run experiment=demo

demo-real: setup
	@$(BIN)/mal run experiment=demo_real

# Two files at a time: most slow tests wait for processes of their own.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cpu-times 20 $(PYTEST_ARGS)

quick: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --cpu-times 5 -m "not slow and not gpu" $(PYTEST_ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel-check: setup
	$(BIN)/python scripts/wheel_check.py 3.12 3.13

docs: setup
	$(BIN)/python -m sphinx -q --fail-on-warning --keep-going -b html docs build/docs
	@echo build/docs/index.html

bench: setup
	$(BIN)/python -m benchmarks

gpu-check: setup
	$(BIN)/python -m benchmarks.gpu_check $(GPU_CHECK_ARGS)

server: setup
	$(BIN)/prefect server start

worker: setup
	$(AT_SERVER) $(BIN)/prefect worker start --pool mal --type process

deploy: setup
	$(AT_SERVER) $(BIN)/prefect --no-prompt deploy --all

clean:
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache *.egg-info
	find . -path './$(VENV)' -prune -o -name __pycache__ -type d -print | xargs rm -rf
