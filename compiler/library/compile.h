// From a model to a shared library: plan, emit, link.
#ifndef CATENA_COMPILE_H
#define CATENA_COMPILE_H

#include <stdbool.h>

#include "compiler/base/diagnostic.h"
#include "compiler/description/model.h"
#include "compiler/machine/machine.h"
#include "templates/plan.h"

typedef struct Target Target;  // targets/target.h

typedef struct CompileOptions {
    const char *target;  // host (or NULL), avx512, avx2, neon, generic
    int emit_ir;         // also write NAME.PART.ll, NAME.PART.s, NAME.plan into the directory
    int emit_asm;
    int emit_plan;
    int compute;         // -1: as described; otherwise a Compute that replaces every layer's
    bool bits_free;      // use plans of searches that were allowed to change bits
    const char *wisdom;  // a file; NULL: the user's and the system's; "none"
} CompileOptions;

// Writes DIRECTORY/libNAME.so, DIRECTORY/NAME.h and DIRECTORY/NAME.pc (all made beside them first, then renamed, the library last).
// Creates the directory if it is missing. Returns 0, or -1 with the reasons in diagnostics. Not thread-safe (LLVM is initialised
// once).
int compile_library(const Model *model, const CompileOptions *options, const char *directory, Diagnostics *diagnostics);

// What a CPU needs for the target and for the paths of `count` plans.
Features compile_features(const Target *target, const Plan *plans, int64_t count);

// Makes model->layer_count default plans. Where several paths are legal, their rates on this machine are read from the cache or
// measured. Returns 0, or -1 with diagnostics.
int compile_plans(const Model *model, const Target *target, const Machine *machine, int compute, Plan *plans,
                  Diagnostics *diagnostics);

#endif
