// SparseMixer at inference (Liu et al., 2023; transformers' modeling_phimoe.py): k times the best logit b that is left; its weight
// is a softmax over those left whose logit is close to it, (b - z) / max(|z|, b) <= 2 jitter.
#ifndef CATENA_SELECT_SPARSEMIXER_H
#define CATENA_SELECT_SPARSEMIXER_H

#include "ranking.h"

// exp(best - best) / the sum of exp(z - best) over the close ones: sixteen chains, then the lane tree. What was removed is minus
// infinity, whose quotient is NaN (not far) and whose exponential is 0; so is the quotient of zeros, which are close.
INLINE float select_sparsemixer_weight(const Ranking *r, float best, float jitter) {
    Vector sum = vector_set(0);
    for (int64_t e = 0; e < r->width; e += LANES) {
        Vector z = vector_load(r->ranks + e), below = vector_set(best) - z;
        Integers far = below / vector_max(vector_absolute(z), vector_set(best)) > 2 * jitter;
        sum += vector_select(far, vector_set(0), vector_exp(-below));
    }
    return 1.0f / vector_sum(sum);
}

INLINE int64_t select_sparsemixer(const Ranking *r, const Layer *layer) {
    int64_t chosen = 0;
    for (int64_t best; chosen < r->most && (best = ranking_best(r->ranks, r->width)) >= 0; chosen++) {
        r->experts[chosen] = (int32_t)best;
        r->weights[chosen] = select_sparsemixer_weight(r, r->ranks[best], layer->jitter);
        ranking_remove(r->ranks, best);
    }
    return chosen;
}

#endif
