# Everything a newcomer needs. `make help` lists the targets; each does all the set-up it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS := embedding,ranking,trainer,clients,dev
REVIEWS ?=
PROTOS := $(wildcard proto/twotower/v1/*.proto)

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test check check-extras format proto proto-baseline lock audit sbom bench loadtest dev-certificates compose-secrets clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

setup: $(INSTALLED) ## Make the virtual environment and install the project with pinned versions

# Every file is checked against its hash; a second run starts at once as long as no lock changed.
$(INSTALLED): pyproject.toml tools/install.py $(wildcard requirements/*.lock)
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else "Twotower needs Python 3.11 or 3.12, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing (two to four minutes the first time) ..."
	$(BIN)/python tools/install.py all
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
	@touch $@

demo: $(INSTALLED) ## Train, serve, recommend, record a review, see the answer change (REVIEWS=file.csv.gz for your own)
	$(BIN)/twotower demo $(if $(REVIEWS),--reviews $(REVIEWS))

up: $(INSTALLED) ## The same, but leave the services running and print how to call them
	$(BIN)/twotower demo --keep-up $(if $(REVIEWS),--reviews $(REVIEWS))

down: $(INSTALLED) ## Stop what `make up` left running
	$(BIN)/twotower demo --stop

test: $(INSTALLED) ## Run all tests
	$(BIN)/python -m pytest tests

check: $(INSTALLED) ## Format, lint and security rules, types, import rules, fresh stubs and locks, API rules: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/stubs.py --check
	$(BIN)/python tools/lock.py --check
	$(BIN)/python tools/audit.py
	PATH="$(abspath $(BIN)):$$PATH" buf lint
	PATH="$(abspath $(BIN)):$$PATH" buf format --diff --exit-code
	PATH="$(abspath $(BIN)):$$PATH" buf breaking --against proto/baseline.binpb

lock: $(INSTALLED) ## Write requirements/*.lock, with hashes, from pyproject.toml and constraints.txt
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tools/lock.py

audit: $(INSTALLED) ## Look all locked packages up in PyPI's vulnerability database, which must be reached
	$(BIN)/python tools/audit.py --required

sbom: $(INSTALLED) ## Write run/sbom/*.cdx.json (CycloneDX): what is installed here, and what is in each image
	mkdir -p run/sbom
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o run/sbom/environment.cdx.json $(BIN)/python
	for image in embedding ranking trainer; do $(BIN)/cyclonedx-py requirements --output-reproducible \
		-o run/sbom/$$image.cdx.json requirements/$$image.lock || exit 1; done

compose-secrets: dev-certificates ## Make what docker-compose.yml needs in deploy/secrets: certificates, tokens, Redis' password
	install -d -m 700 deploy/secrets
	@# Readable for the containers' user; the folder lets nobody else on this machine in.
	install -m 644 $(addprefix run/certificates/,ca.pem server.pem server-key.pem keys.json) \
		$(foreach caller,reader writer operator ranking,run/certificates/$(caller).token) deploy/secrets
	test -s deploy/secrets/store-password || \
		$(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(32))' >deploy/secrets/store-password
	chmod 644 deploy/secrets/store-password

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

dev-certificates: $(INSTALLED) ## Make an authority, certificates, keys and tokens for development: run/certificates
	$(BIN)/python tools/dev_certificates.py

clean: ## Remove the virtual environment and the run directory
	rm -rf $(VENV) run .mypy_cache .ruff_cache .import_linter_cache .hypothesis
