# Every target sets up what it needs, into .venv, once; repeating it is quick.
PYTHON ?= python3.11
BIN := .venv/bin
JOBS ?= 2
# What takes long is named, so that it can be made quick or marked.
PYTEST = $(BIN)/pytest -n $(JOBS) --durations=20 --durations-min=10

.PHONY: help setup setup-dev demo test test-slow test-exhaustive faults lint format docs bench clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.created:
	@command -v $(PYTHON) >/dev/null || { echo "expected $(PYTHON) on the PATH; install Python 3.11 or pass PYTHON=/path/to/python3.11" >&2; exit 69; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.product: .venv/.created requirements.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/.dev: .venv/.product requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

setup: .venv/.product  ## install the product into .venv
setup-dev: .venv/.dev  ## install what the tests and checks need as well

demo: setup  ## build, train, evaluate and report on embedded real data
	$(BIN)/atft demo

test: setup-dev  ## the quick tests
	$(PYTEST) -m "not slow"

test-slow: setup-dev  ## the slow tests
	$(PYTEST) -m "slow and not exhaustive"

test-exhaustive: setup-dev  ## more of what the slow tests do: every page of docs/ followed, every place of a fault
	$(PYTEST) -m exhaustive

faults: setup-dev  ## every fault test, slow ones too; the matrix is printed and goes into docs/robustness.md
	$(PYTEST) tests/faults --fault-matrix docs/robustness.md

lint: setup-dev  ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup-dev  ## the references of keys and commands, and all of docs/ as a site in site/
	$(BIN)/python -m atft_gat_fan.config.reference docs/configuration.md
	$(BIN)/python -m atft_gat_fan.cli.reference docs/cli.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# The libraries to compare with pin another pandas than ours.
.venv-peers/.peers: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check -r benchmarks/peers/requirements.txt
	@touch $@

bench: setup-dev .venv-peers/.peers  ## every measurement in one table (QUICK=1: in minutes; PANEL=nasdaq_2003_2017.parquet: on real prices too)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(PANEL),--panel $(PANEL))

clean:  ## remove what the targets made, .venv included
	rm -rf .venv .venv-peers site runs .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
