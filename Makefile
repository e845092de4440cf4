# make demo: sets everything up and shows a market of CPU hours at work.  make test: every check there is.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := build/.installed
SOURCES := pyproject.toml setup.py seccomp/_jail.c seccomp/benchmark/kernels.c $(wildcard exchange/*.pyx) $(wildcard exchange/*.px[di] exchange/*.h seccomp/*.h)

.DEFAULT_GOAL := help
.PHONY: help check setup demo test lint strict soak sanitize toolchains bench bench-book bench-log bench-jail goals clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

check: # what a fresh machine must have, with the name of the Debian package where it has not
	@uname -sm | grep -q 'Linux x86_64' || { echo "corehour needs Linux on x86_64; this is $$(uname -sm)"; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "missing: Python 3.11 or later (Debian: apt install python3)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11 or later is needed (make PYTHON=python3.12 ...)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: Python's venv (Debian: apt install python3-venv)"; exit 1; }
	@command -v git >/dev/null || { echo "missing: git (Debian: apt install git)"; exit 1; }
	@command -v $(or $(CC),cc) >/dev/null || { echo "missing: a C compiler (Debian: apt install gcc libc6-dev)"; exit 1; }
	@test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || { echo "missing: Python.h (Debian: apt install python3-dev)"; exit 1; }
	@echo 'int main(void){return 0;}' | $(or $(CC),cc) -static -x c -o /dev/null - 2>/dev/null || { echo "missing: the static C library (Debian: apt install libc6-dev)"; exit 1; }

$(STAMP): $(SOURCES)
	@$(MAKE) --no-print-directory check
	@echo "setting up the virtual environment (once; about a minute) ..."
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[demo,test]'
	@mkdir -p build && touch $@

setup: $(STAMP) ## the virtual environment in .venv, with everything in it

demo: $(STAMP) ## the main job: an order becomes a contract, work, a charge, and an audit
	@exec $(PY) -m console.demo

strict: $(STAMP) # the compiled parts once more, every warning an error
	@COREHOUR_STRICT=1 $(PY) setup.py -q build_ext --force --build-lib build/strict --build-temp build/strict.tmp

lint: $(STAMP)
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

test: lint strict ## ruff, mypy, warnings as errors, and all tests
	@$(PY) -m pytest tests

SANITIZED = LD_PRELOAD=$$($(or $(CC),cc) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
	PYTHONPATH=build/sanitize:. $(CURDIR)/$(PY) -P

sanitize: $(STAMP) # the book once more, watching itself for errors of memory and undefined behaviour
	@COREHOUR_SANITIZE=1 $(PY) setup.py -q build --build-lib build/sanitize --build-temp build/sanitize.tmp

build/.soak: $(STAMP) # what finds bad input
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[soak]'
	@touch $@

soak: build/.soak sanitize ## hours: faults on a market, the book and its twin, ten million bad inputs for the decoders
	@$(PY) -m tests.soak.faults
	@$(PY) -m tests.soak.book --seeds 100 --ops 100000
	@$(SANITIZED) -m tests.soak.book --seeds 50 --ops 20000 --sanitized
	@$(PY) -m tests.soak.fuzz
	@$(PY) -m tests.seccomp.test_many_starts 1000

toolchains: ## other languages' compilers, for tests and benchmarks alone; 200 MB, without root
	@$(PYTHON) -m tests.seccomp.fetch_toolchains

bench: build/.peers ## all benchmarks; results as JSON under bench/results/
	@$(PY) -m bench.run

build/.peers: $(STAMP) # what the book is measured beside
	@command -v g++ >/dev/null || { echo "missing: a C++ compiler (Debian: apt install g++)"; exit 1; }
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

bench-book: build/.peers ## the book beside its limit and its peers; writes docs/performance.md
	@$(PY) -m bench.run book && $(PY) -m bench.report

bench-log: build/.peers ## the log beside its limit: orders, replay, audit, start; writes docs/performance.md
	@$(PY) -m bench.run log && $(PY) -m bench.report

bench-jail: build/.peers toolchains ## the jail beside no jail and bubblewrap: starts, compute; writes docs/performance.md
	@$(PY) -m bench.run jail && $(PY) -m bench.report

goals: $(STAMP) ## the figures asked for, beside the last results
	@$(PY) -m bench.goals

clean: ## remove what was built; var/ stays
	@rm -rf build $(VENV) *.egg-info exchange/*.so seccomp/*.so seccomp/benchmark/*.elf
