// The oracle's router, second half: ranking with correction and groups, and the rules of selection.
//
// Every rule takes the ranking's head, choice after choice: a rule is a function that says whether a token goes on, in the
// OracleRule of its file in templates/routers/. It answers with a Certainty, because scores carry errors: without errors
// (oracle_select) the answer is yes or no and makes the oracle's own choices, with errors it judges a library's
// (check.c).
#include <math.h>
#include <string.h>

#include "steps.h"

// Whether a > b.
static Certainty exceeds(Bounded a, Bounded b) {
    if (a.value - a.error > b.value + b.error) {
        return SURELY;
    }
    return a.value + a.error > b.value - b.error ? UNCERTAIN : SURELY_NOT;
}

static Certainty certainty_both(Certainty a, Certainty b) {
    return a < b ? a : b;
}

// The sum of two ranking values. The oracle's own choices are made without rounding; adding an exact zero never rounds.
static Bounded plus(const Ranking *r, Bounded a, Bounded b) {
    if (r->exact || (a.value == 0 && a.error == 0) || (b.value == 0 && b.error == 0)) {
        return bounded_make(a.value + b.value, a.error + b.error);
    }
    return bounded_add(a, b);
}

// --- groups ------------------------------------------------------------------------------------------------------------------

static int is_grouped(const Layer *layer) {
    return layer->groups > 1 && layer->top_groups < layer->groups;
}

// A group's score: its best c, or the sum of its two best. Best values, lower ends and upper ends are each those of the interval.
static Bounded group_score(const Layer *layer, const Ranking *r, const Bounded *rank, int64_t size) {
    double best[3][2] = {{-INFINITY, -INFINITY}, {-INFINITY, -INFINITY}, {-INFINITY, -INFINITY}};
    for (int64_t i = 0; i < size; i++) {
        const double ends[3] = {rank[i].value, rank[i].value - rank[i].error, rank[i].value + rank[i].error};
        for (int end = 0; end < 3; end++) {
            double *two = best[end], value = ends[end];
            two[1] = fmax(two[1], fmin(two[0], value));
            two[0] = fmax(two[0], value);
        }
    }
    int counted = layer->group_score == GROUP_TOP2_SUM;
    if (best[0][counted] == -INFINITY) {  // too few choices that can be made: such groups tie, behind all others
        return bounded_exact(-FLT_MAX);
    }
    switch ((GroupScore)layer->group_score) {
    case GROUP_MAX: return bounded_image(best[0][0], best[1][0], best[2][0]);
    case GROUP_TOP2_SUM: {
        Bounded first = bounded_image(best[0][0], best[1][0], best[2][0]);
        return plus(r, first, bounded_image(best[0][1], best[1][1], best[2][1]));
    }
    case GROUP_SCORE_COUNT: break;
    }
    return (Bounded){0, INFINITY};
}

// Kept are the top_groups best, ties to the lower index; equal scores without errors are ties in every implementation.
static void keep_groups(const Layer *layer, Ranking *r) {
    int64_t size = layer_choices(layer) / layer->groups;
    for (int64_t g = 0; g < layer->groups; g++) {
        r->group_scores[g] = group_score(layer, r, r->rank + g * size, size);
    }
    for (int64_t g = 0; g < layer->groups; g++) {
        int64_t ahead = 0, perhaps = 0;  // groups that rank before this one
        for (int64_t other = 0; other < layer->groups; other++) {
            Bounded a = r->group_scores[other], b = r->group_scores[g];
            int tie = a.value == b.value && a.error == 0 && b.error == 0;
            Certainty before = tie ? (other < g ? SURELY : SURELY_NOT) : exceeds(a, b);
            ahead += other != g && before == SURELY;
            perhaps += other != g && before != SURELY_NOT;
        }
        r->group_kept[g] = perhaps < layer->top_groups ? SURELY : ahead < layer->top_groups ? UNCERTAIN : SURELY_NOT;
    }
}

// What losing does to a choice: c becomes 0, or the choice is absent. Of a group that may or may not lose, both are possible.
static void mask_groups(const Layer *layer, Ranking *r) {
    int64_t choices = layer_choices(layer), size = choices / layer->groups;
    for (int64_t e = 0; e < choices; e++) {
        Certainty kept = (Certainty)r->group_kept[e / size];
        Bounded c = r->rank[e];
        r->kept[e] = (uint8_t)kept;
        if (layer->group_mask == MASK_ZERO && kept == SURELY_NOT) {
            r->rank[e] = bounded_exact(0);
        } else if (layer->group_mask == MASK_ZERO && kept == UNCERTAIN) {
            double low = fmin(c.value - c.error, 0), high = fmax(c.value + c.error, 0);
            r->rank[e] = bounded_image(c.value, low, high);
        }
    }
}

// --- ranking -----------------------------------------------------------------------------------------------------------------

