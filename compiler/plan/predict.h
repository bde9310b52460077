// The cost model: what a point's forward should take, from its tiles' rates.
//
// An expert with n rows takes, in each role, the longer of its arithmetic (n rows split evenly over tiles, each at the rate of the
// tallest tile, less what a low tile loses to loads and latency) and its bytes at the rate of streaming. Rows follow Poisson's
// distribution where routing is uniform; other routings are taken as if they were: predictions order and prune, no more.
#ifndef CATENA_PREDICT_H
#define CATENA_PREDICT_H

#include "compiler/measure/rates.h"

// Seconds of a forward of `tokens` tokens. rates: of gate/up and down.
double predict_seconds(const Space *space, const Rates rates[2], int threads, const SearchPoint *point, int64_t tokens);

// Mean rows of an expert.
double predict_rows(const Layer *layer, int64_t tokens);

#endif
