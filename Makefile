# `make demo` and `make test` are all that a fresh machine needs, besides Python 3.11 or newer.

PYTHON ?= $(shell for python in python3.12 python3.11 python3.13 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo "$$python" && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help setup demo run check test bench chaos env-example requirements clean

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv from the pinned requirements

$(STAMP): requirements-dev.txt
	@test -n "$(PYTHON)" || { \
		echo "No Python 3.11 or newer was found. Install one (and its venv module), or name it:" \
			"make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { \
		echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu install" \
			"python3-venv." >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement requirements-dev.txt
	touch $@

demo: $(STAMP) ## the service with a local Slack and a local Connect to play with
	$(BIN)/python -m bridge demo

run: $(STAMP) ## the service, with the settings of .env
	$(BIN)/python -m bridge run

check: $(STAMP) ## linters and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(STAMP) ## every test; TESTS="tests/test_web.py -k live" for a few
	$(BIN)/python -m pytest -q $(TESTS)

bench: $(STAMP) ## what the bridge costs, in ratios; BENCH=--quick for little of everything
	$(BIN)/python -m bench $(BENCH)

chaos: $(STAMP) ## crashes and faults, 6 minutes a seed; CHAOS="--seeds 1-20", "--quick", "--real-quotas", "--takeover"
	$(BIN)/python -m tests.chaos $(CHAOS)

env-example: $(STAMP) ## write .env.example from the settings
	$(BIN)/python -c 'from bridge.settings import example; print(example(), end="")' > .env.example

requirements: ## pin what pyproject.toml asks for; needs uv
	@command -v uv >/dev/null || { echo "Pinning needs uv on PATH." >&2; exit 1; }
	$(COMPILE) pyproject.toml --output-file requirements.txt
	$(COMPILE) pyproject.toml --extra dev --output-file requirements-dev.txt

clean: ## remove what was made here, except data
	rm -rf .venv .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
