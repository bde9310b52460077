// What a search's calls are given: tokens, and where a trace says that they go.
#ifndef CATENA_TUNE_TOKENS_H
#define CATENA_TUNE_TOKENS_H

#include "compiler/bench/bench.h"
#include "runtime/instance.h"

// A pool of tokens as bench has it, and the part of it that the next call takes.
typedef struct TuneTokens {
    const Layer *layer;  // borrowed
    BenchTokens pool;
    RoutingTrace trace;  // without tokens: the library routes
    size_t row_bytes;  // of tokens and outputs, in the interface's format
    int64_t first, count;  // tokens that were taken
    int32_t *experts;      // their routing
    float *weights;
    uint8_t *y;  // the last call's output
} TuneTokens;

// most: tokens of the largest call. Returns 0, or -1 with diagnostics; tune_tokens_close in either case.
int tune_tokens_open(TuneTokens *tokens, const Plan *plan, int64_t most, const Routing *routing, Diagnostics *diagnostics);
void tune_tokens_close(TuneTokens *tokens);

// Takes the window-th lot of `count` tokens (at most `most`), from the start again at the end of the pool. A trace's routing is
// taken in its own order, whatever the pool's size. Lots 0 begin with the same tokens, whatever their count.
void tune_tokens_take(TuneTokens *tokens, int64_t window, int64_t count);

// A call with what was taken.
Status tune_tokens_forward(const TuneTokens *tokens, Library *library, int layer);

#endif
