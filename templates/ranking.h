// One token's choices while they are made, and what the rules of selection are written with.
#ifndef CATENA_RANKING_H
#define CATENA_RANKING_H

#include "layer.h"
#include "math.h"

// What a rule of selection (routers/select_RULE.h) works on. Arrays hold `width` values: all choices, in whole vectors.
typedef struct Ranking {
    const float *logits;  // z; minus infinity behind the last choice
    const float *scores;  // s, where the rule needs_scores
    float *ranks;         // c, what choices are ranked by; minus infinity behind the last choice. A rule may use it up
    int64_t width;
    int64_t most;      // slots of this token: a rule chooses at most this many
    int32_t *experts;  // out: the chosen ones, in the order of the rule
    float *weights;    // out: what their scores are replaced by, of a rule that weighs
    const float *expert_scale;  // [experts]: factors of their weights; NULL: none
    float *gates;  // [shared_experts]: sigmoids that the chosen scores have one norm with, then weights; NULL: none
} Ranking;

// The index of the highest rank, the lowest such index where several are equal; -1 if none is above minus infinity (NaN never is).
// Lanes keep their own best first; a lane's index ascends, so its first best is its lowest.
INLINE int64_t ranking_best(const float *ranks, int64_t width) {
    Vector best = vector_set(-__builtin_inff());
    Integers at = integers_set(INT32_MAX);
    for (int64_t e = 0; e < width; e += LANES) {
        Vector v = vector_load(ranks + e);
        Integers better = v > best;
        best = vector_select(better, v, best);
        at = integers_select(better, integers_from(e), at);
    }
    int32_t index = integers_minimum(integers_select(best == vector_maximum(best), at, integers_set(INT32_MAX)));
    return index == INT32_MAX ? -1 : index;
}

// Takes a choice out of the ranking.
INLINE void ranking_remove(float *ranks, int64_t index) {
    ranks[index] = -__builtin_inff();
}

// Ranks at or below the threshold become minus infinity.
INLINE void ranking_cut(const Ranking *r, float threshold) {
    for (int64_t e = 0; e < r->width; e += LANES) {
        Vector v = vector_load(r->ranks + e);
        vector_store(r->ranks + e, vector_select(v > threshold, v, vector_set(-__builtin_inff())));
    }
}

// --- groups ------------------------------------------------------------------------------------------------------------------

// The best two of all lanes together: halves are merged until one lane is left.
#define RANKING_MERGE(...) \
    other_first = __builtin_shufflevector(first, first, __VA_ARGS__); \
    other_second = __builtin_shufflevector(second, second, __VA_ARGS__); \
    second = vector_max(vector_min(first, other_first), vector_max(second, other_second)); \
    first = vector_max(first, other_first);

// A group's score: its best rank, or the sum of its two best. At least the lowest number, so that every group can be compared.
INLINE float ranking_group_score(const float *ranks, int64_t size, GroupScore score) {
    const Vector lowest = vector_set(-__builtin_inff());
    Vector first = lowest, second = lowest, other_first, other_second;
    for (int64_t e = 0; e < size; e += LANES) {  // the last vector may reach into the next group
        Vector v = vector_select(integers_from(e) < (int32_t)size, vector_load(ranks + e), lowest);
        second = vector_max(second, vector_min(first, v));
        first = vector_max(first, v);
    }
    RANKING_MERGE(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)
    RANKING_MERGE(4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)
    RANKING_MERGE(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
    RANKING_MERGE(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
    float result = 0;
    switch (score) {
    case GROUP_MAX: result = first[0]; break;
    case GROUP_TOP2_SUM: result = first[0] + second[0]; break;
    case GROUP_SCORE_COUNT: break;
    }
    return result > -__FLT_MAX__ ? result : -__FLT_MAX__;
}

INLINE float ranking_mask(GroupMask mask) {
    switch (mask) {
    case MASK_MINUS_INFINITY: return -__builtin_inff();
    case MASK_ZERO: return 0.0f;
    case GROUP_MASK_COUNT: break;
    }
    return 0.0f;
}

// The best groups stay, ties go to the lower one; the others' ranks become the mask. `scores` has room for the groups in whole
// vectors.
INLINE void ranking_limit_groups(const Ranking *r, const Layer *layer, float *scores) {
    int64_t groups = layer->groups, size = layer_choices(layer) / groups, width = (groups + LANES - 1) / LANES * LANES;
    for (int64_t g = 0; g < groups; g++) {
        scores[g] = ranking_group_score(r->ranks + g * size, size, (GroupScore)layer->group_score);
    }
    for (int64_t g = groups; g < width; g++) {
        ranking_remove(scores, g);
    }
    for (int64_t i = 0; i < layer->top_groups; i++) {
        ranking_remove(scores, ranking_best(scores, width));
    }
    for (int64_t g = 0; g < groups; g++) {
        for (int64_t e = g * size; e < (g + 1) * size && scores[g] >= -__FLT_MAX__; e++) {
            r->ranks[e] = ranking_mask((GroupMask)layer->group_mask);
        }
    }
}

#endif
