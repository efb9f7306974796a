# `make demo` and `make test` do all the set-up themselves. PYTHON=/path/to/python3.11 names the Python to use.
PYTHON ?= $(shell sh tools/find_python.sh)
ARGS ?=
TEXT ?=
COLUMN ?= text_a
MACHINE ?= this-machine
BENCH_OUT ?= docs/results/speed/$(MACHINE)
LOCK_ARGS ?=
.DEFAULT_GOAL := help
.PHONY: help setup demo quick test faults lint bench wheel lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

setup: ## .venv with the locked dependencies and this package (again only when the lock or setup.py changes)
	@python="$(PYTHON)"; command -v "$$python" >/dev/null || { \
	  echo "set-up failed: no Python was found: $${python:-none on the PATH}" >&2; \
	  echo "  remedy: install Python 3.10, 3.11 or 3.12, or: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }; \
	"$$python" tools/bootstrap.py

demo: setup ## the whole job on the embedded data, offline: teacher, four stages, export, report
	.venv/bin/ernie-tiny run configs/demo.yaml $(ARGS)

quick: setup ## unit tests only, under two minutes; ARGS="-k tags" for some
	.venv/bin/python -m pytest -q -m unit $(ARGS)

# make's own exit code is 2 whatever failed; PYTEST_EXIT_FILE, where set, gets pytest's.
# A worker per core, up to four, as each may hold models of its own; a file's tests stay with one worker, with their fixtures.
WORKERS ?= logical
test: setup ## every test; ARGS="tests/data -x" for some, WORKERS=0 in one process
	@code=0; .venv/bin/python -m pytest -q -n $(WORKERS) --maxprocesses 4 --dist loadfile --durations=15 $(ARGS) || code=$$?; \
	if [ -n "$(PYTEST_EXIT_FILE)" ]; then echo $$code > "$(PYTEST_EXIT_FILE)"; fi; exit $$code

# A call that was cut off goes on in the same folder; ARGS="--share 0.1" makes a tenth, "--minutes 60" an hour of load.
FAULTS_OUT ?= runs/faults
faults: setup ## kills, signals, damage, full disks and hostile input, in about an hour; ARGS="--seed 2" for other ones
	.venv/bin/python -m tests.faults all --output $(FAULTS_OUT) $(ARGS)

# Nothing else should run meanwhile. Shapes have random weights: speed does not depend on them. First the models in
# three engines; then the graphs with and without the toolkit's shortcut, and the profile; then text to label, with
# turns that are long enough for the whole of a small data set.
BENCH = .venv/bin/ernie-tiny bench $(ARGS)
ENGINES = paddle,onnxruntime,openvino,auto
SERVED = --model bert-base@fp32 --model 4l-312h@fp32 --model 4l-312h@int8
bench: setup ## the table of speeds, into docs/results/speed/MACHINE; TEXT=a tsv (COLUMN=text_a) adds text to label
	@test -z "$(TEXT)" || test -f "$(TEXT)" || { echo "no such file: TEXT=$(TEXT)" >&2; exit 2; }
	@test -n "$(TEXT)" || echo "text to label is left out; for it: make bench TEXT=path/to/test.tsv" >&2
	$(BENCH) $(SERVED) --batch 1,8,32 --seconds 6 --rounds 6 --engine $(ENGINES) --out $(BENCH_OUT)/engines
	$(BENCH) --model bert-base@fp32@plain --model 4l-312h@fp32@plain $(SERVED) --batch 1 --seconds 8 --rounds 8 --profile \
	  --out $(BENCH_OUT)/graphs
	$(if $(TEXT),$(BENCH) $(SERVED) --no-bare --seconds 60 --rounds 4 --engine paddle,auto --text "$(TEXT)" --column $(COLUMN) --out $(BENCH_OUT)/text)

lint: setup ## ruff (lint and format) and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

wheel: setup ## the package as a wheel, into dist/
	rm -rf build # setuptools packs what an earlier build left there
	.venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# The markers that hold for every line are left out: where the lock is valid at all (pyproject.toml, setup.py), and that
# Python is not PyPy, for which Paddle has no build.
lock: ## write requirements.lock again from setup.py and requirements.in (needs uv; LOCK_ARGS=--upgrade renews)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 2; }
	uv pip compile --quiet --universal --python-version 3.10 --no-annotate --custom-compile-command "make lock" \
	  $(LOCK_ARGS) setup.py requirements.in --extra cpu --extra serving --extra dev -o requirements.lock
	sed -i -e "s/ and platform_python_implementation != 'PyPy'//" -e "s/ and sys_platform == 'linux'//" \
	  -e "s/ ; python_full_version < '3.13'$$//" -e "s/ and python_full_version < '3.13'//" requirements.lock

clean: ## remove .venv, build products and caches (never runs/)
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
