# gpuboard: `make demo` shows it, `make test` proves it, `make check` is CI's first step.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
STAMP_DEV := $(VENV)/.stamp-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test safety-report check format lock man deb screenshots bench bench-screen soak soak-goal clean

help:  ## say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(STAMP_DEV): requirements-dev.lock $(STAMP)
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(STAMP)  ## the whole thing on a simulated box with a scripted lab (as text in a pipe)
	@$(BIN)/gpuboard demo

test: $(STAMP_DEV)  ## set up what the tests need and run them all
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(TESTS)

safety-report: $(STAMP_DEV)  ## try every attack and fault of the catalogue: a row for each, fails on a red or missing one
	@GPUBOARD_SAFETY_LONG=1 $(BIN)/python -m tests.safety.report $(SAFETY)

check: $(STAMP_DEV)  ## format, rules, types, import contracts, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(STAMP_DEV)  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(STAMP_DEV)  ## renew the hashed locks from pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --upgrade --extra bootstrap -o requirements.lock pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --upgrade --extra bootstrap --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml

SECONDS ?= 120
soak: $(STAMP_DEV)  ## walk fresh stories of a simulated box for SECONDS; a failing one is shrunk and kept
	$(BIN)/python -m tests.support.soak --seconds $(SECONDS) --jobs $(WORKERS) --keep
	$(BIN)/python -m pytest -m soak tests/engine

soak-goal: $(STAMP_DEV)  ## walk fresh stories until 1,000,000 steps and 10,000 box-hours (15 minutes of two cores)
	$(BIN)/python -m tests.support.soak --steps 1000000 --box-hours 10000 --seconds 5400 --jobs $(WORKERS) --keep

man: $(STAMP_DEV)  ## man pages into build/man
	$(BIN)/python packaging/make_man.py build/man

deb: $(STAMP_DEV)  ## a Debian package into dist/
	$(BIN)/python packaging/make_deb.py

bench: $(STAMP_DEV)  ## measure: each line is a ratio against something run beside it
	$(BIN)/python -m tests.bench

bench-screen: $(STAMP_DEV)  ## the app beside nvitop and nvtop on one fake box; fails where a target is missed
	$(BIN)/python -m tests.bench.bench_screen

screenshots: $(STAMP_DEV)  ## renew the pictures of the README
	$(BIN)/python assets/make_screenshots.py

clean:  ## remove what was made
	rm -rf $(VENV) build dist *.egg-info
