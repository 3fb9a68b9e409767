# Everything a newcomer needs. `make help` lists the targets; each does all the set-up it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS := embedding,ranking,trainer,clients,dev
REVIEWS ?=
PROTOS := $(wildcard proto/twotower/v1/*.proto)

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test check check-extras format proto proto-baseline bench loadtest clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

setup: $(INSTALLED) ## Make the virtual environment and install the project with pinned versions

# `pip install` of a constraint file that did not change is skipped: a second run starts at once.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else "Twotower needs Python 3.11 or 3.12, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing (two to four minutes the first time) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]' 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	@touch $@

demo: $(INSTALLED) ## Train, serve, recommend, record a review, see the answer change (REVIEWS=file.csv.gz for your own)
	$(BIN)/twotower demo $(if $(REVIEWS),--reviews $(REVIEWS))

up: $(INSTALLED) ## The same, but leave the services running and print how to call them
	$(BIN)/twotower demo --keep-up $(if $(REVIEWS),--reviews $(REVIEWS))

down: $(INSTALLED) ## Stop what `make up` left running
	$(BIN)/twotower demo --stop

test: $(INSTALLED) ## Run all tests
	$(BIN)/python -m pytest tests

check: $(INSTALLED) ## Format, lint, types, import rules, fresh stubs, API rules: exactly what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/stubs.py --check
	PATH="$(abspath $(BIN)):$$PATH" buf lint
	PATH="$(abspath $(BIN)):$$PATH" buf format --diff --exit-code
	PATH="$(abspath $(BIN)):$$PATH" buf breaking --against proto/baseline.binpb

check-extras: ## Install each extra alone in a fresh environment and import its package
	$(PYTHON) tools/check_extras.py

format: $(INSTALLED) ## Format the code and the protos
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	PATH="$(abspath $(BIN)):$$PATH" buf format -w

proto: $(INSTALLED) ## Generate the stubs from proto/
	$(BIN)/python tools/stubs.py

proto-baseline: $(INSTALLED) ## Accept the API as it is: what `buf breaking` compares with from now on
	PATH="$(abspath $(BIN)):$$PATH" buf build -o proto/baseline.binpb

bench: $(INSTALLED) ## Run all benchmarks; one alone: make bench-ranking, bench-serving, … (benchmarks/bench_*.py)
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

bench-%: $(INSTALLED)
	$(BIN)/python benchmarks/bench_$*.py

loadtest: $(INSTALLED) ## Load what `make up` left running with Locust, 30 s, 16 callers
	$(BIN)/locust -f clients/loadtest/locustfile.py --headless -u 16 -r 16 -t 30s --only-summary

clean: ## Remove the virtual environment and the run directory
	rm -rf $(VENV) run .mypy_cache .ruff_cache .import_linter_cache .hypothesis
