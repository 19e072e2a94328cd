# Two commands do everything on a machine with Python 3.11, pip and make: `make bench` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
AEON ?= .venv-aeon
PIP_AEON = $(AEON)/bin/python -m pip install --quiet --disable-pip-version-check -c $(AEON)/constraints.txt
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal
QUICK = not slow and not faults and not browser
TORCH = $(shell grep '^torch==' constraints.txt)

.PHONY: bench test test-aeon test-slow test-browser test-faults test-injected bench-speed bench-suite check check-fast docs lint format clean help

help:
	@echo "make bench        set up, then python -m mmkd.bench --method student,kd,fam"
	@echo "make test         set up, then format check, lint, types and tests (about 15 minutes on 2 cores)"
	@echo "make test-slow    the tests that build, install, kill processes or train every method (about 25 minutes on 2 cores)"
	@echo "make test-browser the page and MLflow's own in headless Chromium (Debian's package chromium); skipped without it"
	@echo "make test-aeon    aeon's own checks of mmkd.aeon, in an environment of its own (about 2 minutes to make)"
	@echo "make test-faults  kills a small suite 50 times and looks at what is left (about 10 minutes)"
	@echo "make test-injected breaks the code in one place at a time, and a test must notice (about 15 minutes)"
	@echo "make bench-speed  ours beside its peers, into experiments/results/speed.md (under 15 minutes on 2 cores)"
	@echo "make bench-suite  one suite beside plain PyTorch loops, into experiments/results/speed-suite.md (under 15 minutes on 2 cores)"
	@echo "make check        what make test does, with nothing installed anew"
	@echo "make check-fast   the same without the tests that train a network or start another Python (under 2 minutes)"
	@echo "make docs         the documents as a site, in build/docs/site; a link without its page is an error"
	@echo "make format       format and mend the code"

bench: $(VENV)/.core
	$(BIN)/python -m mmkd.bench --method student,kd,fam

test: $(VENV)/.dev
	$(MAKE) check

check: lint
	$(PYTEST) -m "$(QUICK)"

check-fast: lint
	$(PYTEST) -m "$(QUICK)" --fast

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-slow: $(VENV)/.slow
	$(PYTEST) -m slow

test-browser: $(VENV)/.dev
	$(BIN)/python -m pytest -m browser -rs

test-aeon: $(AEON)/.done
	$(AEON)/bin/python -m pytest tests/estimators/aeon_checks.py -W default

test-faults: $(VENV)/.dev
	$(BIN)/python -m pytest -m faults -s

test-injected: $(VENV)/.dev
	$(BIN)/python tests/injected/inject.py

bench-speed: $(VENV)/.dev
	$(BIN)/python experiments/speed

bench-suite: $(VENV)/.dev
	$(BIN)/python experiments/speed/suite.py

docs: $(VENV)/.docs
	$(BIN)/python -m docs.maker

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# torch goes first and alone: another package's open-ended wish for it would take another build
$(VENV)/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) -e ".[dev,tsai,onnx,docs]"
	touch $@

# aeon 1.6 wants older numba, numpy and pandas than constraints.txt
$(AEON)/.done: pyproject.toml constraints.txt
	test -x $(AEON)/bin/python || $(PYTHON) -m venv $(AEON)
	grep -vE '^(llvmlite|numba|numpy|pandas)==' constraints.txt > $(AEON)/constraints.txt
	$(PIP_AEON) $(TORCH)
	$(PIP_AEON) -e ".[aeon]" pytest
	touch $@

$(VENV)/.slow: $(VENV)/.dev
	$(PIP) -e ".[dev,tsai,onnx,docs,ray]"
	touch $@

$(VENV)/.docs: $(VENV)/.core
	$(PIP) -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) $(AEON) .pytest_cache .mypy_cache .ruff_cache dist build
