// Verification itself: a correct layer (the skeleton compiled natively, plain tiles) passes all cases, and every kind of fault,
// put between the layer and the verifier, is found.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/verify/input.h"
#include "compiler/verify/verify.h"
#include "fixture.h"
#include "native.h"
#include "suites.h"

// What goes wrong on the way. FAULT_NONE: nothing.
typedef enum Fault {
    FAULT_NONE,
    FAULT_ELEMENT,     // one element of a large batch is a little off
    FAULT_CHOICE,      // the last choice of a token is replaced by another expert
    FAULT_TIE,         // of two equal experts the higher is reported (with the same weight)
    FAULT_WEIGHT,      // a reported weight is off by 1e-3
    FAULT_THREADS,     // the result's last bit depends on the number of threads
    FAULT_STRIDE,      // one element is written beyond a row
    FAULT_STATUS,      // non-finite tokens are not reported
    FAULT_NEIGHBOUR,   // a NaN token spoils its neighbour
    FAULT_ROUTED,      // given routing is ignored for the second slot
    FAULT_SCORE,       // a reported score is off by 1e-3
    FAULT_K,           // a token reports no choice, though it was given k
    FAULT_COUNT
} Fault;

static Kind kind;
static Fault fault;

static Status spoil(const Library *library, Status status, int64_t tokens, void *y, int64_t y_stride) {
    float *rows = y;
    int64_t hidden = kind.plan.layer.hidden;
    if (fault == FAULT_ELEMENT && tokens > 10) {
        rows[10 * y_stride + hidden / 2] *= 1.001f;
    }
    if (fault == FAULT_THREADS && library->threads == 1 && tokens) {
        rows[0] = nextafterf(rows[0], INFINITY);
    }
    if (fault == FAULT_STRIDE && y_stride > hidden && tokens > 1) {
        rows[hidden] = 0;
    }
    if (fault == FAULT_STATUS && status == LIBRARY_NONFINITE) {
        return LIBRARY_OK;
    }
    if (fault == FAULT_NEIGHBOUR && status == LIBRARY_NONFINITE && tokens > 2) {
        rows[2 * y_stride] = NAN;
    }
    return status;
}

static Status native_forward(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                             int64_t y_stride) {
    Forward call = {layer, tokens, x, x_stride, y, y_stride};
    Status status = instance_forward(library, &call);
    return spoil(library, status, tokens, y, y_stride);
}

static Status native_forward_routing(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                                     int64_t y_stride, int32_t *experts, float *weights) {
    Forward call = {layer, tokens, x, x_stride, y, y_stride};
    Status status = instance_forward_routing(library, &call, experts, weights);
    int64_t k = kind.plan.layer.top_k, last = kind.plan.layer.experts - 1;
    if (fault == FAULT_CHOICE && tokens) {  // an expert that is not among the chosen ones
        int32_t other = 0;
        for (int64_t s = 0; s < k; s++) {
            s = experts[s] == other ? (other++, -1) : s;
        }
        experts[k - 1] = experts[0] < 0 ? -1 : other;
    }
    for (int64_t i = 0; fault == FAULT_TIE && i < tokens * k; i++) {
        experts[i] = experts[i] == 0 ? (int32_t)last : experts[i] == last ? 0 : experts[i];
    }
    if (fault == FAULT_WEIGHT && tokens) {
        weights[0] += 1e-3f;
    }
    return spoil(library, status, tokens, y, y_stride);
}

static Status native_forward_routed(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                                    int64_t y_stride, const int32_t *experts, const float *weights) {
    int64_t slots = tokens * kind.plan.layer.top_k * kind.plan.layer.iterations, k = kind.plan.layer.top_k;
    int32_t *own = calloc((size_t)slots + 1, sizeof *own);
    memcpy(own, experts, (size_t)slots * sizeof *own);
    for (int64_t i = 1; fault == FAULT_ROUTED && k > 1 && i < slots; i += k) {
        own[i] = -1;
    }
    Forward call = {layer, tokens, x, x_stride, y, y_stride};
    Status status = instance_forward_routed(library, &call, own, weights);
    free(own);
    return status;
}

static Status native_forward_with(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                                  int64_t y_stride, const Extra *extra) {
    Forward call = {.layer = layer, .tokens = tokens, .x = x, .x_stride = x_stride, .y = y, .y_stride = y_stride};
    Status status = instance_forward_with(library, &call, extra);
    if (fault == FAULT_SCORE && tokens && extra->scores) {
        extra->scores[0] += 1e-3f;
    }
    if (fault == FAULT_K && tokens > 4 && extra->experts) {
        extra->experts[4 * kind.plan.layer.top_k] = -1;
    }
    return spoil(library, status, tokens, y, y_stride);
}

