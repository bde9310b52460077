# catena: `make demo` and `make check` do everything on a fresh Debian or Ubuntu machine; `make help` lists the rest.

MAKEFLAGS += --no-print-directory
VERSION := 0.2.0
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=

# LLVM from 19 up, with clang and lld of the same major: LLVM_CONFIG=... chooses another than the newest.
LLVM_CONFIG ?= $(lastword $(sort $(wildcard /usr/bin/llvm-config-19 /usr/bin/llvm-config-2?)))
LLVM_MAJOR  := $(if $(LLVM_CONFIG),$(firstword $(subst ., ,$(shell $(LLVM_CONFIG) --version))))
LLVM_BIN    := $(if $(LLVM_CONFIG),$(shell $(LLVM_CONFIG) --bindir))
CLANG        = $(LLVM_BIN)/clang
LLD          = $(LLVM_BIN)/ld.lld
CLANG_FORMAT ?= clang-format-$(LLVM_MAJOR)
FORMAT_MAJOR := 19# the version whose layout the sources have; others differ in details
CC           = gcc
AARCH64_CC  ?= aarch64-linux-gnu-gcc

# Warnings are errors, but not for a newcomer with a compiler that we have not seen.
WERROR   ?= -Werror
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wno-psabi $(WERROR)
CFLAGS   ?= -O2 -g
SANITIZE ?=
BASE      = -std=gnu17 $(WARNINGS) $(SANITIZE) -I. -MMD -MP -ffp-contract=off
LLVM_CFLAGS := $(if $(LLVM_CONFIG),-isystem $(shell $(LLVM_CONFIG) --includedir))
LLVM_LIBS   := $(if $(LLVM_CONFIG),$(shell $(LLVM_CONFIG) --link-shared --libfiles))
LIBS         = $(LLVM_LIBS) -lhwloc -ljansson -lzip -lelf -lm -ldl
DEFINES      = -DCATENA_VERSION='"$(VERSION)"' -DCATENA_LLD='"$(LLD)"' -DCATENA_LLVM_MAJOR=$(LLVM_MAJOR) -DCATENA_NATIVE

