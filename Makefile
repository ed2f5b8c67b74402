# Two commands do all the set-up; Python >= 3.11 and make are enough.
#   make demo   virtual environment, install, train on real digits, predict from the artifact
#   make test   virtual environment, install, all tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint clean

help:
	@sed -n '2,3s/^# *//p' Makefile

demo: $(VENV)/demo.stamp
	$(BIN)/python examples/digits/digits.py

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n auto --dist worksteal -q

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info runs

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("graphc needs Python >= 3.11; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[pictures]'
	@touch $@

$(VENV)/test.stamp: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
