// threshold: all choices that rank above a threshold (ReMoE, Wang et al., 2024: relu scores above 0), in ascending order of index;
// or where slots are fewer than choices the best of them, in descending order of rank. Sections: list.h.

#ifdef SELECTION_ROW
SELECTION_ROW(SELECTION_THRESHOLD, threshold, .words = "all above {threshold} (about {expected_k})", .needs_scores = 1)
#endif

#ifdef SELECTION_SKELETON
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

#ifdef SELECTION_ORACLE
static Certainty oracle_takes_threshold(const Layer *layer, const Ranking *r, int64_t e) {
    return exceeds(r->rank[e], bounded_exact(layer->threshold));
}

static const OracleRule oracle_threshold = {.takes = oracle_takes_threshold, .ascends = 1};
#endif

#ifdef SELECTION_OPPONENT
static int64_t opponent_select_threshold(const Layer *layer, const OpponentRow *row) {
    int64_t chosen = 0;
    if (row->k == row->choices) {
        for (int32_t e = 0; e < row->choices; e++) {
            if (row->ranks[e] > layer->threshold) {
                opponent_take(row, chosen++, e);
            }
        }
        return chosen;
    }
    for (int32_t best; chosen < row->k && (best = opponent_best(row)) >= 0 && row->ranks[best] > layer->threshold; chosen++) {
        opponent_take(row, chosen, best);
    }
    return chosen;
}
#endif

#ifdef SELECTION_TORCH
static void torch_select_threshold(const Torch *torch) {
    torch_ranking(torch);
    torch_line(torch, 2, "used = ranked > %s", TORCH_NUMBER(torch->layer->threshold));
}
#endif
