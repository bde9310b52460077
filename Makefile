# catena: `make demo` and `make check` do everything on a fresh Debian or Ubuntu machine; `make help` lists the rest.

VERSION := 0.1.0
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
CC           = gcc
AARCH64_CC  ?= aarch64-linux-gnu-gcc

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wno-psabi -Werror
CFLAGS   ?= -O2 -g
BASE      = -std=gnu17 $(WARNINGS) -I. -MMD -MP -ffp-contract=off
LLVM_CFLAGS := $(if $(LLVM_CONFIG),-isystem $(shell $(LLVM_CONFIG) --includedir))
LLVM_LIBS   := $(if $(LLVM_CONFIG),$(shell $(LLVM_CONFIG) --link-shared --ldflags --libs))
LIBS         = $(LLVM_LIBS) -lhwloc -ljansson -lelf -lm -ldl
DEFINES      = -DCATENA_VERSION='"$(VERSION)"' -DCATENA_LLD='"$(LLD)"' -DCATENA_LLVM_MAJOR=$(LLVM_MAJOR)

COMPILER  := $(filter-out compiler/main.c,$(wildcard compiler/*.c))
TARGETS   := $(wildcard targets/*.c)
RUNTIME   := $(wildcard runtime/*.c)
SKELETON  := $(filter-out templates/tiles_plain.c templates/entry.c,$(wildcard templates/*.c))
TESTS     := $(wildcard tests/test_*.c) tests/main.c

# $(call objects,folder,sources)
objects = $(patsubst %.c,$(BUILD)/$(1)/%.o,$(2))

.PHONY: all deps demo check install format format-check clean help
.DELETE_ON_ERROR:

all: $(BUILD)/catena

help:
	@echo "make demo     install what is missing, build, compile and benchmark the example layer"
	@echo "make check    install what is missing, build, run every test"
	@echo "make all      build $(BUILD)/catena       make deps     install what is missing"
	@echo "make install  to PREFIX ($(PREFIX))      make format   clang-format all sources      make clean"

# --- the compiler ------------------------------------------------------------------------------------------------------------
$(BUILD)/catena: $(call objects,native,compiler/main.c $(COMPILER) $(TARGETS) $(filter-out runtime/api.c,$(RUNTIME))) $(BUILD)/embed.o
	$(CC) -fopenmp -o $@ $^ $(LIBS)

$(BUILD)/native/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(BASE) $(CFLAGS) $(LLVM_CFLAGS) $(DEFINES) -fopenmp -c -o $@ $<

# What a user would write is optimised as a user would (bench compares with it).
$(BUILD)/native/compiler/reference_fast.o: CFLAGS := -O3 -g -fno-math-errno -fassociative-math -fno-signed-zeros -fno-trapping-math

# --- what is embedded: skeletons as bitcode, the runtime as one object per architecture ----------------------------------------
BITCODE_FLAGS := -O2 -Xclang -disable-llvm-passes -ffp-contract=off -ffreestanding -fPIC -fvisibility=hidden -emit-llvm

$(BUILD)/bitcode/%.bc: templates/%.c
	@mkdir -p $(@D)
	$(CLANG) -std=gnu17 $(WARNINGS) -I. -MMD -MP $(BITCODE_FLAGS) --target=x86_64-linux-gnu -c -o $@ $<

RUNTIME_FLAGS := -std=gnu17 $(WARNINGS) -I. -O2 -fPIC -fvisibility=hidden -fopenmp -ffp-contract=off -ffunction-sections

$(BUILD)/runtime-x86_64/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(RUNTIME_FLAGS) -MMD -MP -DRUNTIME_SAFETENSORS=1 -c -o $@ $<
$(BUILD)/runtime-aarch64/%.o: %.c
	@mkdir -p $(@D)
	$(AARCH64_CC) $(RUNTIME_FLAGS) -mno-outline-atomics -isystem /usr/include -MMD -MP -DRUNTIME_SAFETENSORS=0 -c -o $@ $<
$(BUILD)/runtime-x86_64.o: $(call objects,runtime-x86_64,$(RUNTIME))
	$(LLD) -r -o $@ $^ $$($(CC) -print-file-name=libjansson.a)
$(BUILD)/runtime-aarch64.o: $(call objects,runtime-aarch64,$(RUNTIME))
	$(LLD) -r -o $@ $^

$(BUILD)/embed.o: compiler/embed.S $(BUILD)/bitcode/layer.bc $(BUILD)/bitcode/entry.bc $(BUILD)/runtime-x86_64.o $(BUILD)/runtime-aarch64.o
	$(CC) -I$(BUILD) -c -o $@ $<

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

clean:
	rm -rf $(BUILD)
