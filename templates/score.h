// Scores of choices from their logits. SCORE_LIST (layer.h) names them; a score is one function here and its line in score_apply.
// Error bounds stand in compiler/reference_score.c beside their scalar references.
#ifndef CATENA_SCORE_H
#define CATENA_SCORE_H

#include "layer.h"
#include "math.h"

// What a score needs of all of a token's logits together.
typedef struct ScoreWhole {
    float largest;  // logit
    float sum;      // of exp(z - largest)
} ScoreWhole;

// softmax: exp(z - max) / sum of all exp(z - max)
INLINE Vector score_softmax(Vector z, ScoreWhole whole) {
    return vector_exp(z - whole.largest) / whole.sum;
}

// `count` logits, whole vectors; padding is minus infinity. The sum is sixteen chains, then the lane tree.
INLINE ScoreWhole score_softmax_whole(const float *logits, int64_t count) {
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
INLINE Vector score_sigmoid(Vector z) {
    return vector_sigmoid(z);
}

// sqrtsoftplus: sqrt(ln(1 + e^z)), below -17 e^(z/2) to within rounding
INLINE Vector score_sqrtsoftplus(Vector z) {
    return vector_select(z < -17.0f, vector_exp(z * 0.5f), vector_sqrt(vector_softplus(z)));
}

// relu: max(z, 0)
INLINE Vector score_relu(Vector z) {
    return vector_select(z > 0.0f, z, vector_set(0));
}

// Switches over a list have no default: the compiler asks for new rows.
INLINE ScoreWhole score_whole(Score score, const float *logits, int64_t count) {
    switch (score) {
    case SCORE_SOFTMAX: return score_softmax_whole(logits, count);
    case SCORE_SIGMOID:
    case SCORE_SQRTSOFTPLUS:
    case SCORE_RELU:
    case SCORE_COUNT: break;
    }
    return (ScoreWhole){0, 0};
}

INLINE Vector score_apply(Score score, Vector z, ScoreWhole whole) {
    switch (score) {
    case SCORE_SOFTMAX: return score_softmax(z, whole);
    case SCORE_SIGMOID: return score_sigmoid(z);
    case SCORE_SQRTSOFTPLUS: return score_sqrtsoftplus(z);
    case SCORE_RELU: return score_relu(z);
    case SCORE_COUNT: break;
    }
    return z;
}

// Whether a higher logit always has a higher score: then logits rank choices as well as scores do, and without rounding ties.
INLINE int score_is_strict(Score score) {
    switch (score) {
    case SCORE_SOFTMAX:
    case SCORE_SIGMOID:
    case SCORE_SQRTSOFTPLUS: return 1;
    case SCORE_RELU:
    case SCORE_COUNT: break;
    }
    return 0;
}

#endif
