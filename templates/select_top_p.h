// The shortest prefix of the ranking whose scores sum to p, at most k (Huang et al., 2024); the sum is taken in that order.
#ifndef CATENA_SELECT_TOP_P_H
#define CATENA_SELECT_TOP_P_H

#include "ranking.h"

INLINE int64_t select_top_p(const Ranking *r, const Layer *layer) {
    int64_t chosen = 0, best;
    float sum = 0;
    while (chosen < r->most && sum < layer->top_p && (best = ranking_best(r->ranks, r->width)) >= 0) {
        r->experts[chosen++] = (int32_t)best;
        sum += r->scores[best];
        ranking_remove(r->ranks, best);
    }
    return chosen;
}

#endif
