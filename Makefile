# `make help` lists the targets. Everything works from a fresh clone: what is missing is installed on the way.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
# Commands are shown with V=1.
$(V).SILENT:

# --- settings: make NAME=VALUE … -------------------------------------------------------------------------------------

# Kernel programs are built for this architecture: x86 or arm64.
ARCH := $(subst aarch64,arm64,$(subst x86_64,x86,$(if $(ARCH),$(ARCH),$(shell uname -m))))
# Processes that run tests; most of them wait for something, so a few more than CPUs are fine.
WORKERS ?= 4
# More arguments for pytest, and for the kernels' matrix.
PYTEST_ARGS ?=
VM_ARGS ?=

# --- places ----------------------------------------------------------------------------------------------------------

# One cargo target folder per lock file, shared by all clones of a user: a fresh clone builds in seconds.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/universal-tracer
export CARGO_TARGET_DIR ?= $(CACHE)/target-$(shell sha256sum native/Cargo.lock | cut -c1-12)

export VIRTUAL_ENV := $(CURDIR)/.venv
BIN := $(VIRTUAL_ENV)/bin
STAMPS := build/stamps
OBJECTS := src/universal_tracer/objects
LAUNCHER := build/universal-tracer
MAN_PAGE := build/wheel-data/data/share/man/man8/universal-tracer.8

