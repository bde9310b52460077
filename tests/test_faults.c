// Faults in libraries are found by the cases of `catena verify`: every field of the description computed wrongly, every tensor read
// wrongly, every tile's result spoilt (plant.h). The libraries are the skeleton compiled natively, with the plans that compiled
// ones have: it is the cases that are tested, whether they come to where a fault is and whether the bounds tell it from rounding.
//
//     CATENA_FAULTS=all build/tests faults                plants every fault instead of one in some, and lists what becomes of each
//     CATENA_FAULTS=BED:FIRST:COUNT build/tests faults    those of one layer from the FIRST on
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "compiler/verify/verify.h"
#include "fixture.h"
#include "plant.h"
#include "suites.h"

enum { ONE_FAULT_IN = 47 };

// Layers that have everything between them, small enough to be verified hundreds of times.
typedef struct Bed {
    const char *target;
    Layer layer;
} Bed;

static const Bed beds[] = {
    {"avx2",
     {.hidden = 72,
      .iterations = 2,
      .experts = 8,
      .null_experts = 1,
      .intermediate = 40,
      .top_k = 3,
      .shared_experts = 1,
      .shared_intermediate = 48,
      .shared_gated = 1,
      .shared_scale = 0.5f,
      .norm = NORM_RMS,
      .norm_eps = 1e-5f,
      .inner_residual = 1,
      .inner_alpha = 0.7f,
      .outer_residual = 1,
      .alpha = 1.5f,
      .multiplier = 0.6f,
      .gate_per_iteration = 1,
      .router_bias = 1,
      .normalize = 1,
      .normalize_eps = 0.125f,
      .normalize_p = 2,
      .scale = 2.5f,
      .logit_scale = 1.25f,
      .softcap = 2,
      .gated = 1,
      .activation = ACTIVATION_SILU,
      .slope = 1.702f,
      .limit = 0.25f,
      .shared_limit = 0.5f,
      .up_offset = 0.125f,
      .expert_bias = 1,
      .shared_bias = 1,
      .expert_scale = 1,
      .output_bias = 1,
      .output_scale = 1,
      .residual_bias = 1,
      .residual_scale = 1}},
    {"avx512",
     {.hidden = 64,
      .iterations = 1,
      .experts = 12,
      .identity_experts = 4,
      .intermediate = 32,
      .top_k = 4,
      .norm = NORM_LAYER,
      .norm_eps = 1e-5f,
      .norm_bias = 1,
      .score = SCORE_SIGMOID,
      .correction = 1,
      .rank = RANK_LOGIT,
      .groups = 4,
      .top_groups = 2,
      .group_score = GROUP_TOP2_SUM,
      .activation = ACTIVATION_GELU_TANH,
      .weights = FORMAT_BF16,
      .router_weights = ROUTER_BF16,
      .post_norm = NORM_RMS,
      .post_norm_eps = 0.125f,
      .weight_on = WEIGHT_ON_INPUT}},
    {"avx2",
     {.hidden = 48,
      .iterations = 3,
      .experts = 10,
      .intermediate = 24,
      .top_k = 10,
      .norm = NORM_NONE,
      .score = SCORE_RELU,
      .selection = SELECTION_THRESHOLD,
      .threshold = 0.25f,
      .expected_k = 4,
      .gated = 1,
      .activation = ACTIVATION_SILU,
      .gate_softcap = 0.5f,
      .up_softcap = 0.25f,
      .weights = FORMAT_BF16,
      .inner_residual = 1,
      .coe_weight = 1}},
    {"avx512",
     {.hidden = 64,
      .iterations = 2,
      .experts = 6,
      .intermediate = 48,
      .top_k = 2,
      .shared_experts = 2,
      .shared_intermediate = 16,
      .norm = NORM_RMS,
      .norm_eps = 1e-6f,
      .selection = SELECTION_SPARSEMIXER,
      .jitter = 0.1f,
      .gated = 1,
      .activation = ACTIVATION_GELU,
      .weights = FORMAT_BF16,
      .compute = COMPUTE_BF16,
      .activations = INTERFACE_BF16}},
    {"avx512",
     {.hidden = 40,
      .iterations = 1,
      .experts = 9,
      .intermediate = 64,
      .top_k = 4,
      .norm = NORM_RMS,
      .norm_eps = 1e-6f,
      .selection = SELECTION_TOP_P,
      .top_p = 0.6f,
      .activation = ACTIVATION_RELU2,
      .outer_residual = 1,
      .weights = FORMAT_FP8_E4M3}},
    {"avx2",
     {.hidden = 64,
      .iterations = 1,
      .experts = 4,
      .identity_experts = 12,
      .intermediate = 16,
      .top_k = 1,
      .score = SCORE_SIGMOID,
      .outer_residual = 1,
      .gated = 1,
      .activation = ACTIVATION_SILU}},
};
enum { BEDS = sizeof beds / sizeof *beds, ROUNDED_BED = BEDS - 1 };

