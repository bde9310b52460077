// Rates of instruction paths on this machine, measured on code that the emitters made and LLVM compiled in memory.
#ifndef CATENA_MEASURE_H
#define CATENA_MEASURE_H

#include "compiler/base/diagnostic.h"
#include "compiler/machine/bandwidth.h"
#include "compiler/machine/peaks.h"
#include "templates/plan.h"

// Multiply-add rate of a path with all operands in registers, in GFLOP/s (two operations per multiply-add), `threads` threads
// at once: the median of several short runs. Returns 0; 1 if this machine or target lacks the path; -1 with diagnostics.
// target: name as in targets/. Not thread-safe.
int measure_peak(const char *target, Path path, int threads, double *gflops, Diagnostics *diagnostics);

// The same for a whole tile of a layer-like shape with its operands in cache, weights of the path's format included: what the
// planner compares legal paths by. One thread.
int measure_tile(const char *target, Path path, double *gflops, Diagnostics *diagnostics);

// Looks the peaks up in the cache of this machine, or measures them (a line on stderr says so) and remembers them. An entry
// that is not plausible is measured anew; what stays implausible is used, but not remembered, and a note.
// A cache file that is damaged or cannot be written is a note, not an error. Returns 0, or -1 with diagnostics.
int measure_peaks_kept(const Machine *machine, const char *target, int threads, Peaks *peaks, Diagnostics *diagnostics);

// Measures all, cache or no cache; what is not plausible up to three times more, keeping each path's highest rate: a disturbance
// only ever lowers a rate. Still implausible: the note says so. Returns 0, or -1 with diagnostics.
int measure_peaks(const char *target, int threads, Peaks *peaks, Diagnostics *diagnostics);

// bandwidth_cache of a level, or bandwidth_memory where level == machine->cache_count; up to three times more while its spread is
// too wide to be believed (bandwidth_plausible). Returns 0 or -1.
int measure_bandwidth(const Machine *machine, int64_t level, int threads, double seconds, Bandwidth *bandwidth);

#endif
