// From a model to a shared library: plan, emit, link.
#ifndef CATENA_COMPILE_H
#define CATENA_COMPILE_H

#include "../templates/plan.h"
#include "diagnostic.h"
#include "model.h"

typedef struct CompileOptions {
    const char *target;  // host (or NULL), avx512, avx2, neon, generic
    int emit_ir;         // also write NAME.ll, NAME.s, NAME.plan into the directory
    int emit_asm;
    int emit_plan;
    int compute;         // -1: as described; otherwise a Compute that replaces every layer's
} CompileOptions;

// Writes DIRECTORY/libNAME.so and DIRECTORY/NAME.h (temporary name, then renamed). Creates the directory if it is missing.
// Returns 0, or -1 with the reasons in diagnostics. Not thread-safe (LLVM is initialised once).
int compile_library(const Model *model, const CompileOptions *options, const char *directory, Diagnostics *diagnostics);

#endif
