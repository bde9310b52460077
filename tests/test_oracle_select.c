// The oracle's routers: every rule against numbers that PyTorch (2.15, in double; sparsemixer and the groups of DeepSeek by the
// code of transformers 5.23) gives for one row of logits, what must be noticed about a library's choices, and what may not be
// held against them.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/oracle/oracle.h"
#include "compiler/oracle/steps.h"
#include "fixture.h"
#include "suites.h"

enum { POOL = 8 };

// The router's matrix is the identity, so these are logits.
static const float logits[POOL] = {0.5f, -1.25f, 2, 1.75f, -0.5f, 1, 0.25f, -3};
static const float corrections[POOL] = {0, 0.5f, -0.25f, 0, 0.375f, 0, 0, 0.25f};

typedef struct Row {
    const char *name;
    Layer layer;
    int count;  // of choices
    int32_t experts[POOL];
    double weights[POOL];
} Row;

#define LAYER(k, ...) \
    {.hidden = POOL, .iterations = 1, .experts = POOL, .intermediate = 1, .top_k = k, .activation = ACTIVATION_RELU, __VA_ARGS__}

static const Row rows[] = {
    {"softmax", LAYER(3, .score = SCORE_SOFTMAX), 3, {2, 3, 5}, {0.37436617728970667, 0.29155667202867197, 0.13772162009482639}},
    {"sigmoid", LAYER(2, .score = SCORE_SIGMOID), 2, {2, 3}, {0.8807970779778823, 0.8519528019683106}},
    {"sigmoid, corrected",
     LAYER(3, .score = SCORE_SIGMOID, .correction = 1),
     3,
     {3, 4, 5},
     {0.8519528019683106, 0.3775406687981454, 0.7310585786300049}},
    {"sqrtsoftplus, l_2",
     LAYER(2, .score = SCORE_SQRTSOFTPLUS, .normalize = 1, .normalize_p = 2),
     2,
     {2, 3},
     {0.7258365543377986, 0.6878672083963825}},
    {"clamped divisor",
     LAYER(2, .score = SCORE_SIGMOID, .normalize = 1, .normalize_clamp = 1, .normalize_eps = 5),
     2,
     {2, 3},
     {0.17615941559557646, 0.17039056039366213}},
    {"norm of 0, no eps",  // the corrected ones are those whose scores are 0
     LAYER(3, .score = SCORE_RELU, .correction = 1, .logit_scale = 0.125f, .normalize = 1),
     3,
     {1, 4, 7},
     {0, 0, 0}},
    {"clamped norm of 0, no eps",
     LAYER(3, .score = SCORE_RELU, .correction = 1, .logit_scale = 0.125f, .normalize = 1, .normalize_p = 2, .normalize_clamp = 1),
     3,
     {1, 4, 7},
     {0, 0, 0}},
    {"softcap and scale", LAYER(2, .logit_scale = 2, .softcap = 3), 2, {2, 3}, {0.37787428836098414, 0.32831664419914686}},
    {"ranked by logits", LAYER(2, .score = SCORE_RELU, .rank = RANK_LOGIT), 2, {2, 3}, {2, 1.75}},
    {"groups as DeepSeek-V3",
     LAYER(3, .score = SCORE_SIGMOID, .correction = 1, .groups = 4, .top_groups = 2, .group_score = GROUP_TOP2_SUM,
           .group_mask = MASK_ZERO, .normalize = 1, .scale = 2.5f),
     3,
     {3, 4, 5},
     {1.0863685080824261, 0.4814213793946048, 0.9322101125229689}},
    {"groups as DeepSeek-V2",
     LAYER(3, .groups = 4, .top_groups = 2),
     3,
     {2, 3, 5},
     {0.37436617728970667, 0.29155667202867197, 0.13772162009482639}},
    {"groups that exclude a better expert",
     LAYER(2, .groups = 2, .top_groups = 1, .rank = RANK_LOGIT, .logit_scale = -1, .score = SCORE_SIGMOID),
     2,
     {7, 4},
     {0.9525741268224334, 0.6224593312018546}},
    {"mask of 0 above what remains",  // of group {6, 7} -0.25: the others' zeros rank higher, and tie
     LAYER(2, .groups = 4, .top_groups = 1, .group_mask = MASK_ZERO, .rank = RANK_LOGIT, .logit_scale = -1, .softcap = 4),
     2,
     {7, 0},
     {0.640742541500404, 0.030710969647426832}},
    {"relu above 0",
     LAYER(POOL, .score = SCORE_RELU, .selection = SELECTION_THRESHOLD),
     5,
     {0, 2, 3, 5, 6},
     {0.5, 2, 1.75, 1, 0.25}},
    {"threshold with a limit",
     LAYER(3, .score = SCORE_RELU, .selection = SELECTION_THRESHOLD, .threshold = 0.25f),
     3,
     {2, 3, 5},
     {2, 1.75, 1}},
    {"threshold that few reach",
     LAYER(3, .score = SCORE_RELU, .selection = SELECTION_THRESHOLD, .threshold = 1.5f),
     2,
     {2, 3},
     {2, 1.75}},
    {"threshold that none reaches", LAYER(3, .score = SCORE_RELU, .selection = SELECTION_THRESHOLD, .threshold = 3), 0, {0}, {0}},
    {"threshold on corrected scores",
     LAYER(POOL, .score = SCORE_SIGMOID, .correction = 1, .selection = SELECTION_THRESHOLD, .threshold = 0.7f),
     4,
     {1, 3, 4, 5},
     {0.22270013882530884, 0.8519528019683106, 0.3775406687981454, 0.7310585786300049}},
    {"top-p",
     LAYER(POOL, .selection = SELECTION_TOP_P, .top_p = 0.7f),
     3,
     {2, 3, 5},
     {0.37436617728970667, 0.29155667202867197, 0.13772162009482639}},
    {"top-p of the first", LAYER(POOL, .selection = SELECTION_TOP_P, .top_p = 0.3f), 1, {2}, {0.37436617728970667}},
    {"top-p with a limit",
     LAYER(2, .selection = SELECTION_TOP_P, .top_p = 0.9f),
     2,
     {2, 3},
     {0.37436617728970667, 0.29155667202867197}},
    {"sparsemixer, jitter 0.1", LAYER(2, .selection = SELECTION_SPARSEMIXER, .jitter = 0.1f), 2, {2, 3}, {0.5622, 1.0}},
    {"sparsemixer, jitter 0.3", LAYER(2, .selection = SELECTION_SPARSEMIXER, .jitter = 0.3f), 2, {2, 3}, {0.4658, 0.6792}},
};
enum { ROWS = sizeof rows / sizeof *rows };

