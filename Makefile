# The commands of everyday work. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help check lint format test test-types test-slow coverage docs docs-serve

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check: lint test  ## Everything that must hold before a commit: lint, and the fast tests

lint:  ## Format, style, docstrings, the direction of imports, and types
	ruff format --check .
	ruff check .
	pydoclint --quiet src
	lint-imports --no-cache
	mypy

format:  ## Puts every file into the project's form
	ruff format .
	ruff check --fix .

test:  ## The fast tests: no network, no GPU, minutes; -n 0 for one process
	pytest

test-types:  ## The fast tests, with shapes and types of all arguments checked: twice as long
	pytest --jaxtyping-packages=alm_lightning,beartype.beartype

test-slow:  ## Whole runs, every command of the documents, real weights, several processes
	pytest -m "slow or distributed"

coverage:  ## Lines of src/ that no test runs, all tests but those on a GPU
	pytest -m "not gpu" --cov --cov-report=term

docs:  ## The site, into site/; fails on a link to nothing. No network. Needs the extra docs
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

docs-serve:  ## The site at http://127.0.0.1:8000, built anew when a page changes
	NO_MKDOCS_2_WARNING=1 mkdocs serve
