# Every target does its own set-up in .venv; all that is needed beforehand is Python >= 3.10 and make.
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
DOCS_ARGS ?=
WORKERS ?= 2

# busy-waiting OpenMP threads starve each other on small machines: a step took 60 times as long
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help demo test lint docs bench clean

help:
	@echo "make demo   train a digit generator, sample, evaluate: runs/digits/report.html (minutes)"
	@echo "make test   the test suite"
	@echo "make lint   ruff, pyright, import layers"
	@echo "make docs   build the site into site/"
	@echo "make bench  every benchmark into benchmarks/results/ (long)"

$(VENV)/.base: pyproject.toml constraints.txt
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "pathline needs Python >= 3.10: make PY=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PY) -m venv $(VENV)
	@echo "installing pathline into $(VENV) (first time: a few minutes)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@echo "installing the development tools"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@# torchvision, which it asks for, must be of the build of torch, and only its data sets need that
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps "torch-fidelity>=0.3"
	@touch $@

$(VENV)/.docs: $(VENV)/.base
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

demo: $(VENV)/.base
	$(BIN)/pathline train digits --out runs/digits --overwrite

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/python docs/build.py $(DOCS_ARGS)

bench: $(VENV)/.dev
	for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache
