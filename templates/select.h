// Which of a token's choices are taken. SELECTION_LIST (layer.h) names the rules; a rule is one file select_RULE.h, its line in
// select_apply, and what it needs. Switches over the list have no default: the compiler asks for new rows.
#ifndef CATENA_SELECT_H
#define CATENA_SELECT_H

#include "score.h"
#include "select_sparsemixer.h"
#include "select_threshold.h"
#include "select_top_k.h"
#include "select_top_p.h"

// The number of choices that the layer's rule takes; ranking->experts lists them.
INLINE int64_t select_apply(const Ranking *ranking, const Layer *layer) {
    switch ((Selection)layer->selection) {
    case SELECTION_TOP_K: return select_top_k(ranking);
    case SELECTION_THRESHOLD: return select_threshold(ranking, layer);
    case SELECTION_TOP_P: return select_top_p(ranking, layer->top_p);
    case SELECTION_SPARSEMIXER: return select_sparsemixer(ranking, layer->jitter);
    case SELECTION_COUNT: break;
    }
    return 0;
}

// Whether the rule weighs what it chooses by itself, instead of by scores.
INLINE int select_weighs(Selection selection) {
    switch (selection) {
    case SELECTION_SPARSEMIXER: return 1;
    case SELECTION_TOP_K:
    case SELECTION_THRESHOLD:
    case SELECTION_TOP_P:
    case SELECTION_COUNT: break;
    }
    return 0;
}

// Whether the rule compares scores with something other than each other: then logits in their place will not do.
INLINE int select_needs_scores(Selection selection) {
    switch (selection) {
    case SELECTION_THRESHOLD:
    case SELECTION_TOP_P: return 1;
    case SELECTION_TOP_K:
    case SELECTION_SPARSEMIXER:
    case SELECTION_COUNT: break;
    }
    return 0;
}

// Whether the rule fills every slot of every token: finite ranks of at least k choices, and nothing else to stop at.
INLINE int select_fills_slots(const Layer *layer) {
    switch ((Selection)layer->selection) {
    case SELECTION_TOP_K:
    case SELECTION_SPARSEMIXER: return !layer->k_per_token && !layer->correction && layer->groups < 2;
    case SELECTION_THRESHOLD:
    case SELECTION_TOP_P:
    case SELECTION_COUNT: break;
    }
    return 0;
}

// Whether choices are ranked by the scores themselves. Where logits give the same order they are used instead: it saves the scores
// of the whole pool, and two scores that differ by less than their rounding are no tie.
INLINE int select_ranks_scores(const Layer *layer) {
    int sums = layer->correction || select_needs_scores((Selection)layer->selection);
    int group_values = layer->groups > 1 && (layer->group_score == GROUP_TOP2_SUM || layer->group_mask == MASK_ZERO);
    return layer->rank == RANK_SCORE && (sums || group_values || !score_is_strict((Score)layer->score));
}

// Whether the scores of all choices are computed.
INLINE int select_wants_scores(const Layer *layer) {
    return select_ranks_scores(layer) || select_needs_scores((Selection)layer->selection);
}

#endif
