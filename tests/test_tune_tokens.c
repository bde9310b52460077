// What a search's calls are given: a pool of tokens that never ends, and a trace's routing in its own order.
#include <stdlib.h>
#include <string.h>

#include "compiler/base/npy.h"
#include "compiler/tune/tokens.h"
#include "fixture.h"
#include "shell.h"
#include "suites.h"

enum { ITERATIONS = 2, EXPERTS = 6, K = 2, TRACED = 7, MOST = 5, TOKENS = TRACED * ITERATIONS * K };

static Layer layer_of(Format activations) {
    return fixture_neutral((Layer){.hidden = 24,
                                   .iterations = ITERATIONS,
                                   .experts = EXPERTS,
                                   .intermediate = 32,
                                   .top_k = K,
                                   .gated = 1,
                                   .outer_residual = 1,
                                   .activations = (int32_t)activations});
}

static const char *path_of(const char *name, char path[512]) {
    snprintf(path, 512, "%s/%s", shell_folder(), name);
    return path;
}

// Writes the trace $D/NAME: token n of an iteration goes to experts n + `step` and its neighbour, weights differ in all slots.
static void write_trace(const char *name, int step, int64_t k, int64_t weight_tokens, int32_t experts[TOKENS]) {
    float weights[TOKENS];
    char path[512], file[64];
    Diagnostics diagnostics = {0};
    for (int slot = 0; slot < TOKENS; slot++) {
        experts[slot] = (slot / K + step + slot % K) % EXPERTS;
        weights[slot] = 0.25f + (float)slot / 64;
    }
    Npy array = {NPY_INT32, 3, {ITERATIONS, TRACED, k}, experts};
    snprintf(file, sizeof file, "%s.experts.npy", name);
    ck_assert_int_eq(npy_write(path_of(file, path), &array, &diagnostics), 0);
    array = (Npy){NPY_FLOAT32, 3, {ITERATIONS, weight_tokens, k}, weights};
    snprintf(file, sizeof file, "%s.weights.npy", name);
    ck_assert_int_eq(npy_write(path_of(file, path), &array, &diagnostics), 0);
}

static Routing trace_of(const char *name) {
    Routing routing;
    char text[600], path[512];
    snprintf(text, sizeof text, "trace:%s", path_of(name, path));
    ck_assert_int_eq(routing_parse(text, &routing), 0);
    return routing;
}

static void open_tokens(TuneTokens *tokens, const Plan *plan, const Routing *routing) {
    Diagnostics diagnostics = {0};
    ck_assert_msg(!tune_tokens_open(tokens, plan, MOST, routing, &diagnostics), "%s", diagnostics.text);
}

// Lot after lot, from the start again at the trace's end, however many tokens a lot has.
START_TEST(keeps_the_order_of_a_trace) {
    static const int64_t lots[][2] = {{0, 5}, {1, 5}, {2, 5}, {0, 1}, {1, 1}, {100, 1}, {3, 4}};
    int32_t experts[TOKENS];
    Layer layer = layer_of(FORMAT_FP32);
    Kind kind = fixture_kind(&layer, "generic");
    TuneTokens tokens;
    write_trace("order", 0, K, TRACED, experts);
    Routing routing = trace_of("order");
    open_tokens(&tokens, &kind.plan, &routing);
    for (size_t i = 0; i < sizeof lots / sizeof *lots; i++) {
        int64_t window = lots[i][0], count = lots[i][1];
        tune_tokens_take(&tokens, window, count);
        for (int64_t slot = 0; slot < ITERATIONS * count * K; slot++) {
            int64_t iteration = slot / (count * K), token = (window * count + slot / K % count) % TRACED;
            ck_assert_int_eq(tokens.experts[slot], experts[(iteration * TRACED + token) * K + slot % K]);
        }
    }
    tune_tokens_close(&tokens);
}
END_TEST

static void expect_output(const TuneTokens *tokens, Library *library, const int32_t *experts, const float *weights) {
    int64_t hidden = tokens->layer->hidden;
    size_t bytes = (size_t)tokens->count * tokens->row_bytes;
    uint8_t *y = malloc(bytes);
    const uint8_t *x = tokens->pool.x16 ? (const uint8_t *)tokens->pool.x16 : (const uint8_t *)tokens->pool.x;
    const Forward call = {.tokens = tokens->count,
                          .x = x + (size_t)tokens->first * tokens->row_bytes,
                          .x_stride = hidden,
                          .y = y,
                          .y_stride = hidden};
    ck_assert_int_eq(tune_tokens_forward(tokens, library, 0), LIBRARY_OK);
    ck_assert_int_eq(experts ? instance_forward_routed(library, &call, experts, weights) : instance_forward(library, &call),
                     LIBRARY_OK);
    ck_assert_mem_eq(tokens->y, y, bytes);
    free(y);
}

