// The straightforward implementation (compiler/opponent/opponent.h) on a bank of row-major weights of its own, in the same
// rotation.
#include <stdlib.h>

#include "bench.h"
#include "compiler/opponent/opponent.h"

struct BenchReference {
    const Plan *plan;
    FastWeights *weights;  // [slots]
    FastWorkspace *workspace;
    int64_t slots;
    const BenchTokens *tokens;
    float *y;
    float *choice_weights;  // [iterations][tokens][top_k], next to the choices that a caller asks for
    bool warm;
    int64_t cursor;
};

BenchReference *bench_reference_open(const BenchLibrary *library, int64_t max_tokens, int threads) {
    BenchReference *reference = calloc(1, sizeof *reference);
    if (!reference) {
        return NULL;
    }
    reference->plan = library->plan;
    reference->weights = calloc((size_t)library->slots, sizeof *reference->weights);
    reference->workspace = fast_workspace_create(&library->plan->layer, max_tokens, threads);
    bool complete = reference->weights && reference->workspace;
    while (complete && reference->slots < library->slots) {
        complete = !fast_weights_unpack(library->plan, library->instances[0], &reference->weights[reference->slots]);
        reference->slots += complete;
        complete = complete && !bench_stopped;
    }
    if (!complete) {
        bench_reference_close(reference);
        return NULL;
    }
    return reference;
}

void bench_reference_close(BenchReference *reference) {
    if (!reference) {
        return;
    }
    for (int64_t s = 0; s < reference->slots; s++) {
        fast_weights_free(&reference->weights[s]);
    }
    if (reference->workspace) {
        fast_workspace_free(reference->workspace);
    }
    free(reference->weights);
    free(reference->y);
    free(reference->choice_weights);
    free(reference);
}

int bench_reference_begin(BenchReference *reference, const BenchTokens *tokens, bool warm) {
    const Layer *layer = &reference->plan->layer;
    free(reference->y);
    free(reference->choice_weights);
    reference->y = malloc((size_t)(tokens->tokens * layer->hidden) * sizeof(float));
    reference->choice_weights = malloc((size_t)(layer->iterations * tokens->tokens * layer->top_k) * sizeof(float));
    reference->tokens = tokens;
    reference->warm = warm;
    reference->cursor = 0;
    return reference->y && reference->choice_weights ? 0 : -1;
}

void bench_reference_prepare(void *context) {
    BenchReference *reference = context;
    reference->cursor += !reference->warm;
}

static void forward(BenchReference *reference, int64_t slot, int64_t window, float *y, int32_t *experts) {
    const BenchTokens *tokens = reference->tokens;
    const Layer *layer = &reference->plan->layer;
    fast_forward(layer, &reference->weights[slot], reference->workspace, tokens->tokens,
                 tokens->x + window * tokens->tokens * layer->hidden, y, experts, experts ? reference->choice_weights : NULL);
}

int bench_reference_call(void *context) {
    BenchReference *reference = context;
    forward(reference, reference->cursor % reference->slots, reference->cursor % reference->tokens->windows, reference->y, NULL);
    return 0;
}

int bench_reference_lead(void *context) {
    BenchReference *reference = context;
    int64_t cursor = reference->cursor + 2;
    if (reference->slots > 1) {
        forward(reference, cursor % reference->slots, cursor % reference->tokens->windows, reference->y, NULL);
    }
    return 0;
}

int bench_reference_once(BenchReference *reference, int64_t window, float *y, int32_t *experts) {
    forward(reference, 0, window, y, experts);
    return 0;
}
