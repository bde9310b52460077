// What of the tests this machine can run: targets, instruction paths, emulators. Tests that need more do nothing; what they left
// out is said at the end of a run, so that no machine passes silently.
#ifndef CATENA_TEST_AVAILABLE_H
#define CATENA_TEST_AVAILABLE_H

#include <stdbool.h>

#include "targets/target.h"

// Whether code of a target, and of a path of it, runs on this CPU.
bool available_target(const Target *target);
bool available_path(const Target *target, Path path);

// Whether a program is found: an emulator, say.
bool available_program(const char *name);

// Whether a Python with PyTorch, numpy and safetensors is there.
bool available_torch(void);
#define AVAILABLE_PYTHON "${CATENA_PYTHON:-python3}"

// How libraries for neon are run where the CPU is another: on one without the extensions after Armv8.0.
#define AVAILABLE_NEON "qemu-aarch64"
#define AVAILABLE_RUN_NEON AVAILABLE_NEON " -cpu cortex-a72 -L /usr/aarch64-linux-gnu"

// Prints "not run: avx512 (CPU), neon (no qemu-aarch64)", or nothing if everything was run. Returns -1 if that is not acceptable:
// under continuous integration (CI=true), where .ci/deps installs the emulators.
int available_report(void);

#endif
