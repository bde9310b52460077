// The skeleton compiled natively with plain tiles, over random layers: against the oracle, and its promise of equal bits for every
// number of threads, batch, chunk and schedule. The sanitizers see all of templates/ here.
#include <stdlib.h>
#include <string.h>

#include "compiler/measure/synthetic.h"
#include "compiler/plan/text.h"
#include "fixture.h"
#include "suites.h"

enum { RANDOM_LAYERS = 60, TOKENS = 37 };

// What a forward leaves.
typedef struct Outcome {
    char *y;           // [TOKENS][hidden]
    int32_t *experts;  // [iterations][TOKENS][top_k]
    float *weights, *scores;
    size_t y_bytes, slots, score_count;
} Outcome;

static Outcome outcome_create(const Layer *layer) {
    Outcome o = {.y_bytes = (size_t)(TOKENS * layer->hidden) * fixture_element(layer),
                 .slots = (size_t)(layer->iterations * TOKENS * layer->top_k),
                 .score_count = (size_t)(layer->iterations * TOKENS * layer_choices(layer))};
    o.y = calloc(1, o.y_bytes);
    o.experts = calloc(o.slots, sizeof *o.experts);
    o.weights = calloc(o.slots, sizeof *o.weights);
    o.scores = calloc(o.score_count, sizeof *o.scores);
    return o;
}

static void outcome_free(Outcome *o) {
    free(o->y);
    free(o->experts);
    free(o->weights);
    free(o->scores);
}

static Status forward(Library *library, const Layer *layer, int64_t tokens, const void *x, void *y, const Extra *extra) {
    Forward call = {.tokens = tokens, .x = x, .x_stride = layer->hidden, .y = y, .y_stride = layer->hidden};
    return instance_forward_with(library, &call, extra);
}

static Status run(Library *library, const Layer *layer, const void *x, const int32_t *k, Outcome *o) {
    Extra extra = {.size = sizeof extra, .experts = o->experts, .weights = o->weights, .scores = o->scores, .k = k};
    return forward(library, layer, TOKENS, x, o->y, &extra);
}

static void compare_with_oracle(const Kind *kind, const void *image, const void *x, const int32_t *k, const Outcome *found) {
    const FixtureForward left = {TOKENS, x, found->y, k, found->experts, found->weights, found->scores};
    OracleWeights plain;
    ck_assert_int_eq(oracle_weights_allocate(&kind->plan.layer, &plain), 0);
    oracle_weights_unpack(&kind->plan, packed_image_instance((void *)(uintptr_t)image, 0, 0), &plain);
    fixture_expect_oracle(&kind->plan.layer, &plain, &left, ERROR_WORST, "native");
    oracle_weights_free(&plain);
}

// --- equal bits ----------------------------------------------------------------------------------------------------------------

// Another way to cut the same work. Zeros: as the plan has it.
typedef struct Dealt {
    const char *name;
    int threads;
    int64_t max_tokens, few_tokens, wave_rows;
    int64_t up_tasks, down_tasks, few_up_tasks, few_down_tasks;
    int32_t k_blocks, max_rows;  // of all roles
    Order up_order;
    int whole_rows;  // down's rows of A are made from whole rows of values
    int give;  // then the routing is given back to the layer, which only makes the shared experts' gates
} Dealt;

static const Dealt schedules[] = {
    {.name = "three threads, chunks of five", .threads = 3, .max_tokens = 5},
    {.name = "every token selected by every thread, routing given back", .threads = 2, .few_tokens = TOKENS, .give = 1},
    {.name = "chunks of eleven, no token selected twice, routing given back",
     .threads = 2,
     .max_tokens = 11,
     .few_tokens = -1,
     .give = 1},
    {.name = "waves of one chunk's tokens", .threads = 2, .wave_rows = TOKENS},
    {.name = "waves of two and a half tokens' slots", .threads = 1, .max_tokens = 2, .few_tokens = -1, .wave_rows = 5},
    {.name = "one task each in up, several in down, waves", .threads = 2, .wave_rows = TOKENS, .up_tasks = 1, .down_tasks = 3},
    {.name = "backwards in up, in waves", .threads = 2, .wave_rows = TOKENS, .up_order = ORDER_BACKWARDS},
    {.name = "k in two blocks, low tiles", .threads = 2, .k_blocks = 2, .max_rows = 3},
    {.name = "k in two blocks", .threads = 1, .k_blocks = 2},
    {.name = "rows made whole", .threads = 3, .whole_rows = 1},
    {.name = "rows made whole, in waves", .threads = 2, .whole_rows = 1, .max_tokens = 2, .few_tokens = -1, .wave_rows = 5},
    {.name = "up by turns, few tokens cut finely",
     .threads = 3,
     .few_tokens = TOKENS,
     .few_up_tasks = 5,
     .few_down_tasks = 4,
     .up_order = ORDER_IN_TURNS},
};
enum { SCHEDULES = sizeof schedules / sizeof *schedules };

