# Tests: one native binary, the same under sanitizers (with the compiler that it runs), and fuzzers. Included by the Makefile. A
# suite is a file tests/test_NAME.c and a row in tests/suites.h; nothing here needs to know it.

.PHONY: test

# The skeletons compiled natively, with the plan as a variable and plain C tiles.
PLAIN := $(SKELETON) templates/tiles_plain.c

# They come first: compiling forward.c takes longest, so that it had better not be what is left at the end.
$(BUILD)/tests: $(call objects,native,$(PLAIN) $(TESTS) $(NATIVE)) $(BUILD)/embed.o
	$(CC) $(SANITIZE) -fopenmp -o $@ $^ $(LIBS) $(shell pkg-config --libs check)

# A program that loads a compiled library, for this machine and for aarch64 under qemu.
$(BUILD)/runner: tests/runner.c
	$(CC) -std=gnu17 $(WARNINGS) -O1 -o $@ $< -ldl
$(BUILD)/runner-aarch64: tests/runner.c
	$(AARCH64_CC) -std=gnu17 $(WARNINGS) -O1 -o $@ $< -ldl

# Teams of more threads than cores must not spin at barriers: the tests have many.
test sanitize: export OMP_WAIT_POLICY = passive
# What whoever runs the tests has tuned is none of their business.
test sanitize: export XDG_DATA_HOME = $(abspath $(BUILD))/data

# Test cases run the compiler too: CATENA is the one that was just built.
test: $(BUILD)/tests $(BUILD)/catena $(BUILD)/runner $(BUILD)/runner-aarch64
	@echo "test: all suites"
	@CATENA=$(BUILD)/catena BUILD=$(BUILD) $(BUILD)/tests

# AddressSanitizer and UBSan. Their reports need lines of the source, not variables: -g1. At -O1 gcc sees uninitialised values where
# its own instrumentation hides the initialisation.
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -Wno-error=maybe-uninitialized
# LLVM itself is not instrumented.
SANITIZED_RUN = CATENA=$(BUILD)/sanitize/catena BUILD=$(BUILD)/sanitize
sanitize: $(BUILD)/catena
	@$(MAKE) $(PARALLEL) BUILD=$(BUILD)/sanitize SANITIZE="$(SANITIZERS)" CFLAGS="-O1 -g1" \
		$(BUILD)/sanitize/tests $(BUILD)/sanitize/catena $(BUILD)/sanitize/runner-aarch64
	@echo "sanitize: suites and compiler under AddressSanitizer and UBSan"
	@$(SANITIZED_RUN) $(BUILD)/sanitize/tests

# --- fuzzers: tests/fuzz_NAME.c with the sources that it exercises, seeded with real files ---------------------------------------
FUZZ_SECONDS ?= 20
FUZZERS      := $(patsubst tests/fuzz_%.c,%,$(wildcard tests/fuzz_*.c))
# What has little to explore is fuzzed for a shorter time.
packed_SECONDS ?= 10
npy_SECONDS    ?= 10
plan_SECONDS   ?= 10
import_SECONDS ?= 15
wisdom_SECONDS ?= 10
FUZZ_FLAGS    = -std=gnu17 -g -O1 -I. -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $(DEFINES)

