# Every command a developer types. `make` lists them; nothing here needs root, a server or an account.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 4
PYTEST_ARGS ?=
BENCH ?= merge
BENCH_ARGS ?=
DEMO_ARGS ?=
DBT_ARGS ?=
SOAK_ARGS ?=
SETUP := $(VENV)/.installed

.PHONY: help setup demo ui dbt check format lint test bench soak screenshots docs dist lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(SETUP) ## create .venv from requirements.lock and install the package into it

demo: $(SETUP) ## the main job on real data: PostgreSQL with 336,776 flights into a Delta lake, changed, synced again
	@$(BIN)/import-platform demo $(DEMO_ARGS)

ui: $(SETUP) ## open the Dagster UI on the lake of this checkout
	@$(BIN)/import-platform ui

dbt: $(SETUP) ## tell dbt/ which tables the lake holds, then build and test its models; DBT_ARGS="--select stg_flights"
	@$(BIN)/import-platform dbt-sources
	@$(BIN)/dbt build --project-dir dbt --profiles-dir dbt $(DBT_ARGS)

check: $(SETUP) ## format, lint, contracts, types and the fast tests, in under a minute
	@failed=0; $(MAKE) lint || failed=1; \
	$(BIN)/pytest -q -n $(WORKERS) -m "not slow and not browser" $(PYTEST_ARGS) || failed=1; exit $$failed

format: $(SETUP) ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

lint: $(SETUP) ## format, lint, import contracts, types
	@failed=0; \
	$(BIN)/ruff format --check --quiet --output-format concise . || { echo "Run: make format"; failed=1; }; \
	$(BIN)/ruff check --quiet --output-format concise . || failed=1; \
	$(BIN)/lint-imports --no-cache > $(VENV)/contracts.log || { cat $(VENV)/contracts.log; failed=1; }; \
	$(BIN)/mypy || failed=1; \
	exit $$failed

test: $(SETUP) ## everything check does, and every test
	@failed=0; $(MAKE) lint || failed=1; \
	$(BIN)/pytest -n $(WORKERS) $(PYTEST_ARGS) || failed=1; exit $$failed

bench: $(SETUP) ## our merge against its rivals (bench/README.md); BENCH=relayout: splits and the sensor, BENCH=xml: files; long
	@$(BIN)/python -m bench.$(BENCH) $(BENCH_ARGS)

LOCKED := --generate-hashes --no-strip-extras --no-emit-index-url --no-emit-find-links \
    --custom-compile-command "make lock" --quiet

soak: $(SETUP) ## 300 tables on minutely schedules beside the real daemon for ten minutes: nothing missed, grown or left over
	@$(BIN)/python -m bench.soak $(SOAK_ARGS)

screenshots: $(SETUP) ## make docs/images anew from the browser tests
	@IMPORT_PLATFORM_SCREENSHOTS=docs/images $(BIN)/pytest -q tests/browser

docs: $(SETUP) ## build the documentation into build/site, with every link checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "build/site/index.html; searching needs it served: $(BIN)/mkdocs serve"

dist: $(SETUP) ## dist/: wheel, sdist, tested versions, bill of materials (CycloneDX), licences; checked against requirements.lock
	@rm -rf dist
	@$(BIN)/python -m hatchling build --target sdist --target wheel --directory dist
	@$(BIN)/python -m release.materials dist
	@ls -l dist

lock: $(SETUP) ## solve requirements.lock, and that of the image, anew from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --extra demo --extra dev --extra cluster --extra dbt --extra docs --extra dask $(LOCKED) \
	    --universal --python-version 3.11 --upgrade --output-file requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --extra cluster --extra dask --constraint requirements.lock $(LOCKED) \
	    --python-version 3.12 --python-platform linux --output-file requirements.image.lock

clean: ## remove .venv and every cache; the lake and Dagster's history stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock is installed with --no-deps: it is complete, and pip would only solve it again. The build tools come first, so
# that nothing is built in an isolated environment with un-hashed downloads. uv does in seconds what takes pip a minute,
# but reads no pip configuration, so pip finishes the work wherever uv cannot reach the index.
$(SETUP): requirements.lock pyproject.toml .ci/setup
	@.ci/setup "$(PYTHON)" $(VENV)
	@touch $@
