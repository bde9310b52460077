// Scores of choices from their logits: of each file of routers/list.h the function score_SYMBOL.
#ifndef CATENA_SCORE_H
#define CATENA_SCORE_H

#include "layer.h"
#include "math.h"

// What a score needs of all of a token's logits together, if its row says that it needs anything.
typedef struct ScoreWhole {
    float largest;  // logit
    float sum;      // of exp(z - largest)
} ScoreWhole;

// `count` logits, whole vectors; padding is minus infinity. The sum is sixteen chains, then the lane tree. Where all logits are
// minus infinity, all scores are 0.
INLINE ScoreWhole score_sum_whole(const float *logits, int64_t count) {
    Vector best = vector_load(logits), sum = vector_set(0);
    for (int64_t e = LANES; e < count; e += LANES) {
        best = vector_max(best, vector_load(logits + e));
    }
    float largest = vector_maximum(best);
    ScoreWhole whole = {.largest = largest >= -__FLT_MAX__ ? largest : 0};
    for (int64_t e = 0; e < count; e += LANES) {
        sum += vector_exp(vector_load(logits + e) - whole.largest);
    }
    whole.sum = vector_sum(sum);
    whole.sum = whole.sum > 0 ? whole.sum : 1;
    return whole;
}

#define SCORE_SKELETON
#include "templates/routers/list.h"

INLINE ScoreWhole score_whole(Score score, const float *logits, int64_t count) {
    return score_facts[score].whole ? score_sum_whole(logits, count) : (ScoreWhole){0, 0};
}

INLINE Vector score_apply(Score score, Vector z, ScoreWhole whole) {
    switch (score) {
#define SCORE_ROW(enumerator, symbol, ...) \
    case enumerator: return score_##symbol(z, whole);
#include "templates/routers/list.h"
    case SCORE_COUNT: break;
    }
    return z;
}

#endif
