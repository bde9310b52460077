// The straightforward implementation (compiler/opponent/opponent.h) on a bank of row-major weights of its own, in the same
// rotation.
#include <stdlib.h>

#include "bench.h"
#include "compiler/opponent/opponent.h"

struct BenchOpponent {
    const Plan *plan;
    OpponentWeights *weights;  // [slots]
    OpponentWorkspace *workspace;
    int64_t slots;
    const BenchTokens *tokens;
    float *y;
    float *choice_weights;  // [iterations][tokens][top_k], next to the choices that a caller asks for
    bool warm;
    int64_t cursor;
};

BenchOpponent *bench_opponent_open(const BenchLibrary *library, int64_t max_tokens, int threads) {
    BenchOpponent *opponent = calloc(1, sizeof *opponent);
    if (!opponent) {
        return NULL;
    }
    opponent->plan = library->plan;
    opponent->weights = calloc((size_t)library->slots, sizeof *opponent->weights);
    opponent->workspace = opponent_workspace_create(&library->plan->layer, max_tokens, threads);
    bool complete = opponent->weights && opponent->workspace;
    while (complete && opponent->slots < library->slots) {
        complete = !opponent_weights_unpack(library->plan, library->instances[0], &opponent->weights[opponent->slots]);
        opponent->slots += complete;
        complete = complete && !bench_stopped;
    }
    if (!complete) {
        bench_opponent_close(opponent);
        return NULL;
    }
    return opponent;
}

void bench_opponent_close(BenchOpponent *opponent) {
    if (!opponent) {
        return;
    }
    for (int64_t s = 0; s < opponent->slots; s++) {
        opponent_weights_free(&opponent->weights[s]);
    }
    if (opponent->workspace) {
        opponent_workspace_free(opponent->workspace);
    }
    free(opponent->weights);
    free(opponent->y);
    free(opponent->choice_weights);
    free(opponent);
}

int bench_opponent_begin(BenchOpponent *opponent, const BenchTokens *tokens, bool warm) {
    const Layer *layer = &opponent->plan->layer;
    free(opponent->y);
    free(opponent->choice_weights);
    opponent->y = malloc((size_t)(tokens->tokens * layer->hidden) * sizeof(float));
    opponent->choice_weights = malloc((size_t)(layer->iterations * tokens->tokens * layer->top_k) * sizeof(float));
    opponent->tokens = tokens;
    opponent->warm = warm;
    opponent->cursor = 0;
    return opponent->y && opponent->choice_weights ? 0 : -1;
}

void bench_opponent_prepare(void *context) {
    BenchOpponent *opponent = context;
    opponent->cursor += !opponent->warm;
}

static void forward(BenchOpponent *opponent, int64_t slot, int64_t window, float *y, int32_t *experts) {
    const BenchTokens *tokens = opponent->tokens;
    const Layer *layer = &opponent->plan->layer;
    opponent_forward(layer, &opponent->weights[slot], opponent->workspace, tokens->tokens,
                     tokens->x + window * tokens->tokens * layer->hidden, y, experts, experts ? opponent->choice_weights : NULL);
}

int bench_opponent_call(void *context) {
    BenchOpponent *opponent = context;
    forward(opponent, opponent->cursor % opponent->slots, opponent->cursor % opponent->tokens->windows, opponent->y, NULL);
    return 0;
}

int bench_opponent_lead(void *context) {
    BenchOpponent *opponent = context;
    int64_t cursor = opponent->cursor + 2;
    if (opponent->slots > 1) {
        forward(opponent, cursor % opponent->slots, cursor % opponent->tokens->windows, opponent->y, NULL);
    }
    return 0;
}

int bench_opponent_once(BenchOpponent *opponent, int64_t window, float *y, int32_t *experts) {
    forward(opponent, 0, window, y, experts);
    return 0;
}