int oracle_ranks_by_logits(const Layer *layer) {
    int grouped = is_grouped(layer) && (layer->group_score != GROUP_MAX || layer->group_mask != MASK_MINUS_INFINITY);
    int asked = selection_facts[layer->selection].logits_alone || layer->rank == RANK_LOGIT;
    return asked || (score_facts[layer->score].strict && !layer->correction && !grouped);
}

void oracle_rank(const Layer *layer, const OracleWeights *weights, int64_t iteration, int by_logits, Ranking *r) {
    int64_t choices = layer_choices(layer), gate = layer->gate_per_iteration ? iteration : 0;
    int shortcut = by_logits && layer->rank != RANK_LOGIT;  // groups are then scored by logits too: the same groups win
    memset(r->kept, SURELY, (size_t)choices);
    memset(r->taken, 0, (size_t)choices);
    r->count = 0;
    r->sum = bounded_exact(0);
    for (int64_t e = 0; e < choices; e++) {
        r->rank[e] = by_logits || layer->rank == RANK_LOGIT ? r->logits[e] : r->scores[e];
        double correction = layer->correction ? weights->correction[gate * choices + e] : 0;
        if (correction == -INFINITY || r->logits[e].value == -INFINITY) {
            r->rank[e] = bounded_exact(-INFINITY);  // never made, unless a mask of zero overwrites it
        } else if (layer->correction) {
            r->rank[e] = plus(r, r->rank[e], bounded_exact(correction));
        }
    }
    if (is_grouped(layer)) {
        keep_groups(layer, r);
        mask_groups(layer, r);
    }
    for (int64_t e = 0; e < choices && shortcut; e++) {
        r->rank[e] = r->logits[e].value == -INFINITY ? r->logits[e] : r->scores[e];  // what a threshold looks at
    }
    r->order = shortcut ? r->logits : r->rank;
}

// --- rules -------------------------------------------------------------------------------------------------------------------

// A rule of selection. What is not set is as usual.
typedef struct OracleRule {
    Certainty (*takes)(const Layer *layer, const Ranking *r, int64_t e);  // whether the ranking's head e; NULL: always
    Bounded (*weight)(const Layer *layer, const Bounded *z, const int32_t *chosen, int64_t slot);  // NULL: its score
    int ascends;  // lists choices by index where k leaves none out
} OracleRule;

#define SELECTION_ORACLE
#include "templates/routers/list.h"

static const OracleRule *const rules[] = {
#define SELECTION_ROW(enumerator, symbol, ...) &oracle_##symbol,
#include "templates/routers/list.h"
};

static Certainty rule_takes(const Layer *layer, const Ranking *r, int64_t e) {
    const OracleRule *rule = rules[layer->selection];
    return rule->takes ? rule->takes(layer, r, e) : SURELY;
}

Bounded oracle_rule_weight(const Layer *layer, const Bounded *z, const Bounded *s, const int32_t *chosen, int64_t slot) {
    const OracleRule *rule = rules[layer->selection];
    return rule->weight ? rule->weight(layer, z, chosen, slot) : s[chosen[slot]];
}

Certainty oracle_present(const Layer *layer, const Ranking *r, int64_t e) {
    if (r->rank[e].value == -INFINITY) {
        return SURELY_NOT;
    }
    return layer->group_mask == MASK_MINUS_INFINITY ? (Certainty)r->kept[e] : SURELY;
}

Certainty oracle_takes(const Layer *layer, const Ranking *r, int64_t e) {
    Certainty room = r->count < r->limit ? SURELY : SURELY_NOT;
    return certainty_both(room, certainty_both(oracle_present(layer, r, e), rule_takes(layer, r, e)));
}

void oracle_take(Ranking *r, int64_t e) {
    r->taken[e] = 1;
    r->count++;
    r->sum = plus(r, r->sum, r->scores[e]);
}

int oracle_slots_ascend(const Layer *layer) {
    return rules[layer->selection]->ascends && layer->top_k == layer_choices(layer);
}

int64_t oracle_select(const Layer *layer, Ranking *r, int32_t *chosen) {
    int64_t choices = layer_choices(layer);
    for (;;) {
        int32_t best = -1;
        for (int32_t e = 0; e < choices; e++) {
            int better = best < 0 || r->order[e].value > r->order[best].value;
            best = !r->taken[e] && better && oracle_takes(layer, r, e) == SURELY ? e : best;
        }
        if (best < 0) {
            break;
        }
        chosen[r->count] = best;
        oracle_take(r, best);
    }
    for (int64_t s = r->count; s < layer->top_k; s++) {
        chosen[s] = -1;
    }
    for (int64_t e = 0, s = 0; e < choices && oracle_slots_ascend(layer); e++) {
        if (r->taken[e]) {
            chosen[s++] = (int32_t)e;
        }
    }
    return r->count;
}