static Loaded faulty_library(void) {
    Loaded library = *native_library(&kind);
    library.forward = native_forward;
    library.forward_routing = native_forward_routing;
    library.forward_routed = native_forward_routed;
    library.forward_with = native_forward_with;
    return library;
}

static VerifyReport verify(const Layer *layer, uint64_t seed, int64_t cases) {
    VerifyOptions options = {.cases = cases, .seed = seed, .threads = 2, .seconds = 2};
    VerifyReport report;
    Diagnostics diagnostics = {0};
    kind = fixture_kind(layer, "avx512");
    Loaded library = faulty_library();
    int status = verify_layer(&library, &kind, 1, 0, &options, NULL, &report, &diagnostics);
    ck_assert_msg(status == 0, "%s", diagnostics.text);
    diagnostics_free(&diagnostics);
    return report;
}

static const char *first_reason(const VerifyReport *report, const char **name) {
    for (int64_t i = 0; i < report->case_count; i++) {
        if (!report->cases[i].passed) {
            *name = report->cases[i].name;
            return report->cases[i].reason;
        }
    }
    *name = "";
    return "";
}

START_TEST(test_random_layers_pass) {
    Layer layer = fixture_layer((uint64_t)_i + 500);
    const char *name;
    VerifyReport report = verify(&layer, (uint64_t)_i + 1, 4);
    const char *reason = first_reason(&report, &name);
    ck_assert_msg(report.failed == 0, "case '%s': %s", name, reason);
    ck_assert_int_gt(report.case_count, 10);
    verify_report_free(&report);
}
END_TEST

// Tokens without any choice: k given as 0, or nothing above the threshold; and layers where every expert is active.
START_TEST(test_none_and_all_pass) {
    static const float thresholds[] = {0, 1e6f, -1};
    Layer layer = fixture_neutral((Layer){.hidden = 24,
                                          .iterations = 2,
                                          .experts = 9,
                                          .identity_experts = 1,
                                          .intermediate = 16,
                                          .top_k = _i ? 10 : 4,
                                          .norm = NORM_RMS,
                                          .norm_eps = 1e-6f,
                                          .inner_residual = 1,
                                          .score = _i ? SCORE_RELU : SCORE_SOFTMAX,
                                          .selection = _i ? SELECTION_THRESHOLD : SELECTION_TOP_K,
                                          .threshold = _i ? thresholds[_i - 1] : 0,
                                          .k_per_token = !_i,
                                          .gated = 1,
                                          .activation = ACTIVATION_SILU});
    const char *name;
    VerifyReport report = verify(&layer, 5, 3);
    const char *reason = first_reason(&report, &name);
    ck_assert_msg(report.failed == 0, "case '%s': %s", name, reason);
    verify_report_free(&report);
}
END_TEST

static void expect_pass(const Layer *layer) {
    const char *name;
    VerifyReport report = verify(layer, 1, 10);
    const char *reason = first_reason(&report, &name);
    ck_assert_msg(report.failed == 0, "case '%s': %s", name, reason);
    verify_report_free(&report);
}

// Values that overflow on their way through the chain: from then on a token has no experts, though a rule might choose none by
// itself.
START_TEST(test_overflow_passes) {
    Layer layer = fixture_neutral((Layer){.hidden = 16,
                                          .iterations = 4,
                                          .experts = 4,
                                          .intermediate = 16,
                                          .top_k = 4,
                                          .score = _i,
                                          .selection = SELECTION_THRESHOLD,
                                          .threshold = 0.125f,
                                          .gated = 1,
                                          .activation = ACTIVATION_SILU});
    expect_pass(&layer);
}
END_TEST

// Zeros become NaN: no norm's eps keeps them from it. Groups and a router bias would decide in the next iteration.
START_TEST(test_norm_of_zero_passes) {
    Layer layer = fixture_neutral((Layer){.hidden = 16,
                                          .iterations = 2,
                                          .experts = 4,
                                          .intermediate = 16,
                                          .top_k = 2,
                                          .norm = NORM_RMS,
                                          .groups = 2,
                                          .top_groups = 1,
                                          .router_bias = 1,
                                          .gated = 1,
                                          .activation = ACTIVATION_SILU});
    expect_pass(&layer);
}
END_TEST

