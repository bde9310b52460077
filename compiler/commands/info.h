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

// measured may be NULL: --peaks was not asked for.
void info_print_tables(const Machine *machine, const InfoMeasured *measured);
json_t *info_document(const Machine *machine, const InfoMeasured *measured);

#endif
