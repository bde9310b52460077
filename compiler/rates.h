// Rates of a space's tiles by themselves, compiled in memory: what the cost model is made of.
#ifndef CATENA_RATES_H
#define CATENA_RATES_H

#include <signal.h>

#include "bank.h"
#include "space.h"

// Index by the knobs' values: of tiles, unrollings, prefetch distances.
typedef struct Rates {
    double tall[SPACE_MAX_VALUES][SPACE_MAX_VALUES];  // [tile][unroll] GFLOP/s of the tallest tile, operands in cache, one thread
    double stream[SPACE_MAX_VALUES][SPACE_MAX_VALUES];  // [unroll][prefetch] GB/s of one row, two panels at once, all threads, cold
    int tiles_measured;
} Rates;

// Measures the tiles of a role (ROLE_GATE_UP, say). Ends early, with what is missing estimated, when `seconds` are over or *stopped
// is set. Returns 0, or -1 with diagnostics.
int rates_measure(const Space *space, int role, const Bank *bank, int threads, double seconds, const volatile sig_atomic_t *stopped,
                  Rates *rates, Diagnostics *diagnostics);

#endif
