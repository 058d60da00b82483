# Each target works from a bare checkout: it makes .venv and installs what it needs.
# PYTHON=/path/to/python3.13 chooses the interpreter; PYTEST_ARGS and RECONCILE_ARGS are passed on.

BIN := .venv/bin
OUT ?= reconciliation
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help venv test test-fast mistakes mutants coverage reconcile docs types format clean

help:
	@echo 'make reconcile   fit the published studies and write $(OUT)/index.html'
	@echo 'make test        check the code and run every test, the slow ones too'
	@echo 'make test-fast   the same without the slow tests'
	@echo 'make mistakes    plant mistakes one by one and see which fast test catches each'
	@echo 'make mutants     change single operators and numbers; see docs/mutation.md (hours)'
	@echo 'make coverage    which lines and branches the tests run (COVERAGE_ARGS for pytest)'
	@echo 'make docs        write docs/_build/html/index.html'
	@echo 'make types       check types with mypy'
	@echo 'make format      put the code into its usual form'
	@echo 'make clean       remove .venv and caches (results are kept)'
	@echo 'PYTHON=/path/to/python3.13 chooses the interpreter (3.12 to 3.14)'

venv:
	@sh tools/make_venv.sh

test: venv
	$(BIN)/ruff check --quiet .
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-fast: venv
	$(BIN)/ruff check --quiet .
	$(BIN)/python -m pytest -m 'not slow' $(PYTEST_ARGS)

mistakes: venv
	$(BIN)/python tools/planted_mistakes.py -o docs/planted_mistakes.md

mutants:
	@EXTRAS=quality sh tools/make_venv.sh
	$(BIN)/python tools/mutants.py -o docs/mutation.md $(MUTANTS_ARGS)

coverage:
	@EXTRAS=quality sh tools/make_venv.sh
	$(BIN)/python -m coverage run -m pytest $(COVERAGE_ARGS)
	$(BIN)/python -m coverage report

reconcile: venv
	$(BIN)/scalebayes reconcile --out '$(OUT)' $(RECONCILE_ARGS)

docs:
	@rm -rf docs/api docs/generated docs/notebooks
	@EXTRAS=docs sh tools/make_venv.sh
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs docs/_build/html

types:
	@EXTRAS=types sh tools/make_venv.sh
	$(BIN)/mypy

format: venv
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage mutants mutants.json build dist
	rm -rf docs/_build docs/api docs/generated docs/notebooks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
