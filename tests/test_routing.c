// What routers are made of (templates/score.h, ranking.h, select*.h, weigh.h, math.h), against scalar code on numbers with ties,
// infinities and NaN: sizes bracket the vector length. Whole layers are in test_layer.c.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/measure/synthetic.h"
#include "compiler/opponent/opponent.h"
#include "suites.h"
#include "templates/up.h"
#include "templates/weigh.h"

enum { MOST = 96, ROUNDS = 400 };

static double random_unit(uint64_t *state) {
    return (double)(synthetic_next(state) >> 11) * 0x1p-53;
}

// --- functions ---------------------------------------------------------------------------------------------------------------

// Error in units in the last place of fp32.
static double ulps(float found, double due) {
    int exponent;
    frexp(due, &exponent);
    return fabs(found - due) / ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

static double softplus(double x) {
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double sqrtsoftplus(double x) {
    return sqrt(softplus(x));
}

static Vector found_sqrtsoftplus(Vector z) {
    return score_sqrtsoftplus(z, (ScoreWhole){0, 0});
}

// The bounds that math.h and score.h state.
static const struct {
    const char *name;
    Vector (*found)(Vector);
    double (*due)(double);
    double low, high, ulps;
} functions[] = {
    {"exp", vector_exp, exp, -87, 88, 2},
    {"log", vector_log, log, 1.2e-38, 1e-30, 2},
    {"log", vector_log, log, 0.4, 3, 2},
    {"log", vector_log, log, 3, 1e30, 2},
    {"softplus", vector_softplus, softplus, -80, 80, 4},
    {"softplus", vector_softplus, softplus, -1, 1, 4},
    {"tanh", vector_tanh, tanh, -12, 12, 3},
    {"tanh", vector_tanh, tanh, -0.7, 0.7, 3},
    {"sigmoid", vector_sigmoid, sigmoid, -80, 80, 4},
    {"sqrtsoftplus", found_sqrtsoftplus, sqrtsoftplus, -170, 100, 4},
    {"sqrtsoftplus", found_sqrtsoftplus, sqrtsoftplus, -20, 20, 4},
};

START_TEST(test_function_bounds) {
    uint64_t state = 1;
    for (int i = 0; i < 20000; i++) {
        float x = (float)(functions[_i].low + (functions[_i].high - functions[_i].low) * random_unit(&state));
        float found = functions[_i].found(vector_set(x))[i % LANES];
        double error = ulps(found, functions[_i].due(x));
        ck_assert_msg(error < functions[_i].ulps, "%s(%.9g) = %.9g is off by %.2f units in the last place", functions[_i].name,
                      (double)x, (double)found, error);
    }
}
END_TEST

START_TEST(test_function_limits) {
    const float infinite = __builtin_inff();
    ck_assert(vector_log(vector_set(0))[3] == -infinite && vector_log(vector_set(1))[3] == 0);
    ck_assert(vector_tanh(vector_set(infinite))[3] == 1 && vector_tanh(vector_set(-1e30f))[3] == -1);
    ck_assert(isnan(vector_tanh(vector_set(NAN))[3]));
    for (int score = 0; score < SCORE_COUNT; score++) {  // of choices that do not exist
        ck_assert(score_apply((Score)score, vector_set(-infinite), (ScoreWhole){1, 2})[3] == 0);
    }
}
END_TEST

// --- ranking -----------------------------------------------------------------------------------------------------------------

// Random ranks with ties and values that are never the best; minus infinity from `count` on. Returns the width.
static int64_t random_ranks(uint64_t *state, int64_t count, float *ranks) {
    int64_t width = plan_round_up(count, LANES);
    for (int64_t e = 0; e < width; e++) {
        uint64_t kind = synthetic_next(state) >> 40;
        float value = (float)(kind >> 8 & 15) - 8;
        ranks[e] = e >= count || kind % 23 == 0 ? -__builtin_inff() : kind % 29 == 0 ? NAN : value;
    }
    return width;
}

static int64_t scalar_best(const float *ranks, int64_t count) {
    int64_t best = -1;
    for (int64_t e = 0; e < count; e++) {
        if (ranks[e] > (best < 0 ? -__builtin_inff() : ranks[best])) {
            best = e;
        }
    }
    return best;
}

START_TEST(test_best) {
    static const int64_t counts[] = {1, 2, 15, 16, 17, 31, 32, 33, 64, 96};
    uint64_t state = 5;
    for (int round = 0; round < ROUNDS; round++) {
        float ranks[MOST];
        int64_t count = counts[round % 10], width = random_ranks(&state, count, ranks);
        for (int64_t taken = 0, best = 0; taken <= count && best >= 0; taken++) {
            best = ranking_best(ranks, width);
            ck_assert_int_eq(best, scalar_best(ranks, count));
            if (best >= 0) {
                ranking_remove(ranks, best);
            }
        }
    }
}
END_TEST

// The scalar form: a group's two best by sorting out, groups by their scores, one after the other.
static void scalar_limit_groups(const Layer *layer, float *ranks) {
    int64_t groups = layer->groups, size = layer_choices(layer) / groups;
    int kept[MOST] = {0};
    for (int64_t i = 0; i < layer->top_groups; i++) {
        int64_t best = -1;
        double best_score = 0;
        for (int64_t g = 0; g < groups; g++) {
            double first = -INFINITY, second = -INFINITY;
            for (int64_t e = g * size; e < (g + 1) * size; e++) {
                second = fmax(second, fmin(first, ranks[e]));
                first = fmax(first, ranks[e]);
            }
            double score = fmax(layer->group_score == GROUP_MAX ? first : first + second, -FLT_MAX);
            if (!kept[g] && (best < 0 || score > best_score)) {
                best = g;
                best_score = score;
            }
        }
        kept[best] = 1;
    }
    for (int64_t e = 0; e < groups * size; e++) {
        ranks[e] = kept[e / size] ? ranks[e] : layer->group_mask == MASK_ZERO ? 0 : -__builtin_inff();
    }
}

START_TEST(test_groups) {
    static const int64_t sizes[][2] = {{2, 1}, {3, 2}, {4, 15}, {3, 16}, {5, 17}, {2, 33}, {17, 3}, {40, 2}};  // groups, size
    uint64_t state = 6;
    for (int round = 0; round < ROUNDS; round++) {
        const int64_t *shape = sizes[round % 8];
        Layer layer = {.experts = shape[0] * shape[1],
                       .groups = shape[0],
                       .top_groups = 1 + (int64_t)(synthetic_next(&state) % (uint64_t)shape[0]),
                       .group_score = shape[1] > 1 ? round / 8 % 2 : GROUP_MAX,
                       .group_mask = round / 16 % 2};
        float ranks[MOST + LANES] = {0}, expected[MOST], scores[MOST];
        int64_t width = random_ranks(&state, layer.experts, ranks);
        for (int64_t e = 0; e < width; e++) {
            ranks[e] = isnan(ranks[e]) ? 0 : ranks[e];
        }
        memcpy(expected, ranks, sizeof expected);
        Ranking ranking = {.ranks = ranks, .width = width};
        ranking_limit_groups(&ranking, &layer, scores);
        scalar_limit_groups(&layer, expected);
        ck_assert_mem_eq(ranks, expected, (size_t)width * sizeof *ranks);
    }
}
END_TEST

// --- rules -------------------------------------------------------------------------------------------------------------------

// One token's logits, scores and ranks.
typedef struct Token {
    float logits[MOST], scores[MOST], ranks[MOST];
    int32_t experts[MOST];
    float weights[MOST];
    Ranking ranking;
} Token;

static Token *token_create(const Layer *layer, uint64_t *state) {
    Token *t = calloc(1, sizeof *t);
    int64_t count = layer_choices(layer), width = plan_round_up(count, LANES);
    for (int64_t e = 0; e < width; e++) {
        t->logits[e] = e < count ? (float)(6 * random_unit(state) - 3) : -__builtin_inff();
    }
    ScoreWhole whole = score_whole((Score)layer->score, t->logits, width);
    for (int64_t e = 0; e < width; e++) {
        t->scores[e] = score_apply((Score)layer->score, vector_set(t->logits[e]), whole)[0];
        t->ranks[e] = e < count && select_ranks_scores(layer) ? t->scores[e] : t->logits[e];
    }
    t->ranking = (Ranking){t->logits, t->scores, t->ranks, width, layer->top_k, t->experts, t->weights, NULL, NULL};
    return t;
}

START_TEST(test_threshold) {
    uint64_t state = 7;
    for (int round = 0; round < ROUNDS; round++) {
        Layer layer = {
            .experts = 1 + round % MOST, .top_k = 1 + round % MOST, .selection = SELECTION_THRESHOLD, .score = SCORE_SIGMOID};
        layer.threshold = (float)random_unit(&state);
        layer.top_k = round % 3 ? layer.top_k : (layer.top_k + 1) / 2;
        Token *t = token_create(&layer, &state);
        int64_t chosen = select_apply(&t->ranking, &layer), above = 0;
        for (int64_t e = 0; e < layer.experts; e++) {
            above += t->scores[e] > layer.threshold;
        }
        ck_assert_int_eq(chosen, above < layer.top_k ? above : layer.top_k);
        for (int64_t s = 0; s < chosen; s++) {
            float score = t->scores[t->experts[s]];
            ck_assert(score > layer.threshold);
            if (s && layer.top_k == layer.experts) {
                ck_assert_int_gt(t->experts[s], t->experts[s - 1]);
            } else if (s) {
                ck_assert(score <= t->scores[t->experts[s - 1]]);
            }
        }
        free(t);
    }
}
END_TEST

START_TEST(test_top_p) {
    uint64_t state = 8;
    for (int round = 0; round < ROUNDS; round++) {
        Layer layer = {
            .experts = 1 + round % MOST, .top_k = 1 + round % MOST, .selection = SELECTION_TOP_P, .score = SCORE_SOFTMAX};
        layer.top_p = (float)random_unit(&state) + 1e-3f;
        layer.top_k = round % 3 ? layer.top_k : (layer.top_k + 1) / 2;
        Token *t = token_create(&layer, &state);
        int64_t chosen = select_apply(&t->ranking, &layer);
        float sum = 0;
        for (int64_t s = 0; s < chosen; s++) {
            ck_assert(sum < layer.top_p);  // no longer than it must be
            sum += t->scores[t->experts[s]];
            ck_assert(!s || t->scores[t->experts[s]] <= t->scores[t->experts[s - 1]]);
        }
        ck_assert(chosen >= 1 && (sum >= layer.top_p || chosen == layer.top_k));
        free(t);
    }
}
END_TEST

// Against transformers' form (modeling_phimoe.py), in double: masks by the original logits, softmax over those left.
START_TEST(test_sparsemixer) {
    uint64_t state = 9;
    for (int round = 0; round < ROUNDS; round++) {
        Layer layer = {
            .experts = 3 + round % 40, .top_k = 3, .selection = SELECTION_SPARSEMIXER, .score = SCORE_SOFTMAX, .jitter = 0.13f};
        Token *t = token_create(&layer, &state);
        ck_assert_int_eq(select_apply(&t->ranking, &layer), 3);
        for (int s = 0; s < 3; s++) {
            double best = t->logits[t->experts[s]], sum = 0;
            for (int64_t e = 0; e < layer.experts; e++) {
                double z = t->logits[e], far = (best - z) / fmax(fabs(z), best);
                int gone = (s > 0 && t->experts[0] == e) || (s > 1 && t->experts[1] == e);
                ck_assert(gone || z <= best);
                sum += gone || far > 2 * (double)layer.jitter ? 0 : exp(z - best);
            }
            ck_assert_msg(fabs(t->weights[s] * sum - 1) < 1e-5, "round %d, slot %d: %.9g, not %.9g", round, s,
                          (double)t->weights[s], 1 / sum);
        }
        free(t);
    }
}
END_TEST

// Rules that rank by logits alone do so whatever the score is: of negative logits relu makes a tie, which the first would win.
START_TEST(test_logits_alone) {
    static const float logits[] = {-3, -1, -2, -4};
    Layer layer = {.experts = 4, .top_k = 1, .selection = _i, .score = SCORE_RELU, .jitter = 0.1f, .scale = 1};
    float ranks[3 * 4], weight;
    int32_t expert;
    if (selection_facts[_i].logits_alone) {
        opponent_choose_row(&layer, logits, NULL, 1, ranks, &expert, &weight);
        ck_assert_int_eq(expert, 1);
        ck_assert(!select_ranks_scores(&layer));
    }
}
END_TEST

// --- weights -----------------------------------------------------------------------------------------------------------------

START_TEST(test_norms) {
    static const float powers[] = {1, 2, 1.5f, 3, 64}, sizes[] = {1, 1e-30f, 1e30f, 1e-3f};
    uint64_t state = 10;
    for (int round = 0; round < ROUNDS; round++) {
        float weights[MOST], p = powers[round % 5], size = sizes[round / 5 % 4];
        double due = 0, largest = 0;
        for (int64_t s = 0; s < round % MOST; s++) {
            weights[s] = (float)random_unit(&state) * size;
            largest = fmax(largest, weights[s]);
        }
        for (int64_t s = 0; s < round % MOST; s++) {
            due += pow(weights[s] / largest, p);
        }
        due = largest * pow(due, 1 / (double)p);
        float found = weigh_norm(weights, round % MOST, p);
        ck_assert_msg(round % MOST ? fabs(found - due) <= 2e-5 * due : found == 0, "p %g: %.9g, not %.9g", (double)p, (double)found,
                      due);
    }
}
END_TEST

// Where all chosen scores are 0 and nothing is added to their norm, weights are 0, not NaN.
START_TEST(test_zero_norm) {
    static const float logits[2][LANES] = {{-1, -2, -3}, {-1, 4, -3}}, due[2][3] = {{0, 0, 0}, {0, 2, 0}};
    for (int round = 0; round < 12; round++) {
        int positive = round % 2;
        Layer layer = {.experts = 3,
                       .top_k = 3,
                       .score = SCORE_RELU,
                       .normalize = 1,
                       .normalize_p = (const float[]){1, 2, 64}[round / 4],
                       .normalize_clamp = round / 2 % 2,
                       .scale = 2};
        int32_t experts[] = {0, 1, 2};
        float weights[] = {9, 9, 9};
        Ranking ranking = {.logits = logits[positive], .width = LANES, .most = 3, .experts = experts, .weights = weights};
        weigh_chosen(&ranking, &layer, (ScoreWhole){0, 0}, 3);
        for (int s = 0; s < 3; s++) {
            ck_assert_msg(fabs((double)weights[s] - (double)due[positive][s]) < 1e-6, "p %g: %g", (double)layer.normalize_p,
                          (double)weights[s]);
        }
    }
}
END_TEST

static float gated(float gate, float up) {
    return up_gate(vector_set(gate), vector_set(up), 2)[5];
}

START_TEST(test_clamps_keep_nan) {
    Layer *layer = &layer_plan.layer;
    layer->activation = ACTIVATION_RELU;
    layer->up_offset = 1;
    ck_assert(gated(9, 9) == 6 && gated(9, -9) == -2);
    layer->activation = ACTIVATION_SILU;
    layer->slope = 1;
    ck_assert(isnan(gated(NAN, 1)) && isnan(gated(1, NAN)));
    layer->gate_softcap = layer->up_softcap = 1.5f;
    ck_assert(isnan(gated(NAN, 1)) && isnan(gated(1, NAN)));
    layer->limit_place = LIMIT_AFTER_ACTIVATION;
    ck_assert(isnan(gated(NAN, 1)) && isnan(gated(1, NAN)));
}
END_TEST

Suite *suite_routing(void) {
    Suite *suite = suite_create("routing");
    TCase *functions_case = tcase_create("functions"), *rules = tcase_create("rules");
    tcase_add_loop_test(functions_case, test_function_bounds, 0, sizeof functions / sizeof *functions);
    tcase_add_test(functions_case, test_function_limits);
    tcase_add_test(rules, test_best);
    tcase_add_test(rules, test_groups);
    tcase_add_test(rules, test_threshold);
    tcase_add_loop_test(rules, test_logits_alone, 0, SELECTION_COUNT);
    tcase_add_test(rules, test_top_p);
    tcase_add_test(rules, test_sparsemixer);
    tcase_add_test(rules, test_norms);
    tcase_add_test(rules, test_zero_norm);
    tcase_add_test(rules, test_clamps_keep_nan);
    suite_add_tcase(suite, functions_case);
    suite_add_tcase(suite, rules);
    return suite;
}