static Kind reschedule(const Kind *kind, const Dealt *s) {
    Kind other = *kind;
    Plan *plan = &other.plan;
    plan->schedule.few_tokens = s->few_tokens < 0 ? 0 : s->few_tokens ? s->few_tokens : plan->schedule.few_tokens;
    plan->schedule.up_tasks = s->up_tasks ? s->up_tasks : plan->schedule.up_tasks;
    plan->schedule.down_tasks = s->down_tasks ? s->down_tasks : plan->schedule.down_tasks;
    plan->schedule.few_up_tasks = s->few_up_tasks ? s->few_up_tasks : plan->schedule.few_up_tasks;
    plan->schedule.few_down_tasks = s->few_down_tasks ? s->few_down_tasks : plan->schedule.few_down_tasks;
    plan->schedule.up_order = s->up_order;
    for (int r = ROLE_GATE_UP; s->k_blocks && r < ROLE_COUNT; r++) {
        Role *role = &plan->roles[r];
        role->k_blocks = role->layout.depth_padded % (plan_whole_k(role) * s->k_blocks) ? 1 : s->k_blocks;
        role->wide_rows = 1;
        role->widen_tiles = 0;
        role->max_rows = s->max_rows ? s->max_rows : role->max_rows;
    }
    for (int r = ROLE_DOWN; s->whole_rows && r < ROLE_COUNT; r += ROLE_SHARED_DOWN - ROLE_DOWN) {
        Role *role = &plan->roles[r];
        role->whole_rows = 1;  // rows hold fp32 values at first
        role->input_stride = (plan_round_up(role->layout.depth_padded, PANEL_COLUMNS) * 4 / 64 | 1) * 64;
    }
    if (s->wave_rows) {
        plan->schedule.chunk_tokens = s->max_tokens ? s->max_tokens : TOKENS;
        plan->schedule.wave_rows = s->wave_rows;
    }
    return other;
}

static void expect_equal(const Outcome *a, const Outcome *b, const char *what) {
    ck_assert_msg(!memcmp(a->y, b->y, a->y_bytes), "%s: y differs", what);
    ck_assert_msg(!memcmp(a->experts, b->experts, a->slots * sizeof *a->experts), "%s: experts differ", what);
    ck_assert_msg(!memcmp(a->weights, b->weights, a->slots * sizeof *a->weights), "%s: weights differ", what);
    ck_assert_msg(!memcmp(a->scores, b->scores, a->score_count * sizeof *a->scores), "%s: scores differ", what);
}

static void check_schedules(const Kind *kind, const void *image, size_t bytes, const void *x, const int32_t *k,
                            const Outcome *expected) {
    const Layer *layer = &kind->plan.layer;
    for (int i = 0; i < SCHEDULES; i++) {
        Kind other = reschedule(kind, &schedules[i]);
        Outcome found = outcome_create(layer);
        Library *library = fixture_native(&other, image, bytes, schedules[i].threads, schedules[i].max_tokens);
        ck_assert_int_eq(run(library, layer, x, k, &found), LIBRARY_OK);
        expect_equal(expected, &found, schedules[i].name);
        if (schedules[i].give) {
            Extra given = {.size = sizeof given, .given_experts = expected->experts, .given_weights = expected->weights};
            memset(found.y, 0, found.y_bytes);
            ck_assert_int_eq(forward(library, layer, TOKENS, x, found.y, &given), LIBRARY_OK);
            expect_equal(expected, &found, schedules[i].name);
        }
        instance_close(library);
        outcome_free(&found);
    }
}