// One token of one layer.
typedef struct Router {
    Layer layer;
    OracleWeights weights;
    float x[POOL], given_weights[POOL];
    int32_t experts[POOL];
    double y[POOL], bound[POOL];
    int32_t k;
} Router;

static Router router_make(const Layer *layer) {
    Router r = {.layer = fixture_neutral(*layer), .k = (int32_t)layer->top_k};
    ck_assert_int_eq(oracle_weights_allocate(layer, &r.weights), 0);
    for (int e = 0; e < POOL; e++) {
        r.weights.router[e * POOL + e] = 1;
        r.x[e] = logits[e];
        if (layer->correction) {
            r.weights.correction[e] = corrections[e];
        }
    }
    return r;
}

// The oracle's own choices.
static void router_route(Router *r) {
    OracleGiven given = {.k = &r->k};
    OracleOutput out = {.y = r->y, .bound = r->bound, .experts = r->experts, .weights = r->given_weights};
    ck_assert_int_eq(oracle_forward(&r->layer, &r->weights, 1, r->x, &given, ERROR_WORST, &out), 0);
}

static OracleChecks router_check(Router *r) {
    OracleGiven given = {r->experts, r->given_weights, 1, &r->k};
    OracleOutput out = {.y = r->y, .bound = r->bound};
    ck_assert_int_eq(oracle_forward(&r->layer, &r->weights, 1, r->x, &given, ERROR_WORST, &out), 0);
    return out.checks;
}

static int slots_used(const Router *r) {
    int count = 0;
    while (count < r->layer.top_k && r->experts[count] >= 0) {
        count++;
    }
    return count;
}

START_TEST(test_rules) {
    const Row *row = &rows[_i];
    Router r = router_make(&row->layer);
    router_route(&r);
    ck_assert_msg(slots_used(&r) == row->count, "%s: %d choices, not %d", row->name, slots_used(&r), row->count);
    for (int s = 0; s < row->layer.top_k; s++) {
        double weight = s < row->count ? row->weights[s] : 0;
        ck_assert_msg(r.experts[s] == (s < row->count ? row->experts[s] : -1), "%s: slot %d holds expert %d", row->name, s,
                      r.experts[s]);
        ck_assert_msg(fabs(r.given_weights[s] - weight) <= 1e-4 * weight, "%s: slot %d has weight %.9g, not %.9g", row->name, s,
                      (double)r.given_weights[s], weight);
    }
    OracleChecks checks = router_check(&r);
    ck_assert_msg(checks.violations == 0, "%s: %s", row->name, checks.first);
    int zeros_tie = row->layer.group_mask == MASK_ZERO && !row->layer.correction;
    ck_assert_msg(checks.near_ties == zeros_tie, "%s", row->name);
    oracle_weights_free(&r.weights);
}
END_TEST

