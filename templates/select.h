// Which of a token's choices are taken: of each file of routers/list.h the function select_SYMBOL, the rule.
#ifndef CATENA_SELECT_H
#define CATENA_SELECT_H

#include "ranking.h"
#include "score.h"

#define SELECTION_SKELETON
#include "templates/routers/list.h"

// The number of choices that the layer's rule takes; ranking->experts lists them.
INLINE int64_t select_apply(const Ranking *ranking, const Layer *layer) {
    switch ((Selection)layer->selection) {
#define SELECTION_ROW(enumerator, symbol, ...) \
    case enumerator: return select_##symbol(ranking, layer);
#include "templates/routers/list.h"
    case SELECTION_COUNT: break;
    }
    return 0;
}

// Whether the rule fills every slot of every token: finite ranks of at least k choices, and nothing else to stop at.
INLINE int select_fills_slots(const Layer *layer) {
    return selection_facts[layer->selection].takes_k && !layer->k_per_token && !layer->correction && !layer->router_bias &&
           layer->groups < 2;
}

// Whether choices are ranked by the scores themselves. Where logits give the same order they are used instead: it saves the scores
// of the whole pool, and two scores that differ by less than their rounding are no tie.
INLINE int select_ranks_scores(const Layer *layer) {
    const SelectionFacts *selection = &selection_facts[layer->selection];
    int sums = layer->correction || selection->needs_scores;
    int group_values = layer->groups > 1 && (layer->group_score == GROUP_TOP2_SUM || layer->group_mask == MASK_ZERO);
    int scores = sums || group_values || !score_facts[layer->score].strict;
    return !selection->logits_alone && layer->rank == RANK_SCORE && scores;
}

// Whether the scores of all choices are computed.
INLINE int select_wants_scores(const Layer *layer) {
    return select_ranks_scores(layer) || selection_facts[layer->selection].needs_scores;
}

#endif