static void check_single_tokens(const Kind *kind, const void *image, size_t bytes, const char *x, const int32_t *k,
                                const Outcome *expected) {
    const Layer *layer = &kind->plan.layer;
    size_t row = (size_t)layer->hidden * fixture_element(layer);
    char *y = calloc(1, row);
    Library *library = fixture_native(kind, image, bytes, 2, 0);
    for (int64_t token = 0; token < TOKENS; token += 9) {
        Extra extra = {.size = sizeof extra, .k = k ? k + token : NULL};
        ck_assert_int_eq(forward(library, layer, 1, x + (size_t)token * row, y, &extra), LIBRARY_OK);
        ck_assert_mem_eq(expected->y + (size_t)token * row, y, row);
    }
    instance_close(library);
    free(y);
}

// All schedules give the bits of one thread with the whole call at once, which are those of single tokens and within the oracle's
// bounds.
static void check_kind(const Kind *kind, uint64_t seed) {
    const Layer *layer = &kind->plan.layer;
    size_t bytes;
    void *image = fixture_image(kind, seed + 100, &bytes);
    char *x = fixture_tokens(&kind->plan, TOKENS, seed);
    int32_t *k = fixture_k(layer, TOKENS, seed);
    Outcome expected = outcome_create(layer);
    Library *library = fixture_native(kind, image, bytes, 1, 0);
    ck_assert_int_eq(run(library, layer, x, k, &expected), LIBRARY_OK);
    instance_close(library);
    compare_with_oracle(kind, image, x, k, &expected);
    check_schedules(kind, image, bytes, x, k, &expected);
    check_single_tokens(kind, image, bytes, x, k, &expected);
    outcome_free(&expected);
    free(image);
    free(x);
    free(k);
}

START_TEST(test_random_layer) {
    Layer layer = fixture_layer((uint64_t)_i);
    Kind kind = fixture_kind(&layer, "avx512");
    check_kind(&kind, (uint64_t)_i);
}
END_TEST

// Rows of A are the same whether gate/up writes them panel by panel or they are made from whole rows of values: in class bf16,
// where both forms round, bf16 rows included.
START_TEST(test_whole_rows) {
    Layer layer = fixture_layer((uint64_t)_i);
    layer.weights = FORMAT_BF16;
    layer.down_weights = layer.shared_weights = layer.shared_down_weights = 0;
    layer.compute = COMPUTE_BF16;
    Kind kind = fixture_kind(&layer, "avx512");
    for (int r = ROLE_GATE_UP; r < ROLE_COUNT && _i % 2; r++) {
        kind.plan.roles[r].path = PATH_BF16_DOT;
    }
    plan_layout(&kind.plan);
    ck_assert_int_eq(kind.plan.roles[ROLE_DOWN].input, _i % 2 ? FORM_BF16 : FORM_FP32);
    check_kind(&kind, (uint64_t)_i);
}
END_TEST

// --- what random layers do not reach ---------------------------------------------------------------------------------------------

static Layer relu_layer(void) {
    return fixture_neutral((Layer){.hidden = 24,
                                   .intermediate = 40,
                                   .experts = 21,
                                   .top_k = 21,
                                   .iterations = 2,
                                   .score = SCORE_RELU,
                                   .selection = SELECTION_THRESHOLD,
                                   .router_bias = 1,
                                   .gated = 1,
                                   .inner_residual = 1,
                                   .outer_residual = 1,
                                   .compute = COMPUTE_FP32});
}

static void set_all(const Kind *kind, void *image, Tensor tensor, int64_t rows, float value) {
    for (int64_t row = 0; row < rows; row++) {
        packed_set(&kind->plan, packed_image_instance(image, 0, 0), tensor, 0, row, 0, value);
    }
    packed_image_finish(image);
}

// The router's bias makes every choice active, or none.
START_TEST(test_every_expert_or_none) {
    Layer layer = relu_layer();
    layer.normalize = 1, layer.normalize_eps = 1e-20f;
    Kind kind = fixture_kind(&layer, "avx512");
    size_t bytes;
    void *image = fixture_image(&kind, 7, &bytes);
    float *x = fixture_tokens(&kind.plan, TOKENS, 8);
    Outcome found = outcome_create(&layer);
    set_all(&kind, image, TENSOR_ROUTER_BIAS, layer.experts, _i ? -100.0f : 100.0f);
    Library *library = fixture_native(&kind, image, bytes, 2, 0);
    ck_assert_int_eq(run(library, &layer, x, NULL, &found), LIBRARY_OK);
    instance_close(library);
    for (size_t i = 0; i < found.slots; i++) {
        ck_assert_int_eq(found.experts[i], _i ? -1 : (int32_t)i % layer.top_k);
    }
    if (_i) {  // x_T = x_0, out = 2 h
        for (int64_t i = 0; i < TOKENS * layer.hidden; i++) {
            ck_assert(((float *)(void *)found.y)[i] == 2 * x[i]);
        }
    } else {
        compare_with_oracle(&kind, image, x, NULL, &found);
    }
    check_schedules(&kind, image, bytes, x, NULL, &found);
    outcome_free(&found);
    free(image);
    free(x);
}
END_TEST