// Ways to falsify a row's choices; each returns whether the row has what it takes.
static int32_t left_out(const Router *r) {
    int32_t e = 0;
    for (int s = 0; s < slots_used(r); s++) {
        s = r->experts[s] == e ? (e++, -1) : s;
    }
    return e;
}

static int drop_last(Router *r) {
    int last = slots_used(r) - 1;
    if (last >= 0) {
        r->experts[last] = -1;
        r->given_weights[last] = 0;
    }
    return last >= 0;
}

static int add_one(Router *r) {
    int next = slots_used(r);
    if (next < r->layer.top_k) {
        r->experts[next] = left_out(r);
        r->given_weights[next] = r->layer.score == SCORE_RELU ? fmaxf(logits[left_out(r)], 0) : 0.1f;
    }
    return next < r->layer.top_k;
}

static int replace_first(Router *r) {
    if (slots_used(r)) {
        r->experts[0] = left_out(r);
    }
    return r->experts[0] >= 0;
}

static int swap_two(Router *r) {
    int32_t expert = r->experts[0];
    float weight = r->given_weights[0];
    if (slots_used(r) < 2) {
        return 0;
    }
    r->experts[0] = r->experts[1];
    r->experts[1] = expert;
    r->given_weights[0] = r->given_weights[1];
    r->given_weights[1] = weight;
    return 1;
}

static int spoil_weight(Router *r) {
    r->given_weights[0] += r->given_weights[0] != 0 ? 1e-4f * r->given_weights[0] : 1e-4f;
    return slots_used(r) > 0;
}

static int leave_weight(Router *r) {
    int next = slots_used(r);
    if (next < r->layer.top_k) {
        r->given_weights[next] = 0.125f;
    }
    return next < r->layer.top_k;
}

static int leave_gap(Router *r) {
    if (slots_used(r) < 2) {
        return 0;
    }
    r->experts[0] = -1;
    r->given_weights[0] = 0;
    return 1;
}

static int ask_for_fewer(Router *r) {
    r->k = slots_used(r) - 1;
    return r->k >= 0 && r->layer.selection == SELECTION_TOP_K;
}

static int (*const ways[])(Router *) = {drop_last,    add_one,   replace_first, swap_two,
                                        spoil_weight, leave_gap, leave_weight,  ask_for_fewer};
enum { WAYS = sizeof ways / sizeof *ways };

START_TEST(test_notices) {
    const Row *row = &rows[_i / WAYS];
    Router r = router_make(&row->layer);
    router_route(&r);
    if (ways[_i % WAYS](&r)) {
        ck_assert_msg(router_check(&r).violations > 0, "%s, way %d", row->name, _i % (int)WAYS);
    }
    oracle_weights_free(&r.weights);
}
END_TEST

// Both outcomes of a decision that errors leave open are right, and counted.
static void assert_open(Router *r, int count, const int32_t *experts) {
    const int32_t all[] = {0, 1, 2, 3, 4, 5, 6, 7};
    Layer layer = r->layer;
    float scores[POOL];
    r->layer.selection = SELECTION_TOP_K;  // the scores of all choices, from the oracle itself
    r->layer.top_k = r->k = POOL;
    r->layer.groups = 0;
    router_route(r);
    for (int s = 0; s < POOL; s++) {
        scores[r->experts[s]] = r->given_weights[s];
    }
    r->layer = layer;
    r->k = (int32_t)layer.top_k;
    for (int s = 0; s < layer.top_k; s++) {
        r->experts[s] = s < count ? all[experts[s]] : -1;
        r->given_weights[s] = s < count ? scores[experts[s]] : 0;
    }
    OracleChecks checks = router_check(r);
    ck_assert_msg(checks.violations == 0, "%s", checks.first);
    ck_assert_int_eq(checks.near_ties, 1);
}

static const float above_two = 2 * (1 + 0x1p-23f);  // closer than the error of a sum of eight terms

START_TEST(test_open_ranking) {
    Router r = router_make(&(Layer)LAYER(1, .score = SCORE_SIGMOID));
    r.x[5] = above_two;
    assert_open(&r, 1, (int32_t[]){2});
    assert_open(&r, 1, (int32_t[]){5});
    oracle_weights_free(&r.weights);
}
END_TEST

