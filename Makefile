# All targets use .venv, which is installed from requirements.lock and renewed when that file or pyproject.toml changes.
# ARGS is passed to the command: make run ARGS="--seeds 5"

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.current
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# in the order of tests/conftest.py; three processes for two cores, since slow tests wait for servers
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder
CODE := agents benchmarks envs flows routing tests

.DEFAULT_GOAL := help
.PHONY: help install run ui test soak check lint bench gallery clean lock audit

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## create or renew .venv
	@true

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "make: keyhole needs Python 3.11 or newer as $(PYTHON); found: $$($(PYTHON) --version 2>&1); install it or run make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "make: $(PYTHON) cannot create virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "installing into .venv (once; takes a few minutes)"
	@rm -f $(STAMP)
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

run: $(STAMP) ## compare the oversight methods with the preset quick (minutes)
	@$(BIN)/keyhole compare --preset quick $(ARGS)

ui: $(STAMP) ## serve the MLflow UI of the project's runs
	@$(BIN)/keyhole ui $(ARGS)

test: lint ## check format, lint and types, and run all tests (without soak)
	@$(TESTS) -m "not soak" $(PARALLEL) $(ARGS)

soak: $(STAMP) ## run five hundred runs in one sweep (many minutes)
	@$(TESTS) -m soak tests/flows/sweep/test_soak.py $(ARGS)

check: lint ## check format, lint and types, and run the fast tests
	@$(TESTS) -m "not slow and not soak" $(PARALLEL) $(ARGS)

lint: $(STAMP)
	@$(BIN)/ruff format --check --quiet $(CODE)
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/mypy

gallery: $(STAMP) ## draw every world and certify it: docs/gallery.md and docs/gallery/ (minutes)
	@OMP_NUM_THREADS=1 $(BIN)/keyhole gallery --out docs $(ARGS)

bench: $(STAMP) ## measure the tool against references: docs/benchmark.json and .png (a quarter of an hour on two idle cores)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks $(ARGS)

audit: $(STAMP) ## check requirements.lock for known vulnerabilities (queries PyPI)
	@test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && \
	  .venv/audit/bin/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.10,<3"; }
	@.venv/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip --strict $(ARGS)

lock: ## write requirements.lock from the packages in .venv
	@{ sed -n '/^#/p;/^[^#]/q' requirements.lock; \
	   $(BIN)/python -m pip freeze --all --disable-pip-version-check --exclude-editable --exclude pip | \
	   sed -E 's/^(torch==[0-9.]+)\+.*/\1/' | grep -v -E ' @ |^(nvidia|cuda|triton)'; } > requirements.new
	@mv requirements.new requirements.lock

clean: ## remove .venv and caches; keeps the runs in mlruns/
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
