# Two commands for a new machine: `make demo` and `make test`. The rest is for people who change the code.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help demo test test-slow fuzz lint format bench lock schemas docs clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: $(VENV)/.demo-ready ## install, then run the whole product on a simulated farm (ARGS=--once for a bounded run)
	@exec $(BIN)/hashmargin demo $(ARGS)

test: $(VENV)/.dev-ready ## install, then run the whole suite
	@packaging/need-browser
	@$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-slow: $(VENV)/.dev-ready ## the soak and long cases that `make test` leaves out
	@packaging/need-browser
	@$(BIN)/python -m pytest -m slow $(ARGS)

fuzz: $(VENV)/.dev-ready ## fuzz the decoders of miners and meters for FUZZ_SECONDS (600)
	@packaging/fuzz $(BIN)/python

lint: $(VENV)/.dev-ready ## format check, lint, types, import directions, units
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@packaging/check-units

format: $(VENV)/.dev-ready ## rewrite files to the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev-ready ## run every benchmark; each prints one JSON document
	@for file in benchmarks/*.py; do echo "# $$file" >&2; $(BIN)/python $$file --json; done

schemas: $(VENV)/.dev-ready ## regenerate the JSON Schemas of the YAML files
	@$(BIN)/hashmargin hardware schema > configs/hardware.schema.json
	@$(BIN)/hashmargin config schema > configs/site.schema.json
	@$(BIN)/hashmargin pools schema > configs/pools.schema.json
	@$(BIN)/hashmargin coins schema > configs/coins.schema.json

lock: $(VENV)/.dev-ready ## refresh requirements/*.txt from pyproject.toml
	@packaging/lock

clean: ## remove everything that can be rebuilt
	@rm -rf $(VENV) .demo .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@packaging/make-venv "$(PYTHON)" "$(VENV)"

$(VENV)/.demo-ready: requirements/demo.txt pyproject.toml | $(VENV)/bin/python
	@packaging/install "$(VENV)" requirements/demo.txt
	@touch $@

$(VENV)/.dev-ready: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	@packaging/install "$(VENV)" requirements/dev.txt
	@touch $@ $(VENV)/.demo-ready
