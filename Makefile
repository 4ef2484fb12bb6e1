# make quickstart and make test each set up everything they need in .venv, and say what they do.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core
STAMP := $(VENV)/.installed
# Bytecode is written when a module is first imported: for all that is installed it would take longer than installing.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
unexport PYTHONDONTWRITEBYTECODE

# Small models on few cores are fastest with one thread each; see docs/decisions.md.
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= true

.PHONY: help core setup quickstart test test-long test-judge test-tasks lint soak interop test-imports clean

help:
	@echo "make quickstart    set up, train a FraiLT and its matched standard models, compare them, tell a story"
	@echo "make test          set up and run the tests"
	@echo "make test-long     set up and run the tests that take half a minute or more each"
	@echo "make test-judge    set up what the judge needs, and run its tests against a server on loopback"
	@echo "make test-tasks    set up lm-eval, and run the tests of tasks with it"
	@echo "make lint          set up, check style and types"
	@echo "make soak          kill a training run 50 times and see that nothing is lost (a quarter of an hour or more)"
	@echo "make interop       run llama.cpp, vLLM and lm-eval on what is exported here (environments of their own; compiling takes long at first)"
	@echo "make test-imports  import every module; in a fresh clone, with the core dependencies only"
	@echo "make clean         remove .venv and what quickstart and interop made"

core: $(CORE)

setup: $(STAMP)

$(CORE): pyproject.toml constraints.txt
	@echo "== Setting up $(VENV) with $(PYTHON): the core dependencies, as pinned in constraints.txt (a few minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -e .
	@touch $@

$(STAMP): $(CORE)
	@echo "== Adding what tests and checks need"
	@$(PIP) -e '.[test,lint,tracking]'
	@touch $@

quickstart: $(CORE)
	@BIN=$(BIN) sh scripts/quickstart.sh

test: $(STAMP)
	@echo "== Tests"
	@$(BIN)/python -m pytest -n 2

# Of `make test` they would take a third of the time: several processes, kills of a whole sweep, graphs of whole models.
test-long: $(STAMP)
	@echo "== Long tests"
	@$(BIN)/python -m pytest -n 2 -m long

# Apart, because Inspect brings sixty packages: what of these tests needs none of them runs in make test.
test-judge: $(STAMP)
	@$(PIP) -e '.[judge]'
	@echo "== Tests of the judge"
	@$(BIN)/python -m pytest -n 2 tests/judge

# Apart for the same reason: lm-eval brings twenty-six more.
test-tasks: $(STAMP)
	@$(PIP) -e '.[tasks]'
	@echo "== Tests of tasks"
	@$(BIN)/python -m pytest -n 2 tests/tasks

lint: $(STAMP)
	@echo "== Style and types"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

soak: $(CORE)
	@echo "== Killing a training run 50 times"
	@$(BIN)/python scripts/soak.py --kills 50 --out results/soak.json

# CHECKPOINT=runs/looped, ENGINES="llama.cpp vllm" and RESULTS=folder say otherwise than what scripts/interop/run.py does.
interop: $(CORE)
	@$(BIN)/python -c 'import gguf' 2> /dev/null || $(PIP) -e '.[gguf]'
	@echo "== Other programs"
	@$(BIN)/python scripts/interop/run.py --python $(PYTHON) $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") \
		$(if $(ENGINES),--engines $(ENGINES)) $(if $(RESULTS),--results "$(RESULTS)")

test-imports: $(CORE)
	@echo "== Importing every module"
	@$(BIN)/python scripts/import_all.py

clean:
	rm -rf $(VENV) quickstart .interop
