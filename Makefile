# cri-shim's commands. `make help` lists them; every one of them works from a clean clone on Debian 12, as root.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
export PYTHON

# What pip installed, and what the protos generated: each is made again when its sources change.
INSTALLED := .venv/.installed
WIRE := api/wire/py.typed

.NOTPARALLEL:
.PHONY: help run test lint audit lock unit fuzz e2e test-vm test-matrix docs deb image bench format venv clean packages-run packages-test

help: ## list these commands
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: packages-run $(WIRE) ## serve on a private containerd and run a two-container pod on it; Ctrl-C ends
	@deploy/examples/run.sh

test: lint audit unit fuzz e2e ## everything that CI checks

lint: $(WIRE) ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit: packages-test $(WIRE) ## unit tests, in parallel
	$(BIN)/pytest tests -n auto --basetemp="$$(mktemp -d)"

FUZZ_SECONDS ?= 60
fuzz: $(WIRE) ## fuzz the stream protocols, guided by coverage; FUZZ_SECONDS=600 before a release
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

e2e: packages-test $(WIRE) ## end-to-end tests on two private containerds with runc, CNI plugins and a registry
	$(BIN)/pytest e2e -n 2 --dist worksteal --ignore e2e/test_campaign.py --basetemp="$$(mktemp -d)"
	$(BIN)/pytest e2e/test_campaign.py --basetemp="$$(mktemp -d)"  # wants the machine for itself

test-vm: $(WIRE) ## the tests that need cgroup v2, systemd or AppArmor, and critest, in a Debian under qemu
	e2e/vm/run.sh

test-matrix: packages-test $(WIRE) ## the end-to-end tests on containerd 1.6, 1.7 and 2.1, each in a folder of its own
	@e2e/matrix.sh

docs: $(WIRE) ## docs/configuration.md and docs/metrics.md, from the code
	$(BIN)/python -m cri.app.config.reference >docs/configuration.md
	$(BIN)/python -m cri.observe.reference >docs/metrics.md

audit: $(WIRE) ## known weaknesses of the locked packages, as far as the package index tells
	$(BIN)/python requirements/audit.py

lock: $(WIRE) ## requirements/*.lock: newer versions of everything, with hashes
	requirements/lock.sh

deb: packages-test $(WIRE) ## dist/*.deb for this Debian: an environment below /opt, systemd unit, man page
	deploy/debian/build.sh

image: packages-test $(WIRE) ## dist/*.oci.tar, the server as an image, for nodes where nothing may be installed
	deploy/image/build.sh

bench: packages-test $(WIRE) ## the same operations on containerd's own CRI plugin and here, side by side
	$(BIN)/python -m e2e.bench

format: $(WIRE) ## rewrite the sources as `make lint` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

venv: $(WIRE) ## the virtual environment with the package and its development tools

clean: ## remove the virtual environment and everything generated
	rm -rf .venv api/wire dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

packages-run:
	@deploy/install/debian-packages.sh run

packages-test:
	@deploy/install/debian-packages.sh test

$(INSTALLED): pyproject.toml requirements/dev.lock protos/generate.py | packages-run
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cri-shim needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(WIRE): $(INSTALLED) $(shell find protos -name '*.proto')
	$(BIN)/python protos/generate.py
	$(BIN)/python -m compileall -q api cri  # where Python may not, each of the tests' many servers would do it anew
	@touch $@
