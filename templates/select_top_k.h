// The k best choices, in descending order; ties go to the lower index.
#ifndef CATENA_SELECT_TOP_K_H
#define CATENA_SELECT_TOP_K_H

#include "ranking.h"

INLINE int64_t select_top_k(const Ranking *r, const Layer *layer) {
    (void)layer;
    int64_t chosen = 0;
    for (int64_t best; chosen < r->most && (best = ranking_best(r->ranks, r->width)) >= 0; chosen++) {
        r->experts[chosen] = (int32_t)best;
        ranking_remove(r->ranks, best);
    }
    return chosen;
}

#endif
