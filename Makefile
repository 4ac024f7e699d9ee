# make demo    the main job on embedded data: installs into .venv, predicts, scores, prints the table
# make test    everything that CI runs
# make check   format, lint, types, import contract, stored results
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Real scenes and metric weights lie beside the checkout, where they are there; set these two to have them elsewhere.
ifneq ($(wildcard ../shared/data),)
export KBENCH_DATA ?= $(abspath ../shared/data)
export KBENCH_WEIGHTS ?= $(abspath ../shared/data/weights)
endif

.PHONY: demo test check format clean

demo: $(VENV)/installed
	$(BIN)/kbench run quickstart --model nearest --model mean --model kaleido@tiny --model kaleido@small

# One thread a test process: two processes share two cores.
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/kbench leaderboard check

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs
