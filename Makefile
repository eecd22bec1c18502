# The README's two commands are `make serve` and `make test`; both install what they need into .venv/.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RIVALS := .venv-rivals
BUILDER := .venv-build
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install serve test check format bench rivals soak soak-requests soak-rollouts demo-rollout wheel sbom \
  audit-dependencies protos samples lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Make .venv/ with everything in it

serve: install ## Serve model_repository/ on 127.0.0.1 (options: ARGS="--grpc-port 9001")
	@exec $(BIN)/headrace serve --model-repository model_repository $(ARGS)

test: install ## Run every test (options: ARGS="-k batch")
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup $(ARGS)

check: install ## Lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Measure (each figure a ratio in one run; see benchmarks/README.md)
	$(BIN)/python -m benchmarks $(ARGS)

rivals: ## Make .venv-rivals/ with the servers that `make bench ARGS=gateway` compares with
	test -x $(RIVALS)/bin/pip || $(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/pip install --quiet --disable-pip-version-check -r benchmarks/rivals/requirements.txt

soak: install ## 500 loads and unloads, resident memory must stay flat (minutes)
	$(BIN)/python -m benchmarks.soak reloads $(ARGS)

soak-requests: install ## 1,000,000 requests, resident memory must stay flat (minutes)
	$(BIN)/python -m benchmarks.soak requests $(ARGS)

soak-rollouts: install ## Kill the server 100 times amid rollouts: nothing may be lost (minutes)
	ROLLOUT_KILLS=100 $(BIN)/python -m pytest -q tests/adversity/test_rollout_crashes.py $(ARGS)

demo-rollout: install ## Roll a good version out and three bad ones back, live (minutes; ARGS="--json FILE")
	PYTHONPATH=scripts $(BIN)/python -m demo_rollout $(ARGS)

wheel: $(BUILDER)/.installed ## Build wheel and sdist into dist/; the same source gives the same bytes
	$(BUILDER)/bin/python scripts/build_wheel.py dist

sbom: wheel ## Write dist/headrace-VERSION.cdx.json, and check it against the wheel and the lock
	$(BIN)/python scripts/write_sbom.py $(ARGS) dist

audit-dependencies: install ## Ask a vulnerability service about everything that is locked (needs a network)
	$(BIN)/python scripts/audit_dependencies.py $(ARGS)

protos: install ## Generate server/headrace/pb/ from protos/
	$(BIN)/python scripts/build_protos.py

samples: install ## Train the sample models anew
	$(BIN)/python scripts/train_samples.py

lock: ## Pin the newest versions of everything (needs uv)
	uv pip compile -q --no-header --universal --python-version 3.11 --generate-hashes --extra cpu --extra dev pyproject.toml -o requirements/dev.lock
	uv pip compile -q --no-header --universal --python-version 3.11 --generate-hashes --extra cpu -c requirements/dev.lock pyproject.toml -o requirements/cpu.lock
	uv pip compile -q --no-header --universal --python-version 3.11 --generate-hashes --extra gpu -c requirements/dev.lock pyproject.toml -o requirements/gpu.lock
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], "build", sep="\n")' \
	  | uv pip compile -q --no-header --universal --python-version 3.11 --generate-hashes --no-annotate - -o requirements/build.lock

clean: ## Remove everything that was made
	rm -rf $(VENV) $(BUILDER) build dist server/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find server/headrace/pb -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +

# A virtual environment needs Debian's python3-venv; as root it is installed, otherwise the command is shown.
$(VENV)/bin/pip:
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; \
	  else echo "python3-venv is missing: sudo apt-get install python3-venv"; exit 1; fi; fi
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(VENV)/bin/pip requirements/dev.lock pyproject.toml setup.py scripts/build_protos.py $(shell find protos -name '*.proto')
	@echo "installing headrace and what it needs into $(VENV)/ (about a minute the first time)"
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(INSTALLED)

# The tools of a release, apart from those of development: pyproject.toml says which.
$(BUILDER)/.installed: $(INSTALLED) requirements/build.lock
	$(BIN)/python -m venv --clear --without-pip $(BUILDER)
	$(BIN)/pip --python $(BUILDER)/bin/python install --quiet --disable-pip-version-check --require-hashes -r requirements/build.lock
	@touch $@
