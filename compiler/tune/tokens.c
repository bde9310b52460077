// See tokens.h. Pool and traces are those of bench: a search races plans on what bench will judge them by.
#include "tokens.h"

#include <stdlib.h>
#include <string.h>

// The calls' own memory, of the largest call.
static int make_room(TuneTokens *tokens, int64_t most) {
    const Layer *layer = tokens->layer;
    size_t slots = (size_t)(layer->iterations * most * layer->top_k);
    tokens->y = malloc((size_t)most * tokens->row_bytes);
    if (!tokens->trace.tokens) {
        return tokens->y ? 0 : -1;
    }
    tokens->experts = malloc(slots * sizeof *tokens->experts);
    tokens->weights = malloc(slots * sizeof *tokens->weights);
    return tokens->y && tokens->experts && tokens->weights ? 0 : -1;
}

int tune_tokens_open(TuneTokens *tokens, const Plan *plan, int64_t most, const Routing *routing, Diagnostics *diagnostics) {
    const Layer *layer = &plan->layer;
    *tokens = (TuneTokens){.layer = layer, .row_bytes = (size_t)(layer->hidden * interface_bytes[layer->activations])};
    if (routing->is_trace && routing_trace_read(routing->text + strlen("trace:"), layer, &tokens->trace, diagnostics)) {
        return -1;
    }
    if (bench_tokens_create(plan, most, &routing->synthetic, &tokens->pool) || make_room(tokens, most)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory for calls of %lld tokens", (long long)most);
        return -1;
    }
    return 0;
}

void tune_tokens_close(TuneTokens *tokens) {
    bench_tokens_free(&tokens->pool);
    routing_trace_free(&tokens->trace);
    free(tokens->experts);
    free(tokens->weights);
    free(tokens->y);
    *tokens = (TuneTokens){0};
}

void tune_tokens_take(TuneTokens *tokens, int64_t window, int64_t count) {
    int64_t places = tokens->pool.windows * tokens->pool.tokens - count + 1;
    tokens->first = window * count % places;
    tokens->count = count;
    if (tokens->trace.tokens) {
        routing_trace_window(&tokens->trace, tokens->layer, window * count, count, tokens->experts, tokens->weights);
    }
}

Status tune_tokens_forward(const TuneTokens *tokens, Library *library, int layer) {
    const BenchTokens *pool = &tokens->pool;
    const uint8_t *x = pool->x16 ? (const uint8_t *)pool->x16 : (const uint8_t *)pool->x;
    const Forward call = {.layer = layer,
                          .tokens = tokens->count,
                          .x = x + (size_t)tokens->first * tokens->row_bytes,
                          .x_stride = tokens->layer->hidden,
                          .y = tokens->y,
                          .y_stride = tokens->layer->hidden};
    return tokens->trace.tokens ? instance_forward_routed(library, &call, tokens->experts, tokens->weights)
                                : instance_forward(library, &call);
}
