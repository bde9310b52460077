// top_k: the k best choices, in descending order; ties go to the lower index. Sections: list.h.

#ifdef SELECTION_ROW
SELECTION_ROW(SELECTION_TOP_K, top_k, .words = "the {k} best", .takes_k = 1)
#endif

#ifdef SELECTION_SKELETON
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

#ifdef SELECTION_ORACLE
static const OracleRule oracle_top_k = {.takes = NULL};
#endif

#ifdef SELECTION_OPPONENT
static int64_t opponent_select_top_k(const Layer *layer, const OpponentRow *row) {
    (void)layer;
    int64_t chosen = 0;
    for (int32_t best; chosen < row->k && (best = opponent_best(row)) >= 0; chosen++) {
        opponent_take(row, chosen, best);
    }
    return chosen;
}
#endif

#ifdef SELECTION_TORCH
static void torch_select_top_k(const Torch *torch) {
    torch_ranking(torch);
    torch_line(torch, 2, "used = ranked > float(\"-inf\")");
}
#endif
