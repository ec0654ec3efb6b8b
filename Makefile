# Everything a newcomer or the CI needs, with nothing but Python >= 3.11 and make.
PYTHON ?= python3
PIP_FLAGS ?= --quiet --disable-pip-version-check
DEMO := .venv
TEST := .venv-test
BIN := $(TEST)/bin

.PHONY: demo test check fix bench agreement whitebox schema clean

demo: $(DEMO)/installed
	rm -rf demo
	$(DEMO)/bin/pmcore demo --out demo

# One process per core, and each with one thread: threads that wait for a core that others use cost more than they give.
test: $(TEST)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

check: $(TEST)/installed
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(TEST)/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(TEST)/installed
	$(BIN)/python -m benchmarks

agreement: $(TEST)/installed
	PYTHONPATH=plugins/numpy-backend $(BIN)/python -m tests.agreement > agreement.tmp
	mv agreement.tmp docs/agreement.md

whitebox: $(TEST)/installed
	PYTHONPATH=plugins/numpy-backend $(BIN)/python -m tests.whitebox > whitebox.tmp
	mv whitebox.tmp docs/whitebox-agreement.md
	PYTHONPATH=plugins/numpy-backend $(BIN)/python -m tests.autograd.operators_page > whitebox.tmp
	mv whitebox.tmp docs/onnx-operators.md

schema: $(TEST)/installed
	$(BIN)/python -c "from pmcore.reports.json_report import json_schema_text; print(json_schema_text().decode(), end='')" > docs/report.schema.json

clean:
	rm -rf $(DEMO) $(TEST) demo build *.egg-info

# An installation is renewed when what it installs from has changed.
$(DEMO)/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[onnx]"
	touch $@

$(TEST)/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TEST)
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt setuptools
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	touch $@