// The layer does not route by itself where a trace says where tokens go: another trace gives another output.
START_TEST(calls_go_where_the_trace_says) {
    int32_t experts[TOKENS];
    uint8_t first[MOST * 24 * 4];
    size_t bytes;
    Layer layer = layer_of(_i ? FORMAT_BF16 : FORMAT_FP32);
    Kind kind = fixture_kind(&layer, "generic");
    void *image = fixture_image(&kind, 5, &bytes);
    Library *library = fixture_native(&kind, image, bytes, 2, MOST);
    TuneTokens tokens;
    for (int step = 0; step < 3; step++) {
        write_trace("where", step, K, TRACED, experts);
        Routing routing = trace_of("where");
        open_tokens(&tokens, &kind.plan, &routing);
        tune_tokens_take(&tokens, 0, MOST);
        expect_output(&tokens, library, tokens.experts, tokens.weights);
        ck_assert(!step || memcmp(tokens.y, first, MOST * tokens.row_bytes));
        memcpy(first, tokens.y, MOST * tokens.row_bytes);
        tune_tokens_close(&tokens);
    }
    const Routing uniform = {0};
    open_tokens(&tokens, &kind.plan, &uniform);
    tune_tokens_take(&tokens, 3, MOST - 1);
    expect_output(&tokens, library, NULL, NULL);
    tune_tokens_close(&tokens);
    instance_close(library);
    free(image);
}
END_TEST

START_TEST(stays_within_the_pool) {
    Layer layer = layer_of(FORMAT_FP32);
    Kind kind = fixture_kind(&layer, "generic");
    const Routing uniform = {0};
    TuneTokens tokens;
    open_tokens(&tokens, &kind.plan, &uniform);
    int64_t last = 0, pool = tokens.pool.windows * tokens.pool.tokens;
    for (int64_t count = 1; count <= MOST; count++) {
        for (int64_t window = 0; window < 3 * pool; window++) {
            tune_tokens_take(&tokens, window, count);
            ck_assert(tokens.first >= 0 && tokens.first + count <= pool && (window || !tokens.first));
            last = tokens.first + count > last ? tokens.first + count : last;
        }
    }
    ck_assert_int_eq(last, pool);
    tune_tokens_close(&tokens);
}
END_TEST

START_TEST(refuses_what_is_no_trace_of_the_layer) {
    static const struct {
        int64_t k, weight_tokens;
        int expert;
        const char *words;
    } bad[] = {
        {1, TRACED, 0, "a trace of this layer is int32 [2, tokens, 2]"},
        {K, TRACED - 1, 0, "6 tokens here, but 7 in its .experts.npy"},
        {K, TRACED, EXPERTS, "the layer has experts 0 to 5"},
    };
    int32_t experts[TOKENS];
    char path[512];
    Layer layer = layer_of(FORMAT_FP32);
    Kind kind = fixture_kind(&layer, "generic");
    Diagnostics diagnostics = {0};
    TuneTokens tokens;
    write_trace("bad", 0, bad[_i].k, bad[_i].weight_tokens, experts);
    if (bad[_i].expert) {
        experts[3] = bad[_i].expert;
        const Npy array = {NPY_INT32, 3, {ITERATIONS, TRACED, K}, experts};
        ck_assert_int_eq(npy_write(path_of("bad.experts.npy", path), &array, &diagnostics), 0);
    }
    Routing routing = trace_of("bad");
    ck_assert_int_eq(tune_tokens_open(&tokens, &kind.plan, MOST, &routing, &diagnostics), -1);
    ck_assert_msg(strstr(diagnostics.text, bad[_i].words), "%s", diagnostics.text);
    tune_tokens_close(&tokens);
    diagnostics_free(&diagnostics);
}
END_TEST

Suite *suite_tune_tokens(void) {
    Suite *suite = suite_create("tune_tokens");
    TCase *cases = tcase_create("tokens");
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_test(cases, keeps_the_order_of_a_trace);
    tcase_add_loop_test(cases, calls_go_where_the_trace_says, 0, 2);
    tcase_add_test(cases, stays_within_the_pool);
    tcase_add_loop_test(cases, refuses_what_is_no_trace_of_the_layer, 0, 3);
    suite_add_tcase(suite, cases);
    return suite;
}
