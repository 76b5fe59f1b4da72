# Meshwright: `make` prints the verbs. Each verb does its own set-up.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test check prove oracle collector goldens bench docs lock messages clean

help:  ## print the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# One stamp a set of requirements: reinstalled only when the lock file changes.
$(VENV)/run.stamp: requirements/run.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Meshwright needs Python 3.11 or newer, found " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what the product needs (hash-checked) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# pip compiles what it copies, and what stays in place nobody, where PYTHONDONTWRITEBYTECODE is set as in many images.
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	@echo "Installing what the tests need (hash-checked) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

demo: $(VENV)/run.stamp  ## the whole story on this machine, on real Envoys
	@$(BIN)/meshwright demo

test: $(VENV)/dev.stamp  ## the tests
	@$(BIN)/python -m pytest -q -n $(WORKERS)

check: $(VENV)/dev.stamp  ## format, lint, types, layers, tests: what CI runs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q -n $(WORKERS)

prove: $(VENV)/dev.stamp  ## long properties, mutations, crash and soak tests in full
	@if command -v npm >/dev/null; then $(MAKE) --silent oracle || true; fi
	@MESHWRIGHT_PROVE=1 $(BIN)/python -m pytest -q -n $(WORKERS) --timeout 3600

# An independent evaluator that the tests compare our policy decisions with; without it they skip and say so.
oracle: tests/oracle/node_modules/.package-lock.json  ## the policy evaluator that tests ask (needs npm; AGPL, for tests only)

tests/oracle/node_modules/.package-lock.json: tests/oracle/package-lock.json
	@cd tests/oracle && timeout 180 npm ci --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# A real OpenTelemetry Collector that the tests send to and read from; without it they skip and say so.
collector: tests/otelcol/otelcol  ## the OpenTelemetry Collector that tests run (needs Go; takes minutes)

tests/otelcol/otelcol: tests/otelcol/main.go tests/otelcol/go.sum
	@cd tests/otelcol && go build -mod=readonly -o otelcol .

goldens: $(VENV)/dev.stamp  ## rewrite the expected files under tests/cases
	@$(BIN)/python -m pytest -q -n $(WORKERS) --update-goldens tests

docs: $(VENV)/dev.stamp  ## write the pages of docs/ that are made from the program
	@$(BIN)/python -m pytest -q --update-goldens tests/test_docs.py tests/test_rules.py

bench: $(VENV)/dev.stamp  ## the benchmarks, as ratios within one run; that of the push shortened
	@$(BIN)/python -m compileall -q src
	@$(BIN)/python -m benchmarks

lock:  ## write the lock files again (needs uv)
	@for set in run dev; do uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header requirements/$$set.in -o requirements/$$set.txt; done

messages:  ## generate Envoy's message descriptors again, in an environment of its own
	@$(PYTHON) tools/make_messages.py

clean:  ## remove what the verbs made
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .meshwright tests/oracle/node_modules
