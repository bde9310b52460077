# Tests: one native binary, the same under sanitizers, and fuzzers. Included by the Makefile. A suite is a file tests/test_NAME.c
# and a row in tests/suites.h; nothing here needs to know it.

.PHONY: test

# The skeletons compiled natively, with the plan as a variable and plain C tiles.
PLAIN := $(SKELETON) $(wildcard templates/tiles_plain.c)

$(BUILD)/tests: $(call objects,native,$(TESTS) $(NATIVE) $(PLAIN)) $(BUILD)/embed.o
	$(CC) $(SANITIZE) -fopenmp -o $@ $^ $(LIBS) $(shell pkg-config --libs check)

# A program that loads a compiled library, for this machine and for aarch64 under qemu.
$(BUILD)/runner: tests/runner.c
	$(CC) -std=gnu17 $(WARNINGS) -O1 -o $@ $< -ldl
$(BUILD)/runner-aarch64: tests/runner.c
	$(AARCH64_CC) -std=gnu17 $(WARNINGS) -O1 -o $@ $< -ldl

# Test cases run the compiler too: CATENA is the one that was just built.
test: $(BUILD)/tests $(BUILD)/catena $(BUILD)/runner $(BUILD)/runner-aarch64
	@echo "test: all suites"
	@CATENA=$(BUILD)/catena BUILD=$(BUILD) $(BUILD)/tests

# AddressSanitizer and UBSan. At -O1 gcc sees uninitialised values where its own instrumentation hides the initialisation.
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -Wno-error=maybe-uninitialized
sanitize: $(BUILD)/catena
	@$(MAKE) $(PARALLEL) BUILD=$(BUILD)/sanitize SANITIZE="$(SANITIZERS)" CFLAGS="-O1 -g" $(BUILD)/sanitize/tests
	@echo "sanitize: suites under AddressSanitizer and UBSan"
	@CATENA=$(BUILD)/catena BUILD=$(BUILD)/sanitize $(BUILD)/sanitize/tests

# --- fuzzers: tests/fuzz_NAME.c with the sources that it exercises, seeded with real files ---------------------------------------
FUZZ_SECONDS ?= 30
FUZZERS      := $(patsubst tests/fuzz_%.c,%,$(wildcard tests/fuzz_*.c))
FUZZ_FLAGS    = -std=gnu17 -g -O1 -I. -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $(DEFINES)

spec_SOURCES        := $(wildcard compiler/spec*.c) compiler/diagnostic.c
spec_SEEDS          := examples tests/data
spec_LENGTH         := 16384
safetensors_SOURCES := runtime/safetensors.c runtime/file.c runtime/failure.c
safetensors_SEEDS   :=
safetensors_LENGTH  := 65536

$(BUILD)/fuzz_%: tests/fuzz_%.c $(NATIVE) $(wildcard compiler/*.h runtime/*.h templates/*.h)
	$(CLANG) $(FUZZ_FLAGS) -DRUNTIME_SAFETENSORS=1 -o $@ $< $($*_SOURCES) -ljansson -lm

# Files under 64 KiB of the seeds' folders are copied: large ones would only slow the fuzzer down.
fuzz-%: $(BUILD)/fuzz_%
	@mkdir -p $(BUILD)/corpus_$*
	@$(if $($*_SEEDS),find $($*_SEEDS) -maxdepth 1 -type f -size -64k -exec cp {} $(BUILD)/corpus_$* \;,true)
	@echo "fuzz: $* for $(FUZZ_SECONDS) s"
	@$< -max_total_time=$(FUZZ_SECONDS) -max_len=$($*_LENGTH) -timeout=10 -rss_limit_mb=2048 -artifact_prefix=$(BUILD)/fuzz_$*- \
		$(BUILD)/corpus_$* >$(BUILD)/fuzz_$*.log 2>&1 || { tail -n 40 $(BUILD)/fuzz_$*.log; exit 1; }
	@tail -n 1 $(BUILD)/fuzz_$*.log

.SECONDARY: $(addprefix $(BUILD)/fuzz_,$(FUZZERS))
fuzz: $(addprefix fuzz-,$(FUZZERS))
