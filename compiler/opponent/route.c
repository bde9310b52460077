// The straightforward implementation's router: scores, ranking, selection and weights of one row, as opponent.h says. Scores
// and rules are the functions opponent_score_SYMBOL and opponent_select_SYMBOL of templates/routers/.
#include <math.h>
#include <string.h>

#include "opponent.h"

// --- scores ------------------------------------------------------------------------------------------------------------------

#define SCORE_OPPONENT
#include "templates/routers/list.h"

static void score_row(const Layer *layer, const float *z, float *scores) {
    switch ((Score)layer->score) {
#define SCORE_ROW(enumerator, symbol, ...) \
    case enumerator: opponent_score_##symbol(layer_choices(layer), z, scores); return;
#include "templates/routers/list.h"
    case SCORE_COUNT: return;
    }
}

// --- ranking -----------------------------------------------------------------------------------------------------------------

static float group_score(const Layer *layer, const float *ranks, int64_t size) {
    float best = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < size; i++) {
        second = ranks[i] > best ? best : ranks[i] > second ? ranks[i] : second;
        best = ranks[i] > best ? ranks[i] : best;
    }
    return layer->group_score == GROUP_TOP2_SUM ? best + second : best;
}

// A group is kept if fewer than top_groups rank before it; the masks overwrite ranks, so losers are found first.
// scores: room for the groups'.
static void mask_groups(const Layer *layer, float *scores, float *ranks) {
    int64_t size = layer_choices(layer) / layer->groups;
    for (int64_t g = 0; g < layer->groups; g++) {
        scores[g] = group_score(layer, ranks + g * size, size);
    }
    for (int64_t g = 0; g < layer->groups; g++) {
        int64_t before = 0;
        for (int64_t other = 0; other < layer->groups; other++) {
            before += scores[other] > scores[g] || (scores[other] == scores[g] && other < g);
        }
        for (int64_t i = g * size; i < (g + 1) * size && before >= layer->top_groups; i++) {
            ranks[i] = layer->group_mask == MASK_ZERO ? 0 : -INFINITY;
        }
    }
}

// Logits rank like the scores that grow with them, and do not tie where scores saturate.
static int ranks_by_logits(const Layer *layer) {
    const SelectionFacts *selection = &selection_facts[layer->selection];
    int plain = score_facts[layer->score].strict && !selection->needs_scores && !layer->correction && layer->groups <= 1;
    return selection->logits_alone || layer->rank == RANK_LOGIT || plain;
}

static void rank_row(const Layer *layer, const float *z, const float *correction, const float *scores, float *groups,
                     float *ranks) {
    const float *from = ranks_by_logits(layer) ? z : scores;
    for (int64_t e = 0; e < layer_choices(layer); e++) {
        ranks[e] = z[e] == -INFINITY ? z[e] : from[e] + (correction ? correction[e] : 0);
    }
    if (layer->groups > 1) {
        mask_groups(layer, groups, ranks);
    }
}

// --- selection ---------------------------------------------------------------------------------------------------------------

// One row's choices while they are made, what rules of selection are written with.
typedef struct OpponentRow {
    const float *z, *scores;  // [choices]
    float *ranks;             // [choices]; what is taken, or in a group that loses, is minus infinity
    int64_t choices, k;       // a rule takes k at most
    int32_t *experts;         // [k] out
    float *weights;           // [k] out
} OpponentRow;

// The best that is left, the lowest of equal ones; -1: none is.
static int32_t opponent_best(const OpponentRow *row) {
    int32_t best = 0;
    for (int32_t e = 1; e < row->choices; e++) {
        best = row->ranks[e] > row->ranks[best] ? e : best;
    }
    return row->ranks[best] > -INFINITY ? best : -1;
}

static void opponent_take(const OpponentRow *row, int64_t slot, int32_t e) {
    row->experts[slot] = e;
    row->weights[slot] = row->scores[e];
    row->ranks[e] = -INFINITY;
}

#define SELECTION_OPPONENT
#include "templates/routers/list.h"

// Returns the number of choices.
static int64_t select_row(const Layer *layer, const OpponentRow *row) {
    switch ((Selection)layer->selection) {
#define SELECTION_ROW(enumerator, symbol, ...) \
    case enumerator: return opponent_select_##symbol(layer, row);
#include "templates/routers/list.h"
    case SELECTION_COUNT: break;
    }
    return 0;
}

// --- weights -----------------------------------------------------------------------------------------------------------------

// (sum of s^p)^(1/p), relative to the largest, so that powers do not vanish.
static float norm_of(const Layer *layer, int64_t count, const float *scores) {
    float p = layer->normalize_p, sum = 0, most = 0;
    for (int64_t s = 0; s < count; s++) {
        most = scores[s] > most ? scores[s] : most;
        sum += scores[s];
    }
    if (p == 1 || most == 0) {
        return sum;
    }
    sum = 0;
    for (int64_t s = 0; s < count; s++) {
        sum += powf(scores[s] / most, p);
    }
    return most * powf(sum, 1 / p);
}

static float divisor_of(const Layer *layer, float norm) {
    return layer->normalize_clamp ? fmaxf(norm, layer->normalize_eps) : norm + layer->normalize_eps;
}

static float sigmoid(float z) {
    return 1 / (1 + expf(-z));
}

// The sum of the shared experts' gates that count in the norm. logits: of a row, those of the gates behind the choices.
static float joint_gates(const Layer *layer, const float *logits) {
    float sum = 0;
    for (int64_t j = 0; j < layer->shared_experts && layer->shared_joint; j++) {
        sum += sigmoid(logits[layer_choices(layer) + j]);
    }
    return sum;
}

float opponent_shared_weight(const Layer *layer, const float *logits, const int32_t *experts, int64_t j) {
    float gate = layer->shared_gated ? sigmoid(logits[layer_choices(layer) + j]) : 1, sum = joint_gates(layer, logits);
    for (int64_t s = 0; s < layer->top_k && layer->shared_joint; s++) {
        sum += experts[s] >= 0 ? sigmoid(logits[experts[s]]) : 0;
    }
    float divisor = divisor_of(layer, sum), joint = divisor == 0 ? 0 : gate / divisor * layer->scale;
    return (layer->shared_joint ? joint : gate) * layer->shared_scale;
}

static void normalise(const Layer *layer, int64_t count, float gates, float *weights) {
    float divisor = divisor_of(layer, norm_of(layer, count, weights) + gates);
    for (int64_t s = 0; s < count; s++) {
        weights[s] = divisor == 0 ? 0 : weights[s] / divisor;  // no NaN where all scores are 0
    }
}

void opponent_choose_row(const Layer *layer, const float *logits, const float *correction, int64_t k, float *ranks,
                         int32_t *experts, float *weights) {
    float *scores = ranks + layer_choices(layer), *groups = scores + layer_choices(layer);
    const OpponentRow row = {logits, scores, ranks, layer_choices(layer), k, experts, weights};
    score_row(layer, logits, scores);
    rank_row(layer, logits, correction, scores, groups, ranks);
    int64_t count = select_row(layer, &row);
    if (layer->normalize) {
        normalise(layer, count, joint_gates(layer, logits), weights);
    }
    for (int64_t s = 0; s < layer->top_k; s++) {
        experts[s] = s < count ? experts[s] : -1;
        weights[s] = s < count ? weights[s] * layer->scale : 0;
    }
}
