# Everything a newcomer needs: `make` lists it. Works with Python 3.11+ and make alone.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

MIGRATION_HOME ?= $(CURDIR)/migrations
export MIGRATION_HOME

# As the user wrote them: a dollar or a quote in a password or path reaches the program unchanged.
export RAW_SOURCE := $(value SOURCE)
export RAW_TARGET := $(value TARGET)
export RAW_SCHEMA := $(value SCHEMA)

# One more than processors: a test that waits for Dagster's daemon leaves its own idle.
PROCESSES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

SAMPLE := $(MIGRATION_HOME)/sample/price_tracker.db
SAMPLE_CODE := $(wildcard migration_assets/sample/*.py migration_assets/sample/*.sql)

.PHONY: help install demo ui migrate test lint bench clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make the environment in .venv (the other commands do it by themselves)

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) was not found. Install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) lacks the venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "Making the environment in $(VENV) (once, one to three minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@$(BIN)/python -m compileall -q migration_assets
	@touch $@

$(SAMPLE): $(SAMPLE_CODE) | $(STAMP)
	@$(BIN)/python -m migration_assets.sample.price_tracker '$@'

demo: $(STAMP) $(SAMPLE) ## Move the bundled sample application into an embedded PostgreSQL and prove it
	@$(BIN)/migration-assets migrate --target embedded 'sqlite:///$(SAMPLE)'

ui: $(STAMP) ## Open the Dagster UI on what has been run (webserver and daemon)
	@$(BIN)/migration-assets ui

migrate: $(STAMP) ## Move your own: make migrate SOURCE=sqlite:///path/app.db [TARGET=postgresql://…] [SCHEMA=…]
	@test -n "$$RAW_SOURCE" || { echo "Which database? make migrate SOURCE=sqlite:///path/app.db" >&2; exit 2; }
	@$(BIN)/migration-assets migrate "$$RAW_SOURCE" \
	  $${RAW_TARGET:+--target "$$RAW_TARGET"} $${RAW_SCHEMA:+--schema "$$RAW_SCHEMA"}

test: $(STAMP) ## Tests, style and types
	@.ci/mariadb
	@$(BIN)/python -m pytest -q --numprocesses $(PROCESSES) --maxprocesses 4 --dist loadscope --no-loadscope-reorder --durations 15
	@$(MAKE) --no-print-directory lint

lint: $(STAMP) ## Style and types only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(STAMP) ## The benchmark of bench/README.md (needs pgloader for the comparison)
	@$(BIN)/python bench/run.py $(BENCH)

clean: ## Remove the environment and caches; migrations stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis bench/work
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