COMPILER  := $(wildcard compiler/*/*.c compiler/*/*/*.c)
TARGETS   := $(wildcard targets/*.c)
RUNTIME   := $(filter-out runtime/entry.c,$(wildcard runtime/*.c))
SKELETON  := templates/forward.c
TESTS     := $(filter-out tests/fuzz_% tests/runner.c,$(wildcard tests/*.c))
# What the compiler and the tests are both made of.
NATIVE    := $(COMPILER) $(TARGETS) $(filter-out runtime/api.c,$(RUNTIME))

# $(call objects,folder,sources)
objects = $(patsubst %.c,$(BUILD)/$(1)/%.o,$(2))

.PHONY: all deps demo demo-run check check-run sanitize fuzz audit install format format-check schema golden clean help
.DELETE_ON_ERROR:

all: $(BUILD)/catena

help:
	@echo "make demo     install what is missing, build, compile and benchmark the example layer"
	@echo "make check    install what is missing, build, run every test"
	@echo "make all      build $(BUILD)/catena       make deps     install what is missing"
	@echo "make audit    measure the examples' layers with a program that shares no code with catena bench, and compare"
	@echo "make install  to PREFIX ($(PREFIX))      make format   clang-format all sources      make clean"
	@echo "make schema   write examples/schema.json again"
	@echo "make golden   record the golden data again (PYTHON=a Python with torch and transformers)"

# --- the compiler ------------------------------------------------------------------------------------------------------------
$(BUILD)/catena: $(call objects,native,compiler/main.c $(NATIVE)) $(BUILD)/embed.o
	$(CC) $(SANITIZE) $(LDFLAGS) -fopenmp -o $@ $^ $(LIBS)

$(BUILD)/native/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(BASE) $(CFLAGS) $(INLINING) $(LLVM_CFLAGS) $(DEFINES) -fopenmp -c -o $@ $<

# What a user would write is optimised as a user would (bench compares with it).
$(BUILD)/native/compiler/opponent/opponent.o $(BUILD)/native/compiler/opponent/route.o: CFLAGS := -O3 -g -fno-math-errno -fassociative-math -fno-signed-zeros -fno-trapping-math -ffp-contract=fast

# The skeleton is one function where inlining is a must, as in libraries. Natively it is tested, not timed, and gcc compiles several
# functions in less than half of the time.
$(BUILD)/native/templates/forward.o $(BUILD)/native/tests/test_routing.o: INLINING := -Dalways_inline=unused

# --- what is embedded: skeletons as bitcode, the runtime as one object per architecture ----------------------------------------
BITCODE_FLAGS := -O2 -Xclang -disable-llvm-passes -ffp-contract=off -fno-math-errno -ffreestanding -fPIC -fvisibility=hidden -emit-llvm

$(BUILD)/bitcode/%.bc: %.c
	@mkdir -p $(@D)
	$(CLANG) -std=gnu17 $(WARNINGS) -I. -MMD -MP $(BITCODE_FLAGS) --target=x86_64-linux-gnu -c -o $@ $<

RUNTIME_FLAGS := -std=gnu17 $(WARNINGS) -I. -O2 -fPIC -fvisibility=hidden -fopenmp -ffp-contract=off -ffunction-sections

$(BUILD)/runtime-x86_64/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(RUNTIME_FLAGS) -MMD -MP -DRUNTIME_SAFETENSORS=1 -c -o $@ $<
$(BUILD)/runtime-aarch64/%.o: %.c
	@mkdir -p $(@D)
	$(AARCH64_CC) $(RUNTIME_FLAGS) -mno-outline-atomics -idirafter /usr/include -MMD -MP -DRUNTIME_SAFETENSORS=0 -c -o $@ $<
# One object with all of the runtime. What is not called from outside becomes local, so that a library of any name can be linked.
# Debian's libjansson.a is position-independent but for one comparison with stdin (json_loadf, which nobody calls here):
# library_stdin (runtime/api.c) takes its place.
LOCALISE = $(LLVM_BIN)/llvm-objcopy -w --redefine-sym stdin=library_stdin --keep-global-symbol='library_*' \
	--keep-global-symbol=team_barrier
$(BUILD)/runtime-x86_64.o: $(call objects,runtime-x86_64,$(RUNTIME))
	$(LLD) -r -o $@ $^ $$($(CC) -print-file-name=libjansson.a)
	$(LOCALISE) $@
$(BUILD)/runtime-aarch64.o: $(call objects,runtime-aarch64,$(RUNTIME))
	$(LLD) -r -o $@ $^
	$(LOCALISE) $@

$(BUILD)/embed.o: compiler/library/embed.S $(BUILD)/bitcode/templates/forward.bc $(BUILD)/bitcode/runtime/entry.bc $(BUILD)/runtime-x86_64.o $(BUILD)/runtime-aarch64.o
	$(CC) -I$(BUILD) -c -o $@ $<

# --- everything at once --------------------------------------------------------------------------------------------------------
# Recursive, because LLVM is looked for when the Makefile is read and `deps` may only just have installed it.
PARALLEL = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

deps:
	@.ci/deps

demo: deps
	@$(MAKE) $(PARALLEL) WERROR= all
	@$(MAKE) WERROR= demo-run

demo-run:
	$(BUILD)/catena compile examples/coe_2x4of64.json -o $(BUILD)/demo
	$(BUILD)/catena verify $(BUILD)/demo/libcoe_2x4of64.so
	$(BUILD)/catena bench $(BUILD)/demo/libcoe_2x4of64.so

# Layers whose benchmark examples/audit.c measures again; AUDIT: its options. One after the other, on a machine that is quiet.
AUDITED ?= moe_8of64 coe_2x4of64
audit: $(BUILD)/catena
	@for name in $(AUDITED); do \
	$(BUILD)/catena compile examples/$$name.json -o $(BUILD)/audit >/dev/null && \
	$(CC) -std=gnu17 $(WARNINGS) -O3 -march=native -fopenmp -DLIBRARY=$$name \
		-DCONSTANTS=$$(echo $$name | tr a-z A-Z)_SPARSE -DLAYER='"sparse"' examples/audit.c -o $(BUILD)/audit/audit_$$name \
		$$(PKG_CONFIG_PATH=$(BUILD)/audit pkg-config --cflags --libs $$name) -lm && \
	$(BUILD)/audit/audit_$$name $(AUDIT) $(BUILD)/catena $(BUILD)/audit/lib$$name.so $(BUILD)/audit || exit 1; \
	echo; done

# The native tests come last, so that the last line is Check's summary.
check: deps
	@$(MAKE) check-run

check-run:
	@$(MAKE) format-check
	@$(MAKE) $(PARALLEL) $(BUILD)/tests all
	@$(MAKE) sanitize
	@$(MAKE) $(PARALLEL) fuzz
	@$(MAKE) test

include tests/tests.mk

# --- installation, layout ------------------------------------------------------------------------------------------------------
DATA := $(DESTDIR)$(PREFIX)/share

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DATA)/catena/examples/peers $(DATA)/doc/catena $(DESTDIR)$(PREFIX)/lib/pkgconfig
	install -m 755 $(BUILD)/catena $(DESTDIR)$(PREFIX)/bin/catena
	install -m 644 $(wildcard examples/*.json examples/*.c) $(DATA)/catena/examples
	install -m 644 $(wildcard examples/peers/*.md examples/peers/*.c examples/peers/*.py) $(DATA)/catena/examples/peers
	install -m 644 $(wildcard README.md LICENSE) $(DATA)/doc/catena
	for file in $$(find docs -type f); do install -D -m 644 $$file $(DATA)/doc/catena/$$file || exit 1; done
	printf '%s\n' 'prefix=$(PREFIX)' 'bindir=$${prefix}/bin' 'examplesdir=$${prefix}/share/catena/examples' '' 'Name: catena' \
		'Description: compiler for sparse-expert layers (Mixture-of-Experts, Chain-of-Experts)' 'Version: $(VERSION)' \
		>$(DESTDIR)$(PREFIX)/lib/pkgconfig/catena.pc
	chmod 644 $(DESTDIR)$(PREFIX)/lib/pkgconfig/catena.pc

SOURCES := $(wildcard $(foreach folder,compiler compiler/* compiler/*/* templates templates/* targets runtime tests examples examples/peers,$(folder)/*.c $(folder)/*.h))

format:
	@$(CLANG_FORMAT) -i $(SOURCES)

# The schema of descriptions, which test_schema.c compares with what the compiler prints.
schema: $(BUILD)/catena
	$(BUILD)/catena schema >$(BUILD)/schema.json
	mv $(BUILD)/schema.json examples/schema.json

# Outputs of other implementations, made again with the versions of tests/golden/requirements.txt. The results are in git.
PYTHON ?= python3
golden:
	$(PYTHON) -B tests/golden/generate.py
	$(PYTHON) -B tests/golden/check.py

format-check:
	@case "$$($(CLANG_FORMAT) --version)" in \
	*"version $(FORMAT_MAJOR)."*) $(CLANG_FORMAT) --dry-run -Werror $(SOURCES) && echo "format-check: all sources as .clang-format says";; \
	*) echo "format-check: left out, it needs clang-format $(FORMAT_MAJOR)";; \
	esac

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

clean:
	rm -rf $(BUILD)