spec_SOURCES        := $(wildcard compiler/description/*.c) compiler/base/diagnostic.c
spec_SEEDS          := examples tests/data
spec_LENGTH         := 16384
safetensors_SOURCES := $(wildcard runtime/safetensors*.c) runtime/foreign.c runtime/file.c runtime/unfinished.c runtime/failure.c
safetensors_SEEDS   :=
safetensors_LENGTH  := 65536
packed_SOURCES      := runtime/packed_image.c runtime/failure.c
packed_SEEDS        :=
packed_LENGTH       := 16384
npy_SOURCES         := compiler/base/npy.c compiler/base/writable.c compiler/base/diagnostic.c runtime/file.c runtime/unfinished.c runtime/failure.c
npy_SEEDS           := tests/data/mixtral_small
npy_LENGTH          := 16384
plan_SOURCES        := compiler/library/artifact.c compiler/wisdom/origin.c compiler/plan/text.c compiler/plan/layout.c $(TARGETS) $(spec_SOURCES)
plan_LIBS           := $(LLVM_CFLAGS) $(LLVM_LIBS)  # the facts of paths stand beside their emitters
plan_SEEDS           = $(BUILD)/seeds_plan
plan_LENGTH         := 16384
torch_SOURCES       := tests/archive.c $(wildcard compiler/pytorch/*.c) compiler/base/diagnostic.c runtime/file.c runtime/unfinished.c runtime/failure.c
torch_LIBS          := -lzip
torch_SEEDS         := tests/data/torch
torch_LENGTH        := 16384
import_SOURCES      := $(sort $(torch_SOURCES) $(plan_SOURCES) $(wildcard compiler/import/*.c compiler/import/*/*.c runtime/weights*.c \
	runtime/packed*.c runtime/safetensors*.c) compiler/base/temporary.c compiler/base/writable.c runtime/foreign.c)
import_LIBS         := $(torch_LIBS) $(plan_LIBS)
import_SEEDS         = $(BUILD)/seeds_import
import_LENGTH       := 4096
wisdom_SOURCES      := $(filter-out %/recall.c,$(wildcard compiler/wisdom/*.c)) compiler/description/position.c compiler/plan/text.c compiler/base/table.c \
	compiler/base/writable.c compiler/base/diagnostic.c runtime/file.c runtime/unfinished.c runtime/failure.c
wisdom_LIBS         := $(LLVM_CFLAGS)  # the version that entries are compared with
wisdom_SEEDS        := tests/data/wisdom
wisdom_LENGTH       := 16384

$(BUILD)/fuzz_%: tests/fuzz_%.c $(NATIVE) $(wildcard compiler/*/*.h compiler/*/*/*.h runtime/*.h templates/*.h templates/*/*.h)
	$(CLANG) $(FUZZ_FLAGS) -DRUNTIME_SAFETENSORS=1 -o $@ $< $($*_SOURCES) $($*_LIBS) -ljansson -lelf -lm

# A library's description and its plan.
fuzz-plan: $(BUILD)/seeds_plan/plan
$(BUILD)/seeds_plan/plan: $(BUILD)/catena
	@mkdir -p $(@D)
	@$< compile tests/data/mixtral_small.json -o $(BUILD)/seeds_library >/dev/null
	@objcopy -O binary --only-section=.catena $(BUILD)/seeds_library/libmixtral_small.so $(@D)/description
	@$< explain --text $(BUILD)/seeds_library/libmixtral_small.so | tail -n +2 >$@

# Every family's configuration.
fuzz-import: $(patsubst tests/golden/%/config.json,$(BUILD)/seeds_import/%.json,$(wildcard tests/golden/*/config.json))
$(BUILD)/seeds_import/%.json: tests/golden/%/config.json
	@mkdir -p $(@D)
	@cp $< $@

# Files under 64 KiB of the seeds' folders are copied: large ones would only slow the fuzzer down.
fuzz-%: $(BUILD)/fuzz_%
	@mkdir -p $(BUILD)/corpus_$*
	@$(if $($*_SEEDS),find $($*_SEEDS) -maxdepth 1 -type f -size -64k -exec cp {} $(BUILD)/corpus_$* \;,true)
	@echo "fuzz: $* for $(or $($*_SECONDS),$(FUZZ_SECONDS)) s"
	@$< -max_total_time=$(or $($*_SECONDS),$(FUZZ_SECONDS)) -max_len=$($*_LENGTH) -timeout=10 -rss_limit_mb=2048 \
		-artifact_prefix=$(BUILD)/fuzz_$*- $(BUILD)/corpus_$* >$(BUILD)/fuzz_$*.log 2>&1 || { tail -n 40 $(BUILD)/fuzz_$*.log; exit 1; }
	@tail -n 1 $(BUILD)/fuzz_$*.log

.SECONDARY: $(addprefix $(BUILD)/fuzz_,$(FUZZERS))
fuzz: $(addprefix fuzz-,$(FUZZERS))
