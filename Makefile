# The same on Linux and macOS (GNU make 3.81). A marker in .venv says what is installed, so that the second run is instant.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := PYTHONWARNDEFAULTENCODING=1 $(BIN)/python -m pytest -n 2 --dist loadgroup
# Where this is set every start compiles every import anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test soak check docs offline ecosystem bench bench-training model clean

help:           ## What can be asked for
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:[^#]*##/:/'

demo: .venv/installed  ## Map the two sample scenes into demo/
	$(BIN)/cropland demo --out demo

test: .venv/developer  ## The whole suite, in minutes
	$(PYTEST)

soak: .venv/developer  ## The suite with the longer forms of its tests
	$(PYTEST) -m '' --hypothesis-profile=soak

check: .venv/developer  ## Format, lint, types, layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/developer  ## Run the tutorials and build the site into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html

# pip takes no wheel from an environment, so it is told to find the build of PyTorch that is installed: without CUDA, where
# that was chosen. setuptools would put into the wheel what an earlier build/lib holds.
offline: .venv/installed  ## Wheels of cropland and of all that it needs, for a machine without internet, into offline/
	@rm -rf build/lib build/offline offline
	@start=$$(date +%s) && torch=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("torch"))') && \
	$(BIN)/python -m pip --disable-pip-version-check wheel -c constraints.txt -w build/offline/wheels '.[fused]' "torch==$$torch" && \
	cp recipes/offline/* build/offline && mv build/offline offline && rm -rf build/lib build/bdist.* && \
	echo "offline/: $$(du -sh offline | cut -f1), $$(($$(date +%s) - start)) s; read offline/INSTALL.txt"

ecosystem: .venv/developer  ## Other programs and other people's networks, in environments of their own; needs the internet
	$(BIN)/python recipes/ecosystem/check.py

bench: .venv/developer  ## Measure against peers and the machine's limit, most of an hour; needs the internet and 20 GB
	$(BIN)/python benchmarks

bench-training: .venv/developer  ## Measure training against a plain loop, some minutes; needs the internet the first time
	$(BIN)/python benchmarks training

model: .venv/developer  ## Train the shipped model again, from ../shared/data or CROPLAND_DATA
	$(BIN)/python recipes/cropland_rgb.py

clean:          ## Remove what make made
	rm -rf .venv demo build dist offline

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "cropland needs Python 3.11 or newer with venv (Debian, Ubuntu: apt install python3-venv); or say make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(PIP) install --no-compile -c constraints.txt -e '.[fused]'
	@touch $@

.venv/developer: .venv/installed
	$(PIP) install --no-compile -c constraints.txt -e '.[dev]'
	@touch $@
