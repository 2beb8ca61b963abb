# Two commands do everything on a fresh machine with python3 and make:
#   make demo     from nothing to a picture: teacher, cache, students without and with the teacher
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

# The teacher learns from all 1,442 training digits, the students from 200 of them, 20 a class. Every
# student has the same cache, views, network, epochs and learning rate; tests/bench/demo.py has the
# grid. Students are named for their losses and seed, and two train at a time, one thread each.
# Started again, the demo goes on where it was.
STUDENTS := $(foreach losses,ce rcd+gkd+edt,$(losses)-0 $(losses)-1)
RECIPE_ce := resnet18.ce
RECIPE_rcd+gkd+edt := s_resnet18.t_resnet34.rcd.kdv2.lrdv2
PAIRS := --no-print-directory -j 2
STUDENT_FLAGS := --cache $(DEMO)/cache --student cifar_resnet8 --epochs 40 --batch-size 16 --lr 0.1 \
	--set schedule=cosine --validate-every 5

demo: .venv/ready
	$(BIN)/python precompute/run.py --split train --images digits --limit 200 --views 8 \
		--teacher cifar_resnet20 --cache $(DEMO)/cache
	@$(MAKE) $(PAIRS) $(DEMO)/verify $(DEMO)/cache.html
	@echo "Four students, two at a time, less than a minute each; their lines go to $(DEMO)/*.log"
	@$(MAKE) $(PAIRS) $(STUDENTS:%=$(DEMO)/%.log)
	@echo
	@$(MAKE) $(PAIRS) $(DEMO)/report.html $(DEMO)/demo.png
	@echo "report   $(DEMO)/report.html: curves, settings and differences between the runs"
	@echo "cache    $(DEMO)/cache.html: what the teacher said, and which labels look wrong"

.PHONY: $(DEMO)/verify $(DEMO)/cache.html $(DEMO)/report.html $(DEMO)/demo.png
$(DEMO)/verify:
	$(BIN)/python precompute/verify.py --split train --cache $(DEMO)/cache
$(DEMO)/cache.html:
	@$(BIN)/python precompute/show.py --split train --cache $(DEMO)/cache --out $@ > $(DEMO)/show.log
$(DEMO)/report.html:
	@$(BIN)/python train/report.py $(STUDENTS:%=$(DEMO)/%) --out $@ > $(DEMO)/report.md
$(DEMO)/demo.png:
	@$(BIN)/python train/demo.py $(STUDENTS:%=$(DEMO)/%) --teacher runs/digits.cifar_resnet20.ce --out $@

.PHONY: $(STUDENTS:%=$(DEMO)/%.log)
$(STUDENTS:%=$(DEMO)/%.log): $(DEMO)/%.log:
	@OMP_NUM_THREADS=1 $(BIN)/python train/run.py $(STUDENT_FLAGS) --out $(DEMO)/$* \
		--recipe $(RECIPE_$(firstword $(subst -, ,$*))) --seed $(lastword $(subst -, ,$*)) \
		>> $@ 2>&1 || { tail $@; exit 1; }; echo "$*: $$(grep '^epoch' $@ | tail -n 1)"

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
