# Every target installs what it needs on a fresh Debian or Ubuntu (as root or with sudo), and does so once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PROVISION := bash ha_lvs/drill/lab/provision.sh
BIN := .venv/bin
# Namespaces need root; the environment decides about the guest and its pace, so it has to survive sudo.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env)

VENV := .venv/stamp
LAB := build/stamps/lab
DEPLOY := build/stamps/deploy

.PHONY: help venv lint test test-unit test-lab test-deploy lab demo drill drills bench sim transcripts clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV) ## Python environment in .venv with everything that development needs

$(VENV): pyproject.toml
	@$(PROVISION) venv
	@test -x $(BIN)/pip || { echo "venv: making .venv"; rm -rf .venv; python3 -m venv .venv; }
	@echo "venv: installing ha-lvs and its development tools"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

lab: $(LAB) ## packages that the lab needs

$(LAB): ha_lvs/drill/lab/provision.sh
	@$(PROVISION) lab
	@mkdir -p $(@D)
	@touch $@

$(DEPLOY): ha_lvs/drill/lab/provision.sh
	@$(PROVISION) deploy
	@mkdir -p $(@D)
	@touch $@

lint: $(VENV) ## style, types, import layers, Ansible's production profile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline -q -c ansible/.ansible-lint ansible/

test: test-unit test-lab ## all tests: unit, property, simulation; then the labs

test-unit: $(VENV) ## tests that need neither root nor a lab
	$(BIN)/pytest -n auto -m 'not netns and not ipvs and not deploy'

test-lab: $(VENV) $(LAB) ## tests in namespaces of this kernel and, side by side, of one that has IPVS
	$(ROOT) bash ha_lvs/drill/lab/test-labs.sh $(BIN)

test-deploy: $(VENV) $(DEPLOY) ## whole machines in qemu, deployed to by Ansible; see build/deploy/report.json
	$(ROOT) $(BIN)/pytest -m deploy -x -s -p no:cacheprovider tests/deploy

demo: $(VENV) $(LAB) ## a director pair fails over while clients watch; see build/demo/report.json
	$(ROOT) $(BIN)/python -m ha_lvs.drill.demo -o build/demo

drill: $(VENV) $(LAB) ## one rehearsal of a failure, measured: make drill SCENARIO=power-loss; see build/drills/
	@test -n "$(SCENARIO)" || { echo "which? make drill SCENARIO=NAME, with one of:"; \
	  ls scenarios/*.yml | sed 's,scenarios/\(.*\)\.yml,  \1,'; exit 2; }
	$(ROOT) $(BIN)/ha-lvs drill scenarios/$(SCENARIO).yml

drills: $(VENV) $(LAB) ## all of them, beside keepalived and DNS where that tells something; see build/drills/index.html
	$(ROOT) $(BIN)/ha-lvs drill scenarios/*.yml

bench: $(VENV) $(LAB) ## speed beside the incumbent's: make bench, make bench GROUP=election; see build/bench/results.json
	$(ROOT) $(BIN)/python -m tests.bench $(GROUP) -o build/bench

SEEDS ?= 20000
sim: $(VENV) ## the election under faults, simulated: make sim SEEDS=100000
	$(BIN)/python -m tests.sim $(SEEDS)

transcripts: $(VENV) ## elections as readable transcripts, written anew; review the difference
	$(BIN)/python -m tests.transcripts --write

clean: ## everything that was made here
	rm -rf build .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
