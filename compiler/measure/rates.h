// Rates of single tiles of a space, compiled in memory: what the cost model is made of.
#ifndef CATENA_RATES_H
#define CATENA_RATES_H

#include <signal.h>

#include "bank.h"
#include "compiler/plan/predict.h"

// Measures the tiles of a role (ROLE_GATE_UP, say). Ends early, with what is missing estimated, when `seconds` are over or *stopped
// is set. Returns 0, or -1 with diagnostics.
int rates_measure(const Space *space, int role, const Bank *bank, int threads, double seconds, const volatile sig_atomic_t *stopped,
                  Rates *rates, Diagnostics *diagnostics);

// Kinds of tiles: the tallest, operands in cache, one thread, GFLOP/s; low ones on one panel, and on two at once, whose weights
// come from memory, all threads, GB/s.
typedef enum RatesTileKind { RATES_TALL, RATES_LOW, RATES_WIDE, RATES_TILE_KINDS } RatesTileKind;

typedef struct RatesTile {
    int role;
    RatesTileKind kind;
    Point point;  // values of the knobs that decide the tile's code; the others are the default's
    int rows, panels;
    int samples;
    double rate;  // median
    double spread;  // interquartile range / median
} RatesTile;

// `left`: seconds, estimated.
typedef void RatesProgress(const char *name, size_t done, size_t total, double left);

// Measures every tile of the space alone: each combination of the knobs that decide its code, low ones at each height that
// wide_rows may reach (with as many accumulators as the default's). Ends early when `seconds` are over or *stopped is set. Returns
// 0, or -1 with diagnostics; `tiles` is the caller's either way. progress may be NULL.
int rates_measure_tiles(const Space *space, const Bank *bank, int threads, double seconds, const volatile sig_atomic_t *stopped,
                        RatesProgress *progress, const char *name, RatesTile **tiles, size_t *count, Diagnostics *diagnostics);

#endif
