# Two commands do everything on a fresh machine with python3 and make:
#   make demo     from nothing to a table: teacher, cache, three students
#   make test     lint, types, tests (test-all: the slow ones too)

PYTHON ?= python3
# Test files at a time: a test mostly waits for the processes that it starts.
JOBS ?= 2
BIN := .venv/bin
# Tests write gigabytes of checkpoints, and every one is synced: in memory where that has 8 GB free.
TEMP := $(shell test "$$(df -Pk /dev/shm 2>/dev/null | awk 'END {print $$4}')" -gt 8000000 2>/dev/null \
	&& echo /dev/shm || echo "$${TMPDIR:-/tmp}")
PYTEST = temp=$$(mktemp -d $(TEMP)/pytest-XXXXXX) && \
	$(BIN)/python -m pytest --basetemp $$temp -n $(JOBS) --dist loadfile
DEMO := runs/demo
# Threads that wait by spinning cost a factor of ten as soon as two processes share the cores.
export OMP_WAIT_POLICY ?= PASSIVE
# Where it is set, every process compiles torch's Python again: 10 s each instead of 3.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-all lint clean

.venv/ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r pyproject.toml --group dev
	touch $@

DEMO_FLAGS := --cache $(DEMO)/cache --epochs 5 --batch-size 32 --lr 0.01

demo: .venv/ready
	$(BIN)/python precompute/run.py --split train --images digits --cache $(DEMO)/cache
	$(BIN)/python precompute/verify.py --split train --cache $(DEMO)/cache
	$(BIN)/python train/run.py $(DEMO_FLAGS) --out $(DEMO)/ce --recipe resnet18.ce
	$(BIN)/python train/run.py $(DEMO_FLAGS) --out $(DEMO)/kd.ce --recipe s_resnet18.t_resnet34.kd.ce
	$(BIN)/python train/run.py $(DEMO_FLAGS) --out $(DEMO)/cd.kdv2.lrdv2
	$(BIN)/python train/report.py $(DEMO)/ce $(DEMO)/kd.ce $(DEMO)/cd.kdv2.lrdv2 --out $(DEMO)/curves.png

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(PYTEST) && rm -rf $$temp

test-all: lint
	$(PYTEST) -m "slow or not slow" && rm -rf $$temp

clean:
	rm -rf $(DEMO) .mypy_cache .pytest_cache .ruff_cache .hypothesis
