// Scores of choices from their logits. SCORE_LIST (layer.h) names them; the score of a row's symbol is the function score_SYMBOL
// here. Error bounds stand in compiler/reference_score.c beside their scalar references.
#ifndef CATENA_SCORE_H
#define CATENA_SCORE_H

#include "layer.h"
#include "math.h"

// What a score needs of all of a token's logits together, if its row says that it needs anything.
typedef struct ScoreWhole {
    float largest;  // logit
    float sum;      // of exp(z - largest)
} ScoreWhole;

// softmax: exp(z - max) / sum of all exp(z - max)
INLINE Vector score_softmax(Vector z, ScoreWhole whole) {
    return vector_exp(z - whole.largest) / whole.sum;
}

// `count` logits, whole vectors; padding is minus infinity. The sum is sixteen chains, then the lane tree.
INLINE ScoreWhole score_sum_whole(const float *logits, int64_t count) {
    Vector best = vector_load(logits), sum = vector_set(0);
    for (int64_t e = LANES; e < count; e += LANES) {
        best = vector_max(best, vector_load(logits + e));
    }
    ScoreWhole whole = {.largest = vector_maximum(best)};
    for (int64_t e = 0; e < count; e += LANES) {
        sum += vector_exp(vector_load(logits + e) - whole.largest);
    }
    whole.sum = vector_sum(sum);
    return whole;
}

// sigmoid: 1 / (1 + exp(-z))
INLINE Vector score_sigmoid(Vector z, ScoreWhole whole) {
    (void)whole;
    return vector_sigmoid(z);
}

// sqrtsoftplus: sqrt(ln(1 + e^z)), below -17 e^(z/2) to within rounding
INLINE Vector score_sqrtsoftplus(Vector z, ScoreWhole whole) {
    (void)whole;
    return vector_select(z < -17.0f, vector_exp(z * 0.5f), vector_sqrt(vector_softplus(z)));
}

// relu: max(z, 0)
INLINE Vector score_relu(Vector z, ScoreWhole whole) {
    (void)whole;
    return vector_select(z > 0.0f, z, vector_set(0));
}

INLINE ScoreWhole score_whole(Score score, const float *logits, int64_t count) {
    return score_needs_whole(score) ? score_sum_whole(logits, count) : (ScoreWhole){0, 0};
}

INLINE Vector score_apply(Score score, Vector z, ScoreWhole whole) {
#define SCORE_APPLY(enumerator, name, symbol, ...) \
    case enumerator: return score_##symbol(z, whole);
    switch (score) {
        SCORE_LIST(SCORE_APPLY)
    case SCORE_COUNT: break;
    }
    return z;
}

#endif
