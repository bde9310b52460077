// Which of a token's choices are taken. SELECTION_LIST (layer.h) names the rules; the rule of a row's symbol is the function
// select_SYMBOL of its file select_SYMBOL.h, included here.
#ifndef CATENA_SELECT_H
#define CATENA_SELECT_H

#include "score.h"
#include "select_sparsemixer.h"
#include "select_threshold.h"
#include "select_top_k.h"
#include "select_top_p.h"

// The number of choices that the layer's rule takes; ranking->experts lists them.
INLINE int64_t select_apply(const Ranking *ranking, const Layer *layer) {
#define SELECT_APPLY(enumerator, name, symbol, ...) \
    case enumerator: return select_##symbol(ranking, layer);
    switch ((Selection)layer->selection) {
        SELECTION_LIST(SELECT_APPLY)
    case SELECTION_COUNT: break;
    }
    return 0;
}

// Whether the rule fills every slot of every token: finite ranks of at least k choices, and nothing else to stop at.
INLINE int select_fills_slots(const Layer *layer) {
    return select_takes_k((Selection)layer->selection) && !layer->k_per_token && !layer->correction && layer->groups < 2;
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
