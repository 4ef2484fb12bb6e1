# make quickstart and make test each set up everything they need in .venv, and say what they do.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Small models on few cores are fastest with one thread each; see docs/decisions.md.
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= true

.PHONY: help setup quickstart test lint test-imports clean

help:
	@echo "make quickstart    set up, train a FraiLT and its matched standard models, compare them, tell a story"
	@echo "make test          set up and run the tests"
	@echo "make lint          set up, check style and types"
	@echo "make test-imports  import every module in an environment with the core dependencies only"
	@echo "make clean         remove .venv and what quickstart made"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "== Setting up $(VENV) with $(PYTHON): pinned packages, from constraints.txt"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint,tracking]'
	@touch $@

quickstart: $(STAMP)
	@BIN=$(BIN) sh scripts/quickstart.sh

test: $(STAMP)
	@echo "== Tests"
	@$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	@echo "== Style and types"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

test-imports:
	@echo "== Every module with the core dependencies only"
	@test -x .venv-core/bin/python || $(PYTHON) -m venv .venv-core
	@.venv-core/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@.venv-core/bin/python scripts/import_all.py

clean:
	rm -rf $(VENV) .venv-core quickstart