// What became of all faults, in memory that the tests' processes share.
typedef struct Tally {
    int planted, found;
} Tally;
static Tally *tally;

static Kind bed_kind(int bed) {
    Layer layer = fixture_neutral(beds[bed].layer);
    ck_assert_msg(!draw_accept(&layer), "bed %d is no layer that a description may have", bed);
    return fixture_kind(&layer, beds[bed].target);
}

static int64_t failed_cases(const Kind *kind, const Plant *plant, char reason[VERIFY_REASON_BYTES]) {
    VerifyOptions options = {.cases = 10, .seed = 1, .threads = 2};
    Diagnostics diagnostics = {0};
    VerifyReport report;
    Loaded library = plant_library(kind, plant);
    ck_assert_msg(!verify_layer(&library, kind, 1, 0, &options, NULL, &report, &diagnostics), "%s", diagnostics.text);
    for (int64_t i = report.case_count - 1; i >= 0; i--) {
        if (!report.cases[i].passed) {
            snprintf(reason, VERIFY_REASON_BYTES, "%.40s: %.180s", report.cases[i].name, report.cases[i].reason);
        }
    }
    int64_t failed = report.failed;
    verify_report_free(&report);
    diagnostics_free(&diagnostics);
    plant_remove();
    return failed;
}

START_TEST(test_nothing_is_found_without_a_fault) {
    char reason[VERIFY_REASON_BYTES] = "";
    Kind kind = bed_kind(_i);
    ck_assert_msg(!failed_cases(&kind, NULL, reason), "bed %d: %s", _i, reason);
}
END_TEST

// The element of a row that one wrong weight is, also in a layer whose rows end in one rounding.
START_TEST(test_one_wrong_weight_is_found) {
    int count, planted = 0;
    Kind kind = bed_kind(ROUNDED_BED);
    Plant *list = plant_list(&kind, &count);
    for (int i = 0; i < count; i++) {
        if (list[i].kind == PLANT_WEIGHT && list[i].damage == DAMAGE_STEP) {
            char reason[VERIFY_REASON_BYTES] = "";
            ck_assert_msg(failed_cases(&kind, &list[i], reason), "fault %d is not found: %s", i, list[i].words);
            planted++;
        }
    }
    ck_assert_int_ge(planted, 4);  // router, gate, up, down
    free(list);
}
END_TEST

// Which faults of a layer are planted: without CATENA_FAULTS one in some, others in each layer.
typedef struct Range {
    int bed, first, count, step, all;
} Range;

static Range wanted_range(void) {
    const char *text = getenv("CATENA_FAULTS");
    Range range = {.bed = -1, .count = INT_MAX, .step = 1, .all = text != NULL};
    if (!text) {
        range.step = ONE_FAULT_IN;
    } else if (strcmp(text, "all") != 0 && sscanf(text, "%d:%d:%d", &range.bed, &range.first, &range.count) != 3) {
        fprintf(stderr, "faults: CATENA_FAULTS is '%s', must be \"all\" or BED:FIRST:COUNT\n", text);
        exit(EXIT_FAILURE);
    }
    return range;
}

START_TEST(test_faults_are_found) {
    int count;
    Range range = wanted_range();
    Kind kind = bed_kind(_i);
    Plant *list = plant_list(&kind, &count);
    int first = range.all ? range.first : _i * 5 % ONE_FAULT_IN;
    for (int i = first; i < count && i - first < range.count && (range.bed < 0 || range.bed == _i); i += range.step) {
        char reason[VERIFY_REASON_BYTES] = "";
        int found = failed_cases(&kind, &list[i], reason) > 0;
        tally->planted++;
        tally->found += found;
        ck_assert_msg(found || range.all, "bed %d, fault %d is not found: %s", _i, i, list[i].words);
        if (range.all) {
            printf("faults: bed %d, fault %d: %s: %s%s\n", _i, i, list[i].words, found ? "found, " : "NOT FOUND", reason);
            fflush(stdout);
        }
    }
    free(list);
}
END_TEST

// Comes last.
START_TEST(test_all_were_found) {
    printf("faults: %d of %d found\n", tally->found, tally->planted);
    ck_assert_int_gt(tally->planted, 0);
    ck_assert_int_eq(tally->found, tally->planted);
}
END_TEST

Suite *suite_faults(void) {
    Suite *suite = suite_create("faults");
    TCase *cases = tcase_create("faults");
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED) {
        perror("faults: mmap");
        exit(EXIT_FAILURE);
    }
    tcase_set_timeout(cases, getenv("CATENA_FAULTS") ? 0 : TEST_TIMEOUT);
    tcase_add_loop_test(cases, test_nothing_is_found_without_a_fault, 0, BEDS);
    tcase_add_test(cases, test_one_wrong_weight_is_found);
    tcase_add_loop_test(cases, test_faults_are_found, 0, BEDS);
    tcase_add_test(cases, test_all_were_found);
    suite_add_tcase(suite, cases);
    return suite;
}
