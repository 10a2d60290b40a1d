# `make demo` and `make test` each do all their own set-up on a fresh machine with Python 3.11.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# CPU wheels are enough for the demo and the tests; users with a GPU install the package into their own
# environment, by the range in pyproject.toml, and keep the torch that they have.
TORCH := torch==2.13.0

.PHONY: setup demo test test-all docs fuzz lint types check clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "Python 3.11 is needed (Blender 4.5 has no other); found $$($(PYTHON) --version). Try: make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[all,dev]'
	touch $@

demo: setup
	$(BIN)/objnerf demo --out runs/demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

test: setup
	$(BIN)/python -m pytest -n 2

# The tests that take minutes as well, and a longer search for bytes that readers stumble over: every night.
test-all: setup
	$(BIN)/python -m pytest -n 2 -m "not gpu"
	$(BIN)/python tests/fuzz/fuzz.py --seconds 20

# The documentation as a site, for a browser: site/index.html. A broken link is an error.
docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/mkdocs build --strict

# Damaged files for every reader. Guided by coverage where atheris is there: pip install 'objnerf[fuzz]'
fuzz: setup
	$(BIN)/python tests/fuzz/fuzz.py --seconds 60

check: lint types test

clean:
	rm -rf runs build site *.egg-info .pytest_cache .mypy_cache .ruff_cache
