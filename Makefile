# `make demo` and `make test` each do everything from a fresh clone, and start at once when repeated.
PYTHON ?= python3.11
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --constraint constraints.txt

.PHONY: demo test test-slow test-pythons matrix mmengine experiments speed gpu docs lint types setup clean

setup: $(VENV)/.complete

# The order matters: mmcv and mmgen build only with torch, setuptools<81 and wheel in place, and without
# pip's build isolation.
$(VENV)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/python3.11 ...")'
	@echo "Setting up $(VENV), once: PyTorch, Ray, Optuna and MMGeneration, some 7 GB on disk. It takes about 4 minutes."
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch torchvision "setuptools<81" wheel
	PYTHONPATH=$(CURDIR)/toolkit_build $(PIP) --no-build-isolation --editable ".[mmgen,tune,dev]"
	$(VENV)/bin/python -c 'import yapf'  # it writes a cache the first time, which two processes at once would tear
	touch $@

demo: setup
	$(VENV)/bin/python tune/search.py

test: setup
	$(VENV)/bin/python -m pytest -n 2

test-slow: setup
	$(VENV)/bin/python -m pytest -m slow -n 2 --dist loadfile --durations=15

# the core's tests on every Python from 3.10 on that is found, or on those of PYTHONS="3.12 3.13"
test-pythons: setup
	VENV=$(VENV) tests/on_pythons.sh $(PYTHONS)

# every family of stock configs, and the tables of them and of Lightning in the docs
matrix: setup
	$(VENV)/bin/python -m pytest tests/mmgen/test_families.py -m "matrix or not matrix" -n 2 --families-table docs/families.md
	$(VENV)/bin/python -m pytest tests/lightning -m "matrix or not matrix" -n 2 --families-table docs/lightning.md

# The host for MMEngine, in an environment of its own: mmcv 1 and mmcv 2 exclude each other. All else it shares with
# $(VENV), whose packages it finds behind its own.
MMENGINE ?= .venv-mmengine
$(MMENGINE)/.complete: $(VENV)/.complete
	$(PYTHON) -m venv $(MMENGINE)
	$(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	  $$($(MMENGINE)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth
	$(MMENGINE)/bin/python -m pip --disable-pip-version-check install --constraint constraints.txt \
	  --no-deps setuptools mmagic mmcv-lite einops lpips resize-right
	$(MMENGINE)/bin/python -m pip --disable-pip-version-check install --constraint constraints.txt \
	  --no-build-isolation --editable ".[mmengine]"
	touch $@

# its tests, and the table of models in the docs
mmengine: $(MMENGINE)/.complete
	$(MMENGINE)/bin/python -m pytest tests/mmengine minmax_plugin/mmengine -n 2 --families-table docs/mmengine.md

# the short form of docs/results.md: two seeds of some methods on two experiments; results/experiments/results.md
METHODS = practical released random-released gda-matched
experiments: setup
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m experiments four_gaussians $(METHODS) gda-6 --seeds 2
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m experiments mnist01_embedded $(METHODS) gda-1 --seeds 2

# a gross regression of the training step fails here
speed: setup
	$(VENV)/bin/python -m benchmarks.step_cost --quick

# what holds on a device, and what it costs there; any Python with torch is enough: make gpu GPU_PYTHON=python3
GPU_PYTHON ?= $(or $(wildcard $(VENV)/bin/python),python3)
DEVICE ?= cuda
gpu:
	$(GPU_PYTHON) -m benchmarks.device --device $(DEVICE) $(if $(SHORT),--short)

docs: setup
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: setup
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) $(MMENGINE) .venv-3.*
