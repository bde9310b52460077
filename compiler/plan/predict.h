// The cost model: what a point's forward should take, from its tiles' rates.
//
// An expert with n rows takes, in each role, the longer of its arithmetic (n rows split evenly over tiles, each at the rate of the
// tallest tile, less what a low tile loses to loads and latency) and its bytes at the rate of streaming. Rows follow Poisson's
// distribution where routing is uniform; other routings are taken as if they were: predictions order and prune, no more.
#ifndef CATENA_PREDICT_H
#define CATENA_PREDICT_H

#include "space.h"

// Rates of a role's single tiles, by the indices of the knobs' values: of tiles, unrollings, prefetch distances.
typedef struct Rates {
    double tall[SPACE_MAX_VALUES][SPACE_MAX_VALUES];  // [tile][unroll] GFLOP/s of the tallest tile, operands in cache, one thread
    // [unroll][prefetch] GB/s of one row, two panels at once, all threads, cold, with the default's prefetch_far
    double stream[SPACE_MAX_VALUES][SPACE_MAX_VALUES];
    int tiles_measured;
} Rates;

// Seconds of a forward of `tokens` tokens. rates: of gate/up and down.
double predict_seconds(const Space *space, const Rates rates[2], int threads, const Point *point, int64_t tokens);

// Mean rows of an expert.
double predict_rows(const Layer *layer, int64_t tokens);

#endif