// A weight that overflows cannot be given back.
START_TEST(test_infinite_weights_pass) {
    Layer layer = fixture_neutral((Layer){.hidden = 16,
                                          .iterations = 2,
                                          .experts = 4,
                                          .null_experts = 1,
                                          .intermediate = 16,
                                          .top_k = 2,
                                          .score = SCORE_RELU,
                                          .scale = 1e6f,
                                          .gated = 1,
                                          .activation = ACTIVATION_SILU});
    expect_pass(&layer);
}
END_TEST

// Results that are one rounding away from their input, and such that share the rounding of a norm's factor: rows whose errors reach
// their bounds in every element.
START_TEST(test_one_rounding_passes) {
    static const int64_t widths[] = {1, 16, 64, 256};
    Layer layer = fixture_neutral((Layer){.hidden = widths[_i / 2],
                                          .iterations = 1,
                                          .experts = 4,
                                          .identity_experts = 60,
                                          .intermediate = 16,
                                          .top_k = 1,
                                          .score = SCORE_SIGMOID,
                                          .post_norm = _i % 2 ? NORM_RMS : NORM_NONE,
                                          .post_norm_eps = 1e-6f,
                                          .outer_residual = _i % 2 == 0,
                                          .gated = 1,
                                          .activation = ACTIVATION_SILU});
    expect_pass(&layer);
}
END_TEST

START_TEST(test_faults_are_found) {
    Layer layer = fixture_neutral((Layer){.hidden = 72,
                                          .iterations = 2,
                                          .experts = 9,
                                          .intermediate = 40,
                                          .top_k = 3,
                                          .norm = NORM_RMS,
                                          .norm_eps = 1e-6f,
                                          .inner_residual = 1,
                                          .gate_per_iteration = 1,
                                          .gated = 1,
                                          .activation = ACTIVATION_SILU});
    const char *name;
    fault = (Fault)_i;
    layer.k_per_token = fault == FAULT_K;
    layer.k_min = 1;
    VerifyReport report = verify(&layer, 3, 3);
    const char *reason = first_reason(&report, &name);
    if (fault == FAULT_NONE) {
        ck_assert_msg(report.failed == 0, "case '%s': %s", name, reason);
    } else {
        ck_assert_int_gt(report.failed, 0);
        ck_assert_int_ne(reason[0], 0);
    }
    verify_report_free(&report);
}
END_TEST

// Runs of four tokens aim at one choice after the other: ties and choices of every number are met.
START_TEST(test_aims_at_every_choice) {
    enum { HIDDEN = 8, CHOICES = 6, RUN = 4, TOKENS = CHOICES * RUN };
    Plan plan = {.layer = {.hidden = HIDDEN, .experts = CHOICES, .intermediate = 4, .top_k = 1, .iterations = 1, .logit_scale = 1}};
    OracleWeights weights;
    int64_t count;
    const VerifyInput *inputs = verify_inputs(&count), *aimed = NULL;
    for (int64_t i = 0; i < count; i++) {
        aimed = strstr(inputs[i].name, "aimed") ? &inputs[i] : aimed;
    }
    ck_assert_ptr_nonnull(aimed);
    ck_assert_int_eq(oracle_weights_allocate(&plan.layer, &weights), 0);
    for (int c = 0; c < CHOICES; c++) {
        weights.router[c * HIDDEN + c] = 1;
    }
    float x[TOKENS * HIDDEN];
    aimed->fill(&plan, &weights, TOKENS, 7, x);
    for (int token = 0; token < TOKENS; token++) {
        int largest = 0;
        for (int i = 1; i < HIDDEN; i++) {
            largest = x[token * HIDDEN + i] > x[token * HIDDEN + largest] ? i : largest;
        }
        ck_assert_int_eq(largest, token / RUN);
    }
    oracle_weights_free(&weights);
}
END_TEST

Suite *suite_verify(void) {
    Suite *suite = suite_create("verify");
    TCase *test = tcase_create("verify");
    tcase_set_timeout(test, TEST_TIMEOUT);
    tcase_add_loop_test(test, test_random_layers_pass, 0, 24 / ONE_CASE_IN);
    tcase_add_loop_test(test, test_none_and_all_pass, 0, 4);
    tcase_add_test(test, test_aims_at_every_choice);
    tcase_add_loop_test(test, test_overflow_passes, 0, SCORE_COUNT);
    tcase_add_test(test, test_norm_of_zero_passes);
    tcase_add_test(test, test_infinite_weights_pass);
    tcase_add_loop_test(test, test_one_rounding_passes, 0, 8);
    tcase_add_loop_test(test, test_faults_are_found, 0, FAULT_COUNT);
    suite_add_tcase(suite, test);
    return suite;
}
