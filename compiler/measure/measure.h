// Rates of instruction paths on this machine, measured on code that the emitters made and LLVM compiled in memory.
#ifndef CATENA_MEASURE_H
#define CATENA_MEASURE_H

#include "compiler/base/diagnostic.h"
#include "templates/plan.h"

// Multiply-add rate of a path with all operands in registers, in GFLOP/s (two operations per multiply-add), `threads` threads
// at once: the median of several short runs. Returns 0; 1 if this machine or target lacks the path; -1 with diagnostics.
// target: name as in targets/. Not thread-safe.
int measure_peak(const char *target, Path path, int threads, double *gflops, Diagnostics *diagnostics);

// The same for a whole tile of a layer-like shape with its operands in cache, weights of the path's format included: what the
// planner compares legal paths by. One thread.
int measure_tile(const char *target, Path path, double *gflops, Diagnostics *diagnostics);

#endif
