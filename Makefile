# Everything a person needs here. Each target does its own set-up: Python >= 3.11 and make are enough.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: demo demo-monitoring test unit property integration e2e goldens soak simulate simulate-long mutations mutants lint format types docs alerts dashboards pictures lock lint-packaging check-package check-image check-chart chart sbom build clean check help

help:  ## say what there is
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 16

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.runtime: $(VENV)/.python requirements/runtime.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(VENV)/.runtime  ## the exporter at work on a local ComfyControl; ARGS="--speed 5" hurries it
	$(BIN)/python -m exporter demo $(ARGS)

demo-monitoring: $(VENV)/.dev  ## the demo with Prometheus and Alertmanager, where these are installed
	scripts/demo-monitoring $(ARGS)

# Most tests wait for programs and for time to pass, so more of them run at once than there are cores.
WORKERS ?= 4
test: $(VENV)/.dev  ## every tier of tests; those whose programs are missing say so and are skipped
	$(PYTEST) --numprocesses=$(WORKERS) --dist=worksteal $(ARGS)

unit property integration e2e: $(VENV)/.dev  ## one tier of tests
	$(PYTEST) tests/$@ $(ARGS)

goldens: $(VENV)/.dev  ## write the kept messages again from the code; then look at the difference
	REWRITE_GOLDENS=1 $(PYTEST) tests/unit/config/test_bad_files.py tests/unit/web/test_bad_files.py $(ARGS)

lint: $(VENV)/.dev  ## format and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev  ## format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.dev  ## strict type check
	$(BIN)/mypy

soak: $(VENV)/.dev  ## an hour of everything from outside at once; ARGS="--minutes 10" for less
	$(BIN)/python -m benchmarks.soak $(ARGS)

SEEDS ?= 100
simulate: $(VENV)/.dev  ## the whole exporter in simulated time; SEEDS=10000 for a night, ARGS="--replay 7" for one
	$(BIN)/python -m tests.simulation --kept --seeds $(SEEDS) $(ARGS)

simulate-long: $(VENV)/.dev  ## long lives with little work; SEEDS=50, ARGS="--days 60"
	$(BIN)/python -m tests.simulation --long --seeds $(SEEDS) $(ARGS)

mutations: $(VENV)/.dev  ## plant faults; does the known seed find each? SEEDS=1000 looks for the first that does
	$(BIN)/python -m tests.simulation.mutations $(if $(filter command line,$(origin SEEDS)),--seeds $(SEEDS)) $(ARGS)

$(VENV)/mutants/.made: $(VENV)/.dev requirements/mutants.txt
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/mutants.txt
	touch $@

MODULES ?=
mutants: $(VENV)/mutants/.made  ## does a test notice each small change of the rules? MODULES="ledger/runs.py" for some
	$(BIN)/python -m tests.mutants $(MODULES)

check: lint types test  ## everything before a commit

docs: $(VENV)/.dev  ## generate the reference pages from the code
	$(BIN)/python -m exporter.metrics.reference > docs/metrics.md
	$(BIN)/python -m exporter.config.reference > docs/configuration.md
	$(BIN)/python -m alerts.build
	$(BIN)/python -m helm.build

alerts: $(VENV)/.dev  ## write the rule files and their tables from source and thresholds
	$(BIN)/python -m alerts.build

dashboards: $(VENV)/.dev  ## write the dashboards' JSON from their source
	$(BIN)/python -m dashboards.build

PREVIEW ?=
pictures: $(VENV)/.dev  ## draw both boards in every situation for the docs; PREVIEW="COMMAND" names what draws a board
	@test -n '$(PREVIEW)' || { echo 'Name what draws a board: make pictures PREVIEW="COMMAND"'; exit 1; }
	$(BIN)/python -m dashboards.pictures --preview '$(PREVIEW)' $(ARGS)

lock: $(VENV)/.dev  ## lock what pyproject.toml asks for
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	  --custom-compile-command "make lock" pyproject.toml --extra postgres -o requirements/runtime.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	  --custom-compile-command "make lock" pyproject.toml --extra postgres -c requirements/runtime.txt \
	  --group build --group test --group monitoring --group check -o requirements/dev.txt
	for group in build packaging chart mutants; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	    --custom-compile-command "make lock" -c requirements/runtime.txt -c requirements/dev.txt \
	    --group $$group -o requirements/$$group.txt || exit 1; \
	done
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	  --custom-compile-command "make lock" --group checkov -o requirements/checkov.txt

$(VENV)/packaging/.made: $(VENV)/.python requirements/build.txt requirements/packaging.txt
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/packaging.txt
	touch $@

$(VENV)/checkov/.made: $(VENV)/.python requirements/checkov.txt
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/checkov.txt
	touch $@

lint-packaging: $(VENV)/packaging/.made $(VENV)/checkov/.made  ## lint scripts, Dockerfile, workflows and units; needs Go
	TOOLS=$(VENV)/packaging CHECKOV=$(VENV)/checkov scripts/lint-packaging

check-package: $(VENV)/packaging/.made  ## build wheel and sdist, and check them and what they install
	TOOLS=$(VENV)/packaging scripts/check-package

$(VENV)/chart/.made: $(VENV)/.python requirements/chart.txt
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/chart.txt
	touch $@

check-chart: $(VENV)/chart/.made $(VENV)/checkov/.made  ## lint, render and scan the Helm chart; needs Go
	TOOLS=$(VENV)/chart CHECKOV=$(VENV)/checkov scripts/check-chart

chart: docs  ## renew the chart's generated files, its kept renderings and the plain manifests; needs helm
	$(BIN)/python -m tests.chart.rendering

check-image:  ## build the Dockerfile and run it without an engine; needs Debian and root
	scripts/check-image

sbom: $(VENV)/packaging/.made  ## CycloneDX list of what the exporter runs on, under dist/
	TOOLS=$(VENV)/packaging scripts/sbom

build: $(VENV)/.dev  ## wheel and sdist under dist/
	rm -rf dist && $(BIN)/python -m hatchling build

clean:  ## forget everything that can be made again
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
