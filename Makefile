# make help lists the targets. All of them set up .venv first, once.
.DEFAULT_GOAL := help
.PHONY: help install run test test-all soak mutants lint ui demo cluster-demo reproduce-results reproduce-quick lock clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PORT :=
RECORDS := $(CURDIR)/mlruns
LOST = echo "error: the Python of $(VENV) is gone from this machine (make clean removes $(VENV))"; exit 2
# The first of these that is 3.11 to 3.13, rather one that can make an environment; make PYTHON=... names another.
PYTHON := $(shell for modules in "ensurepip, venv, sys" sys; do for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c "import $$modules; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" 2>/dev/null && echo $$p && exit; done; done)

help:
	@echo "make run      train experiment=quick on real images (CIFAR-10; without it, on built-in drawings)"
	@echo "make test     lint, then the tests of every feature and promise: 14 minutes on two cores"
	@echo "make test-all lint, then all tests: 25 minutes"
	@echo "make soak     the tests that kill and break things, at full length (docs/reliability.md): 11 minutes"
	@echo "make mutants  faults put into the program on purpose, and whether the tests catch them (docs/faults.md)"
	@echo "make ui       browse all runs in MLflow, http://127.0.0.1:5000 (PORT=5001 takes another port, and keeps it)"
	@echo "make demo     a finished search to look at, in seconds and without training"
	@echo "make cluster-demo  PostgreSQL, MLflow and Ray on this machine, and a search that loses a node of it"
	@echo "make reproduce-results  docs/results.md again: searches and trainings; says how many hours, and resumes"
	@echo "make reproduce-quick    the same in a few updates of built-in drawings, to see that it works"
	@echo "make install  only the set-up: .venv with the pinned dependencies and this project"
	@echo "make lint     ruff and mypy"
	@echo "make lock     pin what is installed now in requirements.lock"
	@echo "make clean    remove .venv and caches; records stay"
	@echo "make run ARGS='model.bn_momentum=0.9 train.steps=3000' adds settings"

# Programs find the code of the checkout that .venv is in, also when that was renamed or copied.
install: $(READY)
	@test -x $(BIN)/python || { $(LOST); }
	@$(BIN)/python -c "import os, sysconfig; site = sysconfig.get_path('purelib'); \
		open(os.path.join(site, '__checkout__.pth'), 'w').write(os.path.relpath(os.getcwd(), site))"

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11, 3.12 or 3.13 is needed; none found (make PYTHON=/path/to/python)"; exit 2; }
	@test -x $(BIN)/python || ! test -L $(BIN)/python || { $(LOST); }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: $(PYTHON) cannot make a virtual environment (on Debian: apt-get install python3-venv)"; exit 2; }
	@$(BIN)/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "error: $(VENV) has another Python than 3.11, 3.12 or 3.13 (make clean removes it)"; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null || { \
		echo "error: $(VENV) has no pip, as if its making was broken off (make clean removes it)"; exit 2; }
	@echo "installing the pinned dependencies into $(VENV): about 3.5 GB on disk, a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

run: install
	@$(BIN)/python experiments/run.py experiment=quick $(ARGS)
	@test -n "$$VIRTUAL_ENV" || echo "         after this, once in each terminal: . $(VENV)/bin/activate"

test: lint
	$(BIN)/python -m pytest -q -n 3 --dist worksteal -m "not slow"

test-all: lint
	THOROUGH=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

soak: install
	SOAK=1 $(BIN)/python -m pytest -s tests/chaos

mutants: install
	$(BIN)/python tests/mutants

lint: install
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

ui: install
	@exec $(BIN)/python experiments/ui.py "records.root=$(RECORDS)" $(if $(PORT),port=$(PORT))

demo: install
	@$(BIN)/python sweeps/demo.py

cluster-demo: install
	$(BIN)/python tests/cluster_demo.py

reproduce-results: install
	$(BIN)/python sweeps/reproduce.py $(ARGS)

reproduce-quick: install
	$(BIN)/python sweeps/reproduce.py quick=true data.source=embedded $(ARGS)

lock: install
	@{ echo "# What we test with. Made by make lock; ranges are in pyproject.toml."; \
		$(BIN)/python -m pip freeze --exclude-editable --disable-pip-version-check | grep -v '@ '; } > $(VENV)/requirements.lock
	@mv $(VENV)/requirements.lock requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