START_TEST(test_open_groups) {
    for (GroupScore score = GROUP_MAX; score < GROUP_SCORE_COUNT; score++) {
        Router r = router_make(&(Layer)LAYER(1, .groups = 2, .top_groups = 1, .group_score = (int32_t)score));
        memcpy(r.x, (float[]){0.5f, -1, 2, 1, above_two, 1, 0.25f, -3}, sizeof r.x);
        assert_open(&r, 1, (int32_t[]){2});
        assert_open(&r, 1, (int32_t[]){4});
        r.layer.top_k = 2;  // not both: one of the groups lost
        r.k = 2;
        memcpy(r.experts, (int32_t[]){2, 4}, 2 * sizeof *r.experts);
        ck_assert_int_gt(router_check(&r).violations, 0);
        oracle_weights_free(&r.weights);
    }
}
END_TEST

// Rules that rank by logits alone do so whatever the score is.
START_TEST(test_logits_alone) {
    Layer layer = {.experts = 4, .top_k = 1, .score = SCORE_RELU, .selection = _i};
    ck_assert_int_eq(oracle_ranks_by_logits(&layer), selection_facts[_i].logits_alone);
}
END_TEST

START_TEST(test_open_threshold) {
    Router r = router_make(&(Layer)LAYER(POOL, .score = SCORE_RELU, .selection = SELECTION_THRESHOLD, .threshold = 1.75f));
    r.x[5] = 1.75f * (1 + 0x1p-23f);
    assert_open(&r, 2, (int32_t[]){2, 5});
    assert_open(&r, 1, (int32_t[]){2});
    assert_open(&r, 3, (int32_t[]){2, 3, 5});
    oracle_weights_free(&r.weights);
}
END_TEST

START_TEST(test_open_sum) {
    Router r = router_make(&(Layer)LAYER(POOL, .selection = SELECTION_TOP_P, .top_p = 0.6659228493183786f));
    assert_open(&r, 2, (int32_t[]){2, 3});
    assert_open(&r, 3, (int32_t[]){2, 3, 5});
    oracle_weights_free(&r.weights);
}
END_TEST

// (2 - 1.75) / 2 is 2 jitter: whether the second expert counts in the first one's sum is open.
START_TEST(test_open_sparsemixer) {
    Router r = router_make(&(Layer)LAYER(2, .selection = SELECTION_SPARSEMIXER, .jitter = 0.0625f));
    router_route(&r);
    ck_assert_float_eq_tol(r.given_weights[0], 1 / (1 + expf(-0.25f)), 1e-6f);
    r.given_weights[0] = 1;
    ck_assert_int_eq(router_check(&r).violations, 0);
    r.given_weights[0] = 0.1f;
    ck_assert_int_gt(router_check(&r).violations, 0);
    oracle_weights_free(&r.weights);
}
END_TEST

// Scores that may or may not underflow, and no eps: weights of a norm of 0 are 0, others at most 1, and none is NaN.
START_TEST(test_open_norm) {
    static const float powers[] = {1, 2, 64}, given[] = {0, 0.25f, 1, NAN, INFINITY, 1.01f};
    for (size_t i = 0; i < 18; i++) {
        Router r = router_make(&(Layer)LAYER(2, .score = SCORE_SIGMOID, .normalize = 1, .normalize_p = powers[i / 6]));
        for (int e = 0; e < POOL; e++) {
            r.x[e] = (float)(-200 - e);
        }
        r.experts[0] = 0;
        r.experts[1] = 1;
        r.given_weights[0] = given[i % 6];
        ck_assert_msg((router_check(&r).violations > 0) == (i % 6 >= 3), "p %g: %g", (double)powers[i / 6], (double)given[i % 6]);
        oracle_weights_free(&r.weights);
    }
}
END_TEST

// The powers of small scores vanish, their norm does not.
START_TEST(test_small_scores) {
    Router r = router_make(&(Layer)LAYER(2, .score = SCORE_SIGMOID, .normalize = 1, .normalize_p = 64));
    for (int e = 0; e < POOL; e++) {
        r.x[e] = (float)(-20 - e);
    }
    router_route(&r);
    ck_assert(fabsf(r.given_weights[0] - 1) < 1e-6f && fabsf(r.given_weights[1] - 0.36787944f) < 1e-6f);
    ck_assert_int_eq(router_check(&r).violations, 0);
    r.given_weights[1] *= 1.01f;
    ck_assert_int_gt(router_check(&r).violations, 0);
    oracle_weights_free(&r.weights);
}
END_TEST

