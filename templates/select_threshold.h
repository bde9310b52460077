// All choices that rank above the threshold (ReMoE, Wang et al., 2024: relu scores above 0), in ascending order of index; or where
// slots are fewer than choices the best of them, in descending order of rank.
#ifndef CATENA_SELECT_THRESHOLD_H
#define CATENA_SELECT_THRESHOLD_H

#include "select_top_k.h"

INLINE int64_t select_threshold(const Ranking *r, const Layer *layer) {
    if (layer->top_k < layer_choices(layer)) {
        ranking_cut(r, layer->threshold);
        return select_top_k(r, layer);
    }
    int64_t chosen = 0;
    for (int64_t e = 0; e < r->width; e += LANES) {
        uint32_t above = integers_bits(vector_load(r->ranks + e) > layer->threshold);
        for (; above; above &= above - 1) {
            r->experts[chosen++] = (int32_t)e + __builtin_ctz(above);
        }
    }
    return chosen;
}

#endif
