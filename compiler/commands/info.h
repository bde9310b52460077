// What of this machine the targets and paths use, and the two forms of `catena info`.
#ifndef CATENA_INFO_H
#define CATENA_INFO_H

#include "compiler/machine/report.h"
#include "targets/target.h"

enum { INFO_MAX_TARGETS = 8 };

// Everything that is measured, for one thread and for all.
typedef struct InfoMeasured {
    int threads[2];
    Peaks peaks[INFO_MAX_TARGETS][2];                                 // [target][thread count]
    Bandwidth bandwidth[MACHINE_MAX_CACHES + 1][2];    // the last used row is memory
} InfoMeasured;

// Whether this machine runs a target's code; `missing` receives what it lacks.
bool info_target_supported(const Machine *machine, const Target *target, char *missing, size_t bytes);
// Whether a path may run on this machine for weights of a format in a compute class; for any format; for any of both.
bool info_path_legal(const Machine *machine, const Target *target, Path path, Format format, Compute compute);
bool info_path_in_class(const Machine *machine, const Target *target, Path path, Compute compute);
bool info_path_possible(const Machine *machine, const Target *target, Path path);
// Capabilities that some path uses (or that none does), as one text.
void info_capabilities(const Machine *machine, bool used, char out[MACHINE_CAPABILITIES_BYTES]);
// Index of the first target that this machine supports; -1: none.
int info_best_target(const Machine *machine);
// The legal path with the fastest tile; -1: none.
int info_winning_path(const Machine *machine, const Target *target, const Peaks *peaks, Format format, Compute compute);

// measured may be NULL: --peaks was not asked for.
void info_print_tables(const Machine *machine, const InfoMeasured *measured);
json_t *info_document(const Machine *machine, const InfoMeasured *measured);

#endif