// Scores that rounding ties: sigmoids of 30 and 40 are 1. Ranked by logits the second comes first, by scores the first.
START_TEST(test_saturated_scores) {
    Router r = router_make(&(Layer)LAYER(1, .score = SCORE_SIGMOID));
    memcpy(r.x, (float[]){0, 30, 0, 40, 0, 0, 0, 0}, sizeof r.x);
    r.given_weights[0] = 1;
    for (int32_t e = 0; e < POOL; e++) {
        r.experts[0] = e;
        ck_assert_msg((router_check(&r).violations > 0) == (e != 1 && e != 3), "expert %d", e);
    }
    oracle_weights_free(&r.weights);
}
END_TEST

// k as given: from none to all.
START_TEST(test_k_per_token) {
    Router r = router_make(&(Layer)LAYER(POOL, .k_per_token = 1, .k_min = 0));
    for (int32_t k = 0; k <= POOL; k++) {
        r.k = k;
        router_route(&r);
        ck_assert_int_eq(slots_used(&r), k);
        OracleChecks checks = router_check(&r);
        ck_assert_msg(checks.violations == 0 && checks.rejected == 0, "%d: %s", k, checks.first);
    }
    oracle_weights_free(&r.weights);
}
END_TEST

// Synthetic weights of layers with a threshold: about expected_k choices of 64 are above it.
START_TEST(test_synthetic_threshold) {
    enum { TOKENS = 200, WIDE = 64, WANTED = 8 };
    static const struct {
        Score score;
        float threshold;
    } kinds[] = {{SCORE_RELU, 0}, {SCORE_RELU, 0.5f}, {SCORE_SIGMOID, 0.5f}, {SCORE_SQRTSOFTPLUS, 0.8f}};
    Layer layer = fixture_neutral((Layer){.hidden = 96,
                                          .iterations = 1,
                                          .experts = WIDE,
                                          .intermediate = 1,
                                          .top_k = WIDE,
                                          .expected_k = WANTED,
                                          .norm = _i % 2 ? NORM_RMS : NORM_NONE,
                                          .router_bias = _i % 3 == 0,
                                          .score = (int32_t)kinds[_i % 4].score,
                                          .selection = SELECTION_THRESHOLD,
                                          .threshold = kinds[_i % 4].threshold});
    Kind kind = fixture_kind(&layer, "generic");
    size_t bytes;
    void *image = fixture_image(&kind, (uint64_t)_i, &bytes);
    float *x = fixture_tokens(&kind.plan, TOKENS, 5), *weights = calloc(TOKENS * WIDE, sizeof *weights);
    int32_t *experts = calloc(TOKENS * WIDE, sizeof *experts);
    OracleWeights plain;
    ck_assert_int_eq(oracle_weights_allocate(&layer, &plain), 0);
    oracle_weights_unpack(&kind.plan, packed_image_instance(image, 0, 0), &plain);
    OracleOutput out = {.y = calloc(TOKENS * 96, sizeof(double)),
                        .bound = calloc(TOKENS * 96, sizeof(double)),
                        .experts = experts,
                        .weights = weights};
    ck_assert_int_eq(oracle_forward(&layer, &plain, TOKENS, x, NULL, ERROR_WORST, &out), 0);
    int64_t active = 0;
    for (int64_t i = 0; i < TOKENS * WIDE; i++) {
        active += experts[i] >= 0;
    }
    double mean = (double)active / (double)TOKENS;
    ck_assert_msg(mean > 0.8 * (double)WANTED && mean < 1.2 * (double)WANTED, "%g on average", mean);
    oracle_weights_free(&plain);
    free(out.y);
    free(out.bound);
    free(experts);
    free(weights);
    free(x);
    free(image);
}
END_TEST

Suite *suite_oracle_select(void) {
    Suite *suite = suite_create("oracle_select");
    TCase *cases = tcase_create("routers");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, test_rules, 0, ROWS);
    tcase_add_loop_test(cases, test_notices, 0, ROWS * WAYS);
    tcase_add_test(cases, test_open_ranking);
    tcase_add_test(cases, test_open_groups);
    tcase_add_test(cases, test_open_threshold);
    tcase_add_loop_test(cases, test_logits_alone, 0, SELECTION_COUNT);
    tcase_add_test(cases, test_open_sum);
    tcase_add_test(cases, test_open_sparsemixer);
    tcase_add_test(cases, test_open_norm);
    tcase_add_test(cases, test_small_scores);
    tcase_add_test(cases, test_saturated_scores);
    tcase_add_test(cases, test_k_per_token);
    tcase_add_loop_test(cases, test_synthetic_threshold, 0, 12);
    suite_add_tcase(suite, cases);
    return suite;
}
