# Everything a newcomer types. The environment lives in .venv, the tools that make it in .tools.
PYTHON ?= python3
UV := .tools/bin/uv
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
# Where Python may keep no compiled copy of what it imports, each process would compile all of it again.
COMPILED := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)

.PHONY: help setup demo test test-all test-faults bench-compare mutants check lock clean
help:
	@echo "make demo   install what is missing, measure a defense for real, print the leaderboard"
	@echo "make test   the tests"
	@echo "make test-all     the long ones too"
	@echo "make test-faults  kills, plug-ins that misbehave, damaged files: docs/reliability.md"
	@echo "make bench-compare  how fast beside other libraries and the authors' loops: docs/performance.md"
	@echo "make check  ruff, format, mypy --strict, import rules"
	@echo "make setup  the environment in .venv, nothing else"
	@echo "make mutants  small faults in the core, one at a time: do the tests notice? (an hour)"
	@echo "make lock   resolve the dependencies again"

$(UV):
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .tools uv

.venv/.ready: requirements.lock pyproject.toml Makefile | $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	@VIRTUAL_ENV=.venv $(UV) pip sync --quiet --require-hashes $(COMPILED) requirements.lock
	@# torchattacks ships an older copy of robustbench's files: whichever is written last stays.
	@VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --require-hashes --reinstall-package robustbench --requirements requirements.lock
	@VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@# Compiled copies of what every run imports: without them torch takes twice as long, each time.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c "from bench.api import import_house; import_house()"
	@$(BIN)/python -m compileall -q bench defenses attacks
	@touch $@

setup: .venv/.ready

demo: setup
	@$(BIN)/bench run --defense adp --control wiener --attacks all --preset quick --images 64 --workers 2 --results .bench/demo
	@$(BIN)/bench table --results .bench/demo --dataset patches

test: setup
	@$(BIN)/python -m pytest -n 2

mutants: setup
	@$(BIN)/python -m tests.mutants

test-all: setup
	@$(BIN)/python -m pytest -n 2 -m "slow or not slow"

test-faults: setup
	@$(BIN)/python -m pytest -n 2 -m "slow or not slow" tests/faults

bench-compare: setup
	@$(BIN)/python -m pytest -q -n 0 -W ignore tests/benchmarks/compare.py --benchmark-timer=time.process_time --benchmark-columns=min,median,rounds

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -n 0 tests/test_architecture.py

lock: | $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --extra dev --upgrade pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .tools .bench .mypy_cache .ruff_cache .pytest_cache