// Choices whose correction (_i 0) or router's bias is minus infinity are not taken, even if slots stay empty.
START_TEST(test_excluded_choices) {
    Layer layer = relu_layer();
    layer.selection = SELECTION_TOP_K, layer.score = SCORE_SIGMOID, layer.correction = !_i, layer.softcap = 9, layer.top_k = 6;
    Kind kind = fixture_kind(&layer, "avx512");
    size_t bytes;
    void *image = fixture_image(&kind, 7, &bytes);
    float *x = fixture_tokens(&kind.plan, TOKENS, 8);
    Outcome found = outcome_create(&layer);
    set_all(&kind, image, _i ? TENSOR_ROUTER_BIAS : TENSOR_CORRECTION, 17, -__builtin_inff());
    Library *library = fixture_native(&kind, image, bytes, 2, 0);
    ck_assert_int_eq(run(library, &layer, x, NULL, &found), LIBRARY_OK);
    for (size_t i = 0; i < found.slots; i++) {
        ck_assert(i % 6 < 4 ? found.experts[i] >= 17 && found.weights[i] > 0 : found.experts[i] == -1 && found.weights[i] == 0);
    }
    instance_close(library);
    outcome_free(&found);
    free(image);
    free(x);
}
END_TEST

// Equal scores: every rule, told to take five of forty, takes the lowest indices, from the lowest groups.
START_TEST(test_ties) {
    Layer layer = relu_layer();
    layer.experts = 40, layer.selection = _i, layer.score = SCORE_SOFTMAX, layer.top_k = 5, layer.top_p = 0.11f,
    layer.threshold = 0;
    layer.groups = selection_facts[_i].logits_alone ? 0 : 5, layer.top_groups = 2, layer.group_score = GROUP_TOP2_SUM;
    Kind kind = fixture_kind(&layer, "avx512");
    size_t bytes;
    void *image = fixture_image(&kind, 7, &bytes);
    float *x = fixture_tokens(&kind.plan, TOKENS, 8);
    Outcome found = outcome_create(&layer);
    memset((uint8_t *)packed_image_instance(image, 0, 0) + kind.plan.roles[ROLE_ROUTER].layout.offset, 0,
           (size_t)kind.plan.roles[ROLE_ROUTER].layout.matrix_bytes);
    set_all(&kind, image, TENSOR_ROUTER_BIAS, layer.experts, 1.0f);
    Library *library = fixture_native(&kind, image, bytes, 2, 0);
    ck_assert_int_eq(run(library, &layer, x, NULL, &found), LIBRARY_OK);
    for (size_t i = 0; i < found.slots; i++) {
        ck_assert_int_eq(found.experts[i], (int32_t)i % 5);  // 0.11 of forty equal shares: five
    }
    instance_close(library);
    outcome_free(&found);
    free(image);
    free(x);
}
END_TEST

