# Commands for a machine with Python 3.11 or newer, make and git; everything is installed inside $(VENV).
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
# A package index for torch and torchvision alone, such as https://download.pytorch.org/whl/cpu (smaller, no CUDA).
TORCH_INDEX ?=

BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-slow clean
.NOTPARALLEL:

# The whole job on a small drawn corpus: extract, train, ablate, predict.
demo: $(VENV)/.offline
	$(BIN)/msa demo $(DEMO)

# What a change must pass: style, types, and the tests that take seconds. No test needs the network.
test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy features heads pipeline cli.py
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

# The tests that take minutes.
test-slow: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The stamps make a second run start at once; both extras are editable installs and share one environment.
$(VENV)/.offline: pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install -e '.[offline]'
	$(BIN)/python -c 'import torchvision'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install -e '.[dev]'
	$(BIN)/python -c 'import torchvision'
	touch $@

# torch and torchvision must come from one index: a pair from two fails at `import torchvision`.
$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "msa wants Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install torch torchvision --index-url $(TORCH_INDEX))
	touch $@
