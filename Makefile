# make demo   set up a virtual environment, restore coded photographs, write pictures and a report
# make test   set up a virtual environment, check the code, then run the whole test suite
#
# Both need Python >= 3.11, make and a package index; nothing else is installed or changed.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
DEMO_DIR := demo_output
PYTEST_ARGS :=
WORKERS := --numprocesses auto --maxprocesses 4 --dist loadfile
CODE := armoe_jax input_pipeline configs scripts tests

# The first Python >= 3.11 that has venv and pip; another one: make PYTHON=/path/to/python test
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && { echo "$$p"; break; }; done)

# Each stamp notes that .venv holds the packages of a set of extras, as pyproject.toml names them.
BASE := $(VENV)/.installed-base
TEST := $(VENV)/.installed-test

.PHONY: help demo test lint format clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(BASE)
	$(BIN)/armoe-jax demo -o $(DEMO_DIR)

# `-m ""` lifts the default that leaves slow tests out. A worker may take 4 GB of memory.
test: lint
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest -m "" $(WORKERS) $(PYTEST_ARGS)

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(TEST)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -type d -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
	  echo "no Python >= 3.11 with venv found; install one (Debian: python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(TEST): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(BASE)