// Tokens that are routed nowhere: by their logits (_i 0), or by a shared expert's gate alone.
START_TEST(test_nonfinite_token) {
    Layer layer = relu_layer();
    layer.selection = SELECTION_TOP_K, layer.top_k = 3, layer.shared_experts = 2, layer.shared_intermediate = 16;
    layer.shared_gated = 1, layer.softcap = 5, layer.iterations = 1;
    Kind kind = fixture_kind(&layer, "avx512");
    size_t bytes, row = (size_t)layer.hidden * sizeof(float);
    void *image = fixture_image(&kind, 1, &bytes);
    uint8_t *instance = (uint8_t *)packed_image_instance(image, 0, 0);
    float *x = fixture_tokens(&kind.plan, TOKENS, 5), *good = calloc(TOKENS, row), *bad = calloc(TOKENS, row);
    for (int64_t i = 0; _i && i < 2; i++) {  // input 0 counts 1e38 times in the second gate, not at all elsewhere
        packed_set(&kind.plan, instance, TENSOR_SHARED_EXPERT_GATE, 0, 1, i, i ? 0 : 1e38f);
    }
    for (int64_t token = 0; token < TOKENS; token++) {
        x[token * layer.hidden] = 0;
    }
    packed_image_finish(image);
    Library *library = fixture_native(&kind, image, bytes, 2, _i % 2 ? 0 : 9);
    ck_assert_int_eq(forward(library, &layer, TOKENS, x, good, NULL), LIBRARY_OK);
    x[11 * layer.hidden] = _i ? 30.0f : __builtin_nanf("");
    x[30 * layer.hidden] = _i ? -30.0f : -__builtin_inff();
    ck_assert_int_eq(forward(library, &layer, TOKENS, x, bad, NULL), LIBRARY_NONFINITE);
    int64_t first = -1;
    ck_assert_int_eq(instance_nonfinite(library, &first), 2);
    ck_assert_int_eq(first, 11);
    for (int64_t token = 0; token < TOKENS; token++) {
        for (int64_t i = 0; i < layer.hidden; i++) {
            float value = bad[token * layer.hidden + i];
            if (token == 11 || token == 30) {
                ck_assert(value != value);
            } else {
                ck_assert_mem_eq(&value, &good[token * layer.hidden + i], sizeof value);
            }
        }
    }
    instance_close(library);
    free(image);
    free(x);
    free(good);
    free(bad);
}
END_TEST

// Identity and null experts alone: x_{t+1} = x_t + w x_t, exactly; null choices leave nothing.
START_TEST(test_choices_without_weights) {
    Layer layer = relu_layer();
    layer.identity_experts = 2, layer.null_experts = 1, layer.selection = SELECTION_TOP_K, layer.top_k = 2, layer.iterations = 1;
    layer.outer_residual = 0;
    Kind kind = fixture_kind(&layer, "avx512");
    size_t bytes;
    void *image = fixture_image(&kind, 7, &bytes);
    float *x = fixture_tokens(&kind.plan, TOKENS, 8), *y = calloc((size_t)(TOKENS * layer.hidden), sizeof *y);
    int32_t experts[TOKENS][2];
    float weights[TOKENS][2];
    for (int token = 0; token < TOKENS; token++) {
        experts[token][0] = (int32_t)layer.experts + token % 3;
        experts[token][1] = token % 2 ? (int32_t)layer.experts + (token + 1) % 3 : -1;
        weights[token][0] = 0.25f, weights[token][1] = 0.5f;
    }
    Extra given = {.size = sizeof given, .given_experts = *experts, .given_weights = *weights};
    Library *library = fixture_native(&kind, image, bytes, 2, 0);
    ck_assert_int_eq(forward(library, &layer, TOKENS, x, y, &given), LIBRARY_OK);
    for (int token = 0; token < TOKENS; token++) {
        for (int64_t i = token * layer.hidden; i < (token + 1) * layer.hidden; i++) {
            float acc = x[i];
            for (int32_t e = (int32_t)layer.experts; e < layer.experts + 2; e++) {
                acc = experts[token][0] == e ? __builtin_fmaf(0.25f, x[i], acc) : acc;
                acc = experts[token][1] == e ? __builtin_fmaf(0.5f, x[i], acc) : acc;
            }
            ck_assert_msg(y[i] == acc, "token %d: %.9g, not %.9g", token, (double)y[i], (double)acc);
        }
    }
    instance_close(library);
    free(image);
    free(x);
    free(y);
}
END_TEST

Suite *suite_layer(void) {
    Suite *suite = suite_create("layer");
    TCase *cases = tcase_create("native");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, test_random_layer, 0, RANDOM_LAYERS / ONE_CASE_IN);
    tcase_add_loop_test(cases, test_whole_rows, 0, 6);
    tcase_add_loop_test(cases, test_every_expert_or_none, 0, 2);
    tcase_add_loop_test(cases, test_excluded_choices, 0, 2);
    tcase_add_loop_test(cases, test_ties, 0, SELECTION_COUNT);
    tcase_add_loop_test(cases, test_nonfinite_token, 0, 2);
    tcase_add_test(cases, test_choices_without_weights);
    suite_add_tcase(suite, cases);
    return suite;
}
