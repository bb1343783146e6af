# `make demo` and `make test` do all the set-up: a virtual environment in .venv, the package with its
# C kernels in it, and what they need. Nothing of the machine's own Python packages is used.

PYTHON ?= python3
BIN := .venv/bin
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

SOURCES := $(sort $(shell find csrc kernels pyinterp bench -type f \
	! -name '*.pyc' ! -name '*.so' ! -name '*.o' 2>/dev/null))
C_SOURCES := $(filter csrc/%,$(SOURCES))
C_FORMATTED := $(filter %.c %.h,$(C_SOURCES))

.PHONY: help demo test test-isa lint bench check-c check-isa clean FORCE

help:
	@echo "make demo      set up, then compress, run and check the embedded model"
	@echo "make test      set up, then run the whole test suite"
	@echo "make test-isa  the kernel tests once more under each lower instruction set"
	@echo "make check-c   the C-only tests, with sanitizers"
	@echo "make check-isa the C-only tests of the instruction sets this machine lacks (check.sh says"
	@echo "               which Debian packages that needs)"
	@echo "make bench     the kernel benchmarks"
	@echo "make lint      ruff, mypy, clang-format, codespell"
	@echo "make clean     remove the environment and everything built"

demo: .venv/ready-demo
	$(BIN)/sparing demo

test: .venv/ready-test
	$(BIN)/python -m pytest -n auto

test-isa: .venv/ready-test
	for isa in $$($(BIN)/python -c 'from sparing.kernels.native import isas; print(*isas()[1:])'); do \
		echo "SPARING_ISA=$$isa"; \
		SPARING_ISA=$$isa $(BIN)/python -m pytest -n auto tests/test_kernels_vs_reference.py || exit 1; \
	done

bench: .venv/ready-test
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python -m pytest bench/bench_kernels.py

check-c:
	sh csrc/check.sh native

check-isa:
	sh csrc/check.sh emulate arm64

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$$(echo build/__editable__.*):tests $(BIN)/mypy -p sparing
	MYPYPATH=$$(echo build/__editable__.*):tests $(BIN)/mypy tests
	$(BIN)/clang-format --dry-run --Werror $(C_FORMATTED)
	$(BIN)/codespell

# The environment once, then the package with the extras that the target needs. An editable install
# links the files that exist: a new file, or a changed C file, installs again.
.venv/bin/python:
	$(PYTHON) .ci/make_venv.py .venv

.venv/files: FORCE | .venv/bin/python
	@echo '$(SOURCES)' | cmp -s - $@ || echo '$(SOURCES)' > $@

.venv/ready-demo: EXTRA := all
.venv/ready-test: EXTRA := test
.venv/ready-dev: EXTRA := dev
.venv/ready-%: pyproject.toml setup.py .venv/files $(C_SOURCES) | .venv/bin/python
	rm -rf build
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRA)]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info kernels/_native*.so
