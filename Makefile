# Everything runs in .venv, which `make` builds from requirements.lock (hashes, no index address).

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup test lint demo lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## make .venv with everything that the project needs

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "qwen-router needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

lint: $(READY) ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## lint, then every test
	$(BIN)/pytest -n auto -q

demo: $(READY) ## the gateway with stand-in models; ONCE=1 ends by itself, REAL=1 uses real ones
	@$(BIN)/qwen-router demo $(if $(filter 1,$(ONCE)),--once) $(if $(filter 1,$(REAL)),--real)

lock: ## write requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --extra litellm --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate \
	  -o requirements.lock

clean: ## remove .venv and caches
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
