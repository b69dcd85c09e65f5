# One entry point for people and CI. `make help` lists what there is.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help install runtime-wheel wheels demo test smoke sanitize check lint types bench-quick docs clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/' \
		| awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

install: $(STAMP) ## Make the environment in .venv, with everything that training, compiling and testing need.

# Made again when what is installed changes, the line buffer's C code included; the Python code itself is used where
# it lies. The first of these interpreters that is new enough is taken; PYTHON=/path/to/python chooses another.
$(STAMP): setup.py pyproject.toml $(wildcard edgead/runtime/line/src/* edgead/runtime/line/include/*)
	@if [ ! -x $(BIN)/python ]; then \
		for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.10 python; do \
			"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue; \
			echo "Making $(VENV) with $$("$$python" --version) ($$(command -v "$$python"))"; \
			"$$python" -m venv $(VENV) && break; \
			rm -rf $(VENV); \
			echo "$$python cannot make environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
		done; \
	fi
	@if [ ! -x $(BIN)/python ]; then \
		echo "edgead needs Python 3.10 or newer with venv; found none. Install it, or say where it is:" >&2; \
		echo "  make install PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	@echo "Installing what setup.py lists; the first time takes some minutes."
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e ".[train,dev]"
	@touch $@

# From a clean build folder: a wheel takes along whatever an earlier build left there.
runtime-wheel: $(STAMP) ## Build the wheel for a line's PC, without what trains and compiles: dist/edgead-*+runtime-*.whl.
	rm -rf build
	EDGEAD_PARTS=runtime $(BIN)/python -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir dist .
	rm -rf build
	@ls dist/edgead-*+runtime-*.whl

wheels: $(STAMP) ## Build the source distribution and wheels into dist/, for any Linux where auditwheel can; check them.
	rm -rf build dist
	$(BIN)/python -m build --outdir dist .
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist dist/edgead-*-linux_*.whl && rm dist/edgead-*-linux_*.whl
	$(BIN)/twine check --strict dist/*
	@ls dist

demo: $(STAMP) ## Draw a data set, train, compile for this machine and benchmark: runs/demo/report.html.
	$(BIN)/edgead demo --out runs/demo

test: $(STAMP) ## Run the whole test suite.
	$(BIN)/python -m pytest -n 2 $(PYTEST_OPTIONS)

smoke: $(STAMP) ## A bundle opens, proves its answers and inspects; a short training. Under 10 seconds.
	$(BIN)/python -m pytest -q -m smoke tests/test_smoke.py

sanitize: $(STAMP) ## The line buffer's C code, longer, under the address, undefined and thread sanitizers.
	EDGEAD_NATIVE_SECONDS=$${EDGEAD_NATIVE_SECONDS:-1} $(BIN)/python -m pytest -rs tests/runtime/line/test_native.py

check: lint types test ## Lint, types and tests: what CI demands.

lint: $(STAMP) ## Check style and common mistakes with ruff.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## Check types with mypy.
	$(BIN)/mypy

docs: $(STAMP) ## Build the pages of docs/ as a site, build/site; a broken link or an unknown name is an error.
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench-quick: $(STAMP) ## A look at every benchmark, in about a minute each; the figures are not to be quoted.
	$(BIN)/python benchmarks/latency.py --quick
	$(BIN)/python benchmarks/accuracy.py --quick
	$(BIN)/python benchmarks/rivals.py --quick

clean: ## Remove the environment and all that was built; runs/ stays.
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis edgead.egg-info
	rm -f edgead/runtime/line/_ring*.so
	find edgead tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
