# Commands for a machine with Python 3.11 or newer, make and git; everything is installed inside $(VENV).
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
# Processes that run the tests, up to 1.5 GB each: a number, or auto for one per core; 0 runs them in pytest itself.
JOBS ?= auto
# A package index for torch and torchvision alone, such as https://download.pytorch.org/whl/cpu (smaller, no CUDA).
TORCH_INDEX ?=
# Extras that `make check-wheel` installs; all by default.
EXTRAS ?=
# Posts and scripts of `make benchmarks`; all scripts by default.
DATA ?=
ONLY ?=

BIN := $(VENV)/bin
LOG := $(VENV)/install.log
# Slow tests that start Ray clusters, kill processes or measure time and memory: they run one after another.
ALONE := tests/features/extraction tests/features/fuzz tests/pipeline/sweeps
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo docs format lint types test test-slow check-wheel benchmarks clean
.NOTPARALLEL:

# The whole job on a small drawn corpus: extract, train, ablate, predict.
demo: $(VENV)/.offline
	@$(BIN)/msa demo $(DEMO)
	@echo "Before you type msa yourself: source $(BIN)/activate"

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy takes the package's name from its folder, which a clone may call anything; through this link it is msa.
types: $(VENV)/.dev
	@mkdir -p .mypy_cache && ln -sfn .. .mypy_cache/msa
	$(BIN)/mypy $(addprefix .mypy_cache/msa/,features heads pipeline cli.py)

# What a change must pass: style, types, and the tests that take seconds. No test needs the network.
test: lint types
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n $(JOBS)

# The tests that take minutes.
test-slow: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow -n $(JOBS) $(ALONE:%=--ignore=%)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow $(ALONE)

# Sdist and wheel, the latter installed in an environment of its own: the core alone, then each extra, or EXTRAS.
check-wheel: $(VENV)/.dev
	TORCH_INDEX=$(TORCH_INDEX) .ci/check-wheel $(BIN)/python $(EXTRAS)

# Every published figure, printed and kept in measured/; ONLY names some: make benchmarks DATA=posts ONLY='heads sweep'.
benchmarks: $(VENV)/.dev
	$(BIN)/python benchmarks/run_all.py $(DATA:%=--data %) $(ONLY)

# The documentation as a site, in site/; a dead link or a page without a place in the navigation fails.
docs: $(VENV)/.dev
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Run a command whose output is of interest only when it fails.
quietly = $(1) >> $(LOG) 2>&1 || { cat $(LOG); exit 1; }

# The stamps make a second run start at once; both extras are editable installs and share one environment.
$(VENV)/.offline $(VENV)/.dev: $(VENV)/.%: pyproject.toml | $(VENV)/.made
	@echo "Installing into $(VENV) (about 3 minutes, 6 GB); pip writes to $(LOG) ..."
	@$(call quietly,$(BIN)/python -m pip install -e '.[$*]')
	@$(call quietly,$(BIN)/python -c 'import torchvision')
	@touch $@

# torch and torchvision must come from one index: a pair from two fails at `import torchvision`.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "msa needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(if $(TORCH_INDEX),echo "Installing torch and torchvision from $(TORCH_INDEX) ...")
	@$(if $(TORCH_INDEX),$(call quietly,$(BIN)/python -m pip install torch torchvision --index-url $(TORCH_INDEX)))
	@touch $@
