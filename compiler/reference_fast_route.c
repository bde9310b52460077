// The straightforward implementation's router: scores, ranking, selection and weights of one row, as reference_fast.h says.
#include <math.h>
#include <string.h>

#include "reference_fast.h"

// Scores ----------------------------------------------------------------------------------------------------------------------

// The score of a row of SCORE_LIST is the function score_SYMBOL.
static void score_softmax(int64_t count, const float *z, float *scores) {
    float most = z[0], sum = 0;
    for (int64_t e = 1; e < count; e++) {
        most = z[e] > most ? z[e] : most;
    }
    for (int64_t e = 0; e < count; e++) {
        scores[e] = expf(z[e] - most);
        sum += scores[e];
    }
    for (int64_t e = 0; e < count; e++) {
        scores[e] /= sum;
    }
}

static void score_sigmoid(int64_t count, const float *z, float *scores) {
    for (int64_t e = 0; e < count; e++) {
        scores[e] = 1 / (1 + expf(-z[e]));
    }
}

static void score_sqrtsoftplus(int64_t count, const float *z, float *scores) {
    for (int64_t e = 0; e < count; e++) {
        scores[e] = sqrtf((z[e] > 0 ? z[e] : 0) + log1pf(expf(-fabsf(z[e]))));
    }
}

static void score_relu(int64_t count, const float *z, float *scores) {
    for (int64_t e = 0; e < count; e++) {
        scores[e] = z[e] > 0 ? z[e] : 0;
    }
}

static void score_row(const Layer *layer, const float *z, float *scores) {
#define SCORE_CASE(enumerator, name, symbol, ...) \
    case enumerator: score_##symbol(layer_choices(layer), z, scores); return;
    switch ((Score)layer->score) {
        SCORE_LIST(SCORE_CASE)
    case SCORE_COUNT: return;
    }
}

// Ranking ---------------------------------------------------------------------------------------------------------------------

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
    int plain = score_is_strict((Score)layer->score) && !select_needs_scores((Selection)layer->selection) && !layer->correction &&
                layer->groups <= 1;
    return layer->rank == RANK_LOGIT || plain;
}

static void rank_row(const Layer *layer, const float *z, const float *correction, const float *scores, float *groups,
                     float *ranks) {
    const float *from = ranks_by_logits(layer) ? z : scores;
    for (int64_t e = 0; e < layer_choices(layer); e++) {
        ranks[e] = from[e] + (correction ? correction[e] : 0);
    }
    if (layer->groups > 1) {
        mask_groups(layer, groups, ranks);
    }
}

// Selection -------------------------------------------------------------------------------------------------------------------

static int32_t best_of(const float *ranks, int64_t count) {
    int32_t best = 0;
    for (int32_t e = 1; e < count; e++) {
        best = ranks[e] > ranks[best] ? e : best;
    }
    return best;
}

// 1 / sum of exp(z_e - m) over those left that are close to the best; see reference_score.c.
static float sparsemixer_weight(const Layer *layer, const float *z, const float *ranks, int32_t best) {
    float sum = 0, m = z[best];
    for (int64_t e = 0; e < layer_choices(layer); e++) {
        float factor = fabsf(z[e]) > m ? fabsf(z[e]) : m;
        if (ranks[e] > -INFINITY && !((m - z[e]) / factor > 2 * layer->jitter)) {
            sum += expf(z[e] - m);
        }
    }
    return 1 / sum;
}

// No default: the compiler asks for a new rule. Whether the rule stops before a choice of that rank, the scores taken so far having
// this sum.
static int stops(const Layer *layer, float rank, float sum) {
    switch ((Selection)layer->selection) {
    case SELECTION_THRESHOLD: return !(rank > layer->threshold);
    case SELECTION_TOP_P: return sum >= layer->top_p;
    case SELECTION_TOP_K:
    case SELECTION_SPARSEMIXER:
    case SELECTION_COUNT: break;
    }
    return 0;
}

// Takes the head of the ranking; what is taken leaves it. Returns the number of choices.
static int64_t take_best(const Layer *layer, const float *z, const float *scores, int64_t k, float *ranks, int32_t *experts,
                         float *weights) {
    float sum = 0;
    for (int64_t s = 0; s < k; s++) {
        int32_t best = best_of(ranks, layer_choices(layer));
        if (ranks[best] == -INFINITY || stops(layer, ranks[best], sum)) {
            return s;
        }
        experts[s] = best;
        weights[s] = layer->selection == SELECTION_SPARSEMIXER ? sparsemixer_weight(layer, z, ranks, best) : scores[best];
        sum += weights[s];
        ranks[best] = -INFINITY;
    }
    return k;
}

// All above the threshold, in ascending order.
static int64_t take_all(const Layer *layer, const float *scores, const float *ranks, int32_t *experts, float *weights) {
    int64_t count = 0;
    for (int32_t e = 0; e < layer_choices(layer); e++) {
        if (ranks[e] > layer->threshold) {
            experts[count] = e;
            weights[count++] = scores[e];
        }
    }
    return count;
}

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

static void normalise(const Layer *layer, int64_t count, float *weights) {
    float norm = norm_of(layer, count, weights), eps = layer->normalize_eps;
    float divisor = layer->normalize_clamp ? fmaxf(norm, eps) : norm + eps;
    for (int64_t s = 0; s < count; s++) {
        weights[s] = divisor == 0 ? 0 : weights[s] / divisor;  // no NaN where all scores are 0
    }
}

void fast_choose_row(const Layer *layer, const float *logits, const float *correction, int64_t k, float *ranks, int32_t *experts,
                     float *weights) {
    float *scores = ranks + layer_choices(layer), *groups = scores + layer_choices(layer);
    int all = layer->selection == SELECTION_THRESHOLD && k == layer_choices(layer);
    score_row(layer, logits, scores);
    rank_row(layer, logits, correction, scores, groups, ranks);
    int64_t count =
        all ? take_all(layer, scores, ranks, experts, weights) : take_best(layer, logits, scores, k, ranks, experts, weights);
    if (layer->normalize) {
        normalise(layer, count, weights);
    }
    for (int64_t s = 0; s < layer->top_k; s++) {
        experts[s] = s < count ? experts[s] : -1;
        weights[s] = s < count ? weights[s] * layer->scale : 0;
    }
}