CORE_SOURCES := $(shell find native/core/src native/python -name '*.rs' 2>/dev/null)
CARGO_FILES := native/Cargo.toml native/Cargo.lock $(wildcard native/*/Cargo.toml)
PYTHON_SOURCES := $(shell find src -name '*.py' 2>/dev/null)
BPF_PROGRAMS := $(patsubst bpf/%.bpf.c,%,$(wildcard bpf/*.bpf.c))
BPF_HEADERS := $(wildcard bpf/include/*.h) bpf/vmlinux/$(ARCH)/vmlinux.h bpf/http_tracer.bpf.c

# A debug build is shared by lints and tests, a release build by all that is run.
CARGO := cargo
MANIFEST := --quiet --locked --manifest-path native/Cargo.toml
# The interpreter's path is the same for all clones; that of .venv would rebuild PyO3 in each.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYO3_PYTHON ?= $(shell scripts/find-python 2>/dev/null)

# Debian's cross compiler, and a program that needs no library where it runs.
ARM64 := aarch64-unknown-linux-gnu
ARM64_TOOLS := CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static"

# $(call bpf_flags,ARCHITECTURE)
bpf_flags = -g -O2 -std=gnu11 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(1) \
	-Wall -Wextra -Werror -Wno-unused-parameter \
	-ffile-prefix-map=$(CURDIR)=. -Ibpf/include -Ibpf/vmlinux/$(1) -isystem build/include

.DEFAULT_GOAL := help
.PHONY: help
help: ## this list
	awk 'BEGIN { FS = ":.*## " } \
	    /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	    /^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Use
.PHONY: setup build ebpf demo man

setup: packages $(STAMPS)/module $(STAMPS)/generated $(LAUNCHER) ## install what is missing, make .venv, build everything
	# Under sudo and for other users the launcher leaves no compiled files in this tree: here they are.
	$(BIN)/python -m compileall -q src

build: setup ## build/universal-tracer: the launcher that runs from any directory and under sudo

ebpf: packages $(BPF_PROGRAMS:%=build/%.o) ## compile the kernel programs to build/*.o and link them here

man: setup ## the manual page: build/universal-tracer.8, checked
	LC_ALL=C.UTF-8 MANROFFSEQ= MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z $(MAN_PAGE) 2>&1 >/dev/null | \
	    { ! grep .; }
	ln -sf wheel-data/data/share/man/man8/universal-tracer.8 build/universal-tracer.8
	echo "man build/universal-tracer.8"

demo: build ## trace a small system on loopback for some seconds and show its requests
	scripts/demo

##@ Develop
.PHONY: test test-unit test-kernel test-e2e test-vm test-arm64 lint lint-python lint-native lint-bpf lint-scripts fmt bench

test: lint test-native ## everything: lints, Rust tests, Python tests (root, for the kernel's part)
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

test-native: setup ## the Rust tests
	scripts/in-target $(CARGO) test $(MANIFEST) --workspace

test-unit: setup ## the Python tests that need no root
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup tests/unit $(PYTEST_ARGS)

test-kernel: setup ## the tests that load programs into the kernel
	$(BIN)/pytest tests/kernel $(PYTEST_ARGS)

test-e2e: setup ## the tests against real servers and clients
	$(BIN)/pytest tests/e2e $(PYTEST_ARGS)

test-vm: setup ## other kernels under QEMU: what is marked vm (VM_ARGS='--kernel 5.10 --jobs 1' for less)
	scripts/install-packages vm && scripts/install-packages vm
	PYTHONPATH=tests $(BIN)/python -m vm.matrix $(VM_ARGS)

test-arm64: packages $(STAMPS)/venv $(BPF_PROGRAMS:%=build/arm64/%.o) | rust ## every kernel program for arm64, loaded and attached under QEMU
	scripts/install-packages arm64 && scripts/install-packages arm64
	rustup target add $(ARM64)
	scripts/in-target env $(ARM64_TOOLS) $(CARGO) build $(MANIFEST) --target $(ARM64) \
	    --package universal_tracer_core --example try_hooks
	PYTHONPATH=tests $(BIN)/python -m vm.arm64 $(CARGO_TARGET_DIR)/$(ARM64)/debug/examples/try_hooks build/arm64 $(VM_ARGS)

lint: lint-python lint-native lint-bpf lint-scripts ## all checks that run nothing: ruff, mypy, imports, clippy, rustfmt, clang, shellcheck

lint-python: setup
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports >build/imports.log || { cat build/imports.log; exit 1; }

lint-native: setup
	$(CARGO) fmt --manifest-path native/Cargo.toml --all --check
	scripts/in-target $(CARGO) clippy $(MANIFEST) --workspace --all-targets -- -D warnings

# The kernel programs, for the architecture that is not built here, too.
lint-bpf: packages $(STAMPS)/libbpf-headers
	for program in $(wildcard bpf/*.bpf.c); do \
	    clang $(call bpf_flags,x86) -fsyntax-only "$$program"; \
	    clang $(call bpf_flags,arm64) -fsyntax-only "$$program"; \
	done

lint-scripts: packages
	shellcheck .ci/run $$(grep -lE '^#!.*\bbash$$' scripts/*)

fmt: setup ## format all code
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format --quiet
	$(CARGO) fmt --manifest-path native/Cargo.toml --all

bench: setup ## measure; what it says is collected in docs/BENCHMARKS.md
	scripts/in-target $(CARGO) bench $(MANIFEST) --package universal_tracer_core
	for script in $(wildcard benchmarks/*.py); do $(BIN)/python "$$script"; done

##@ Release
.PHONY: wheel lock kernels vmlinux clean

wheel: setup ## dist/*.whl, optimised at link time, tagged with the oldest C library it runs on
	rm -rf dist
	scripts/in-target $(BIN)/maturin build --locked --profile wheel --auditwheel check --out dist
	$(BIN)/auditwheel show dist/*.whl

lock: ## write requirements-dev.lock and native/Cargo.lock anew
	scripts/lock-python
	cargo update --manifest-path native/Cargo.toml

kernels: setup ## write docs/kernels.json and the table of docs/KERNELS.md anew from what make test-vm has left
	PYTHONPATH=tests $(BIN)/python -m vm.table

vmlinux: ## write bpf/vmlinux/*/vmlinux.h anew after a change of bpf/vmlinux/types.txt
	scripts/update-vmlinux

clean: ## remove everything that was built, .venv included; not the cache of Rust's results
	rm -rf .venv build dist $(OBJECTS) src/universal_tracer/generated src/universal_tracer/*.so $(BPF_PROGRAMS:%=%.o)
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# --- how it is made --------------------------------------------------------------------------------------------------

.PHONY: packages rust
packages: | $(STAMPS)
	cmp -s scripts/install-packages $(STAMPS)/packages || \
	    { scripts/install-packages && cp scripts/install-packages $(STAMPS)/packages; }

rust:
	scripts/check-rust

$(STAMPS):
	mkdir -p $@

$(STAMPS)/venv: requirements-dev.lock scripts/find-python | packages
	echo "making .venv"
	python=$$(scripts/find-python) && "$$python" -m venv --clear $(VIRTUAL_ENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	touch $@

# Made anew when another architecture is asked for.
$(STAMPS)/arch-$(ARCH): | $(STAMPS)
	rm -f $(STAMPS)/arch-*
	touch $@

$(STAMPS)/libbpf-headers: native/Cargo.lock scripts/libbpf-headers | packages rust
	scripts/libbpf-headers build/include
	touch $@

build/%.o: bpf/%.bpf.c $(BPF_HEADERS) $(STAMPS)/libbpf-headers $(STAMPS)/arch-$(ARCH)
	echo "compiling $<"
	clang $(call bpf_flags,$(ARCH)) -c $< -o $@
	llvm-strip -g $@
	ln -sf $@ $*.o
	mkdir -p $(OBJECTS)
	cp $@ $(OBJECTS)/

build/arm64/%.o: bpf/%.bpf.c $(BPF_HEADERS) bpf/vmlinux/arm64/vmlinux.h $(STAMPS)/libbpf-headers
	mkdir -p $(@D)
	clang $(call bpf_flags,arm64) -c $< -o $@
	llvm-strip -g $@

# What the program prints of itself; the data folder has to be there when the module is built.
$(STAMPS)/generated: $(PYTHON_SOURCES) $(STAMPS)/venv
	PYTHONPATH=src $(BIN)/python -m universal_tracer.cli.generate $(MAN_PAGE)
	touch $@

$(STAMPS)/module: $(STAMPS)/venv $(CARGO_FILES) $(CORE_SOURCES) pyproject.toml $(BPF_PROGRAMS:%=build/%.o) | rust $(STAMPS)/generated
	echo "building the native module (minutes when it is the first time)"
	scripts/in-target env PATH="$(BIN):$$PATH" pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(LAUNCHER): $(CARGO_FILES) $(wildcard native/launcher/src/*.rs) | packages rust
	echo "building the launcher"
	scripts/in-target $(CARGO) rustc $(MANIFEST) --release --package universal_tracer_launcher -- \
	    -C target-feature=+crt-static
	install -m 755 "$(CARGO_TARGET_DIR)/release/universal-tracer" $@
