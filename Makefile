# `make help` lists the commands.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NATIVE := server/native
NATIVE_STAMP := $(VENV)/.native-built
NATIVE_SOURCES := $(addprefix $(NATIVE)/,Cargo.toml build.rs crates.txt instantaudience_native.pyi pyproject.toml) $(wildcard $(NATIVE)/src/*.rs $(NATIVE)/src/*/*.rs)
# Where a Python is named and .venv has another one, .venv is made anew.
WHICH := import os, sys; print(os.path.realpath(sys.base_prefix), sys.version_info[:2])
ifneq ($(origin PYTHON),file)
ifneq ($(wildcard $(BIN)/python),)
OTHER := $(shell test "$$($(BIN)/python -c '$(WHICH)')" = "$$($(PYTHON) -c '$(WHICH)')" || echo other-python)
endif
endif
CALLERS_PATH := $(PATH)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Tests start thousands of processes: what these import is compiled once, whatever the surroundings say. Their output is
# kept back as anyone's is.
unexport PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED

.PHONY: $(OTHER) help setup run quick test test-all test-clients check bench wheel licences sbom audit format generate lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(STAMP) $(NATIVE_STAMP) ## Make .venv from the locked requirements; build the native host where there is cargo

# A .venv that could not be made has a Python, and no pip.
$(STAMP): requirements.lock pyproject.toml clients/python/pyproject.toml $(OTHER)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(if $(OTHER),rm -rf $(VENV))
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
	touch $@

# Where it cannot be built, each `make setup` says so: it may be possible the next time.
$(NATIVE_STAMP): $(STAMP) $(NATIVE_SOURCES)
	@tools/build-native $@

run: setup ## Run the service on its embedded cluster with the demo catalog
	@PATH='$(CALLERS_PATH)' $(BIN)/instant-audience serve --demo # which says what to type in the caller's shell

quick: setup ## Run the tests that start no process: half a minute
	$(BIN)/python -m pytest -q -rN -m 'not process' --numprocesses 2 tests/modules

# Most tests wait more than they work: four processes share them. Those that measure have the machine.
PYTEST := $(BIN)/python -m pytest -rN
BESIDE := --numprocesses 4 --no-loadscope-reorder
test: setup ## Run every rule's test once, on one host, port and product
	$(PYTEST) -m 'not alone and not wide' $(BESIDE)
	$(PYTEST) -m 'alone and not wide'

test-all: setup ## Run every test on all hosts, ports and products, with faults and long property tests
	$(PYTEST) -m 'not alone' --hypothesis-profile large $(BESIDE)
	$(PYTEST) -m alone --hypothesis-profile large

test-clients: setup ## Build and test the clients of all languages (or CLIENTS="go", HOSTS="native grpcio")
	CLIENTS="$(CLIENTS)" HOSTS="$(HOSTS)" $(BIN)/python tools/test_clients.py

check: setup ## Check format, lint, types, import directions, proto and generated code
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	buf lint
	buf format --diff --exit-code
	tools/check-breaking
	tools/check-generated
	python tools/licences.py check
	python tools/audit.py
	tools/check-native
	tools/check-deploy

wheel: setup ## Build the wheels of service, client and native host into dist/
	tools/build-wheels dist --no-build-isolation

licences: setup ## List the licences of all packages and crates
	$(BIN)/python tools/licences.py list

sbom: setup ## Write the list of all parts (CycloneDX) to build/sbom.json
	$(BIN)/python tools/sbom.py build/sbom.json

audit: setup ## Ask for known weaknesses of the locked packages (needs the index itself, not a mirror)
	$(BIN)/python tools/audit.py

bench: setup ## Measure all hosts against Go (where it is installed) and the cluster's ceiling
	$(BIN)/python -m bench

format: setup ## Format the code and the proto files
	! command -v cargo >/dev/null || cargo fmt --all --manifest-path $(NATIVE)/Cargo.toml
	ruff format .
	ruff check --fix .
	buf format --write

generate: setup ## Make the stubs and the vendored proto files again
	tools/generate

lock: ## Resolve the requirements again, and the native host's crates where there is cargo
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --extra dev \
		--no-emit-package instant-audience-client --custom-compile-command 'make lock' \
		--output-file requirements.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --constraint requirements.lock \
		--no-emit-package instant-audience-client --custom-compile-command 'make lock' \
		--output-file deploy/requirements.lock pyproject.toml
	cd tests/legacy/python && $(CURDIR)/$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --output-file requirements.txt requirements.in
	! command -v cargo >/dev/null || { cargo update --quiet --manifest-path $(NATIVE)/Cargo.toml && $(BIN)/python tools/crates.py write; }

clean: ## Remove what the other commands made
	rm -rf $(VENV) data build dist $(NATIVE)/target clients/java/target clients/typescript/build clients/typescript/dist \
		.grimp_cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf $(addsuffix /node_modules,clients/typescript tests/clients/python tests/legacy/typescript)
