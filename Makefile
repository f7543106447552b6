# Each target makes the virtual environment it needs; `make help` lists them.
#   make PYTHON=python3.12 …    picks the Python a new environment is made with
#   make test ARGS="-k physics" passes arguments on to pytest
SHELL := bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
ARGS ?=
PACKAGES := envs worldmodel agents pretrain benchmarks

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
# torch goes first and by itself: so pip takes the build for CPUs where its configuration offers one.
TORCH := $(shell grep -m 1 '^torch==' $(CONSTRAINTS))

.PHONY: help demo test test-lowest check format build docs docs-check docs-look notebooks install-size figures gpu-check lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(INSTALLED) ## Plan with shipped world models in two environments: success rates, JSON files and videos in outputs/
	@$(BIN)/worldmodel demo $(ARGS)

test: $(INSTALLED) ## Run all tests, doctests included
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-lowest: ## Run all tests with the lowest releases that pyproject.toml allows, as pinned in constraints-lowest.txt
	@$(MAKE) test VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt

check: $(INSTALLED) ## Check format, lint, types and import rules
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED) ## Format the code and repair what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(INSTALLED) ## Build the wheel and the source distribution into dist/ and try the wheel
	@rm -rf build dist
	@echo "Building into dist/"
	@$(BIN)/python -m build --quiet --outdir dist
	@echo "Trying the wheel in an environment of its own"
	@$(BIN)/python -m venv --without-pip build/trial
	@$(BIN)/python -m pip --disable-pip-version-check --quiet --python build/trial/bin/python install --no-deps dist/*.whl
# The trial environment borrows the dependencies, but not this checkout: .pth files count in its own folder only.
	@site='import sysconfig; print(sysconfig.get_paths()["purelib"])'; \
	  $(BIN)/python -c "$$site" > "$$(build/trial/bin/python -c "$$site")/borrowed.pth"
	@build/trial/bin/python -I tests/try_wheel.py . $(PACKAGES)
	@build/trial/bin/worldmodel --help > build/help.txt && grep -q pretrain build/help.txt
	@rm -rf build
	@ls -sh1 dist

docs: $(INSTALLED) ## Build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Built site/index.html"

docs-check: docs ## Build the documentation, check its pages, and run the commands and examples in it and in README
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_site.py tests/test_docs.py tests/test_docs_commands.py \
	  tests/benchmarks/test_readme.py $(ARGS)

docs-look: docs ## Take pictures of all pages, 1400 and 400 pixels wide, into outputs/docs (needs Chromium)
	@$(BIN)/python tests/browser.py site outputs/docs

notebooks: $(INSTALLED) ## Run the notebooks in docs/notebooks; with plots and films they go to build/notebooks
	@rm -rf build/notebooks && mkdir -p build/notebooks
	@for source in docs/notebooks/*.md; do \
	  $(BIN)/jupytext --quiet --output build/notebooks/$$(basename $$source .md).ipynb $$source || exit 1; \
	done
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --nbmake --nbmake-kernel python3 --overwrite --timeout 180 \
	  build/notebooks/*.ipynb $(ARGS)

install-size: $(INSTALLED) ## Measure what an installation takes beside torch (ARGS=COMMIT measures that one too)
	@$(BIN)/python -P tests/install_size.py $(ARGS)

figures: $(INSTALLED) ## Write the figures of benchmarks/results into README.md, docs/results.md and model cards
	@$(BIN)/python -m benchmarks.readme

gpu-check: $(INSTALLED) ## Check training, planning and memory on a GPU: a JSON in benchmarks/results (ARGS="--device cpu --tiny" tries it)
	@$(BIN)/worldmodel gpu-check $(ARGS)

lock: ## Resolve all dependencies anew and write constraints.txt (TORCH=torch==X.Y.Z changes the pinned torch)
	@echo "Resolving in a new environment"
	@$(PYTHON) -m venv --clear .venv-lock
	@.venv-lock/bin/python -m pip --disable-pip-version-check --quiet install $(TORCH)
	@.venv-lock/bin/python -m pip --disable-pip-version-check --quiet install -e '.[dev]'
	@{ grep '^#' constraints.txt; \
	   .venv-lock/bin/python -m pip freeze --all --exclude pip --exclude worldmodel \
	   | sed -nE 's/^([A-Za-z0-9._-]+==[^+ ]+)(\+[^ ]*)?$$/\1/p'; } > .venv-lock/constraints.txt
	@mv .venv-lock/constraints.txt constraints.txt && rm -rf .venv-lock
	@echo "Wrote constraints.txt"

clean: ## Remove caches and build products (keeps the environment, runs and outputs)
	@rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an installation that was cut short is taken up again.
$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@if ! $(BIN)/python -m pip --version > /dev/null 2>&1; then \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
	    echo "Python must be at least 3.11, got $$($(PYTHON) --version 2>&1) from '$(PYTHON)';" \
	      "name another with: make PYTHON=python3.12 ..." >&2; exit 1; }; \
	  echo "Making the virtual environment $(VENV) with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv --clear $(VENV); \
	fi
	@echo "Installing $(TORCH)"
	@$(PIP) install -c $(CONSTRAINTS) '$(TORCH)'
	@echo "Installing the project and its dependencies as pinned in $(CONSTRAINTS)"
	@$(PIP) install -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@
