PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv demo test check bench clean

venv: $(STAMP)

# One stamp for all that running and testing need: `make venv` twice does nothing the second time.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,openvino,export,dev]'
	touch $@

demo: venv
	$(BIN)/python run_stream.py demo --out out/demo --overwrite

# One thread for each of the two processes: more would only fight over the cores.
test: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup

check: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: venv
	$(BIN)/python run_stream.py bench fusion --json out/bench/fusion.json
	$(BIN)/python run_stream.py bench tracker --json out/bench/tracker.json
	$(BIN)/python run_stream.py bench stream --json out/bench/stream.json

clean:
	rm -rf $(VENV) out build dist *.egg-info
