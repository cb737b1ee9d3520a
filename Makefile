# `make demo` and `make test` do all their set-up themselves, in .venv and .cache; nothing else on the machine changes.
PYTHON ?= python3
BIN := .venv/bin
KILLS ?= 200
FUZZ_SECONDS ?= 20

.PHONY: bench bench-detection bench-estimates bench-patterns bench-service demo docs fuzz soak stack test check lint \
	types contracts wheel clean help
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: .venv/run ## a real run is replayed as if live, goes wrong, and the page arrives here
	@$(BIN)/python stack/native.py --demo

stack: .venv/run ## exporter, Prometheus, Alertmanager without Docker: make stack LOGS=/path/to/logs
	@$(BIN)/python stack/native.py $(LOGS)

test: .venv/dev .cache/servers/ready ## every test that this machine can run
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: lint types contracts test wheel ## all that continuous integration runs

lint: .venv/dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/dev
	@$(BIN)/mypy

docs: .venv/dev ## rewrite what is generated in the docs
	@$(BIN)/python tools/docs

contracts: .venv/dev
	@$(BIN)/lint-imports --no-logo

wheel: .venv/dev ## build the wheel and start it with run-time dependencies only
	@tests/wheel.sh

# Private environments: run-time dependencies for the demo, all of them for the tests.
.venv/run: pyproject.toml
	@tools/venv $(PYTHON) .venv && $(BIN)/pip install -q -e . && touch $@

.venv/dev: pyproject.toml
	@tools/venv $(PYTHON) .venv && $(BIN)/pip install -q -e '.[dev]' && touch .venv/run $@

.venv/fuzz: .venv/dev
	@$(BIN)/pip install -q -e '.[fuzz]' && touch $@

.cache/servers/ready: tools/servers stack/fetch
	@tools/servers && touch $@

bench: .venv/dev .cache/servers/ready ## speed beside mtail, and from a line in the log to a page; minutes
	@$(BIN)/python tests/bench/throughput.py
	@$(BIN)/python tests/bench/page_latency.py

bench-service: .venv/dev .cache/servers/ready ## latency, memory and CPU of the running exporter; ten minutes
	@$(BIN)/python tests/bench/service.py

bench-patterns: .venv/dev ## the longest time that a hostile line can take, for each format
	@$(BIN)/python tests/bench/patterns.py

bench-detection: .venv/dev ## recall and false alarms on shipped data, and on ../shared/detection where it is
	@$(BIN)/python tests/bench/detection.py

bench-estimates: .venv/dev ## error of ETA and final loss on seeded runs, and on ../shared/detection where it is
	@$(BIN)/python tests/bench/estimates.py

soak: .venv/dev ## the long version of tests/reliability: 200 kills, 200 sequences of troubles; ten minutes
	@KILLS=$(KILLS) TROUBLES=$(KILLS) STORM=$(KILLS) $(BIN)/python -m pytest -s tests/reliability --basetemp $(CURDIR)/.cache/soak

fuzz: .venv/fuzz ## coverage-guided fuzzing of all that is read: make fuzz FUZZ_SECONDS=20 FUZZ_TARGETS="csv http"
	@$(BIN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

clean: ## remove what the other targets made
	rm -rf .venv .cache dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
