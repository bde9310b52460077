// top_p: the shortest prefix of the ranking whose scores sum to p, at most k (Huang et al., 2024); the sum is taken in that order.
// Sections: list.h.

#ifdef SELECTION_ROW
SELECTION_ROW(SELECTION_TOP_P, top_p, .words = "the best that sum to {top_p}",
              .softmax = "must be \"softmax\": top_p adds up probabilities", .needs_scores = 1, .least = 1)
#endif

#ifdef SELECTION_SKELETON
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

#ifdef SELECTION_ORACLE
// Until the scores taken sum to top_p.
static Certainty oracle_takes_top_p(const Layer *layer, const Ranking *r, int64_t e) {
    (void)e;
    return exceeds(bounded_exact(layer->top_p), r->sum);
}

static const OracleRule oracle_top_p = {.takes = oracle_takes_top_p};
#endif

#ifdef SELECTION_OPPONENT
static int64_t opponent_select_top_p(const Layer *layer, const OpponentRow *row) {
    int64_t chosen = 0;
    float sum = 0;
    for (int32_t best; chosen < row->k && sum < layer->top_p && (best = opponent_best(row)) >= 0; chosen++) {
        opponent_take(row, chosen, best);
        sum += row->scores[best];
    }
    return chosen;
}
#endif

#ifdef SELECTION_TORCH
static void torch_select_top_p(const Torch *torch) {
    torch_ranking(torch);
    torch_line(torch, 2, "used = (ranked > float(\"-inf\")) & (weights.cumsum(-1) - weights < %s)",
               TORCH_NUMBER(torch->layer->top_p));
}
#endif
