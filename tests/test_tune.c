// Tuning on this machine: candidates give the default's bits, a search ends in time and can be stopped. What it finds is the
// business of suite search, which has machines whose best is known; no timing is asserted here.
#include <stdlib.h>
#include <string.h>

#include "../compiler/tune.h"
#include "available.h"
#include "fixture.h"
#include "suites.h"

static const Target *host(Machine *machine) {
    static const char *const names[] = {"avx512", "avx2", "neon", "generic"};
    ck_assert_int_eq(machine_detect(machine), 0);
    for (int i = 0; i < 4; i++) {
        if (available_target(target_find(names[i])) && !strcmp(target_find(names[i])->architecture, machine->architecture)) {
            return target_find(names[i]);
        }
    }
    return NULL;
}

static Layer layer_of(uint64_t seed) {
    Layer layer = fixture_layer(seed);
    layer.k_per_token = 0;
    layer.compute = COMPUTE_FP32;
    return layer;
}

// Random plans of the space, compiled in memory, against the default's bits.
START_TEST(test_bits) {
    Machine machine;
    const Target *target = host(&machine);
    ck_assert_ptr_nonnull(target);
    enum { PLANS = 4, TOKENS = 70 };
    Layer layer = layer_of((uint64_t)_i);
    Plan standard = plan_default(&layer, target, &machine, NULL);
    Space space;
    space_make(&standard, target, &machine, &space);
    Bank bank;
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(bank_open(&bank, &standard, NULL, 3 * standard.instance_bytes, false, &diagnostics), 0);
    ck_assert_int_eq(bank.slots, 3);
    CandidateCache *cache = candidate_cache_create(target);
    void *x = fixture_tokens(&standard, TOKENS, 3);
    size_t bytes = (size_t)(TOKENS * layer.hidden) * fixture_element(&layer);
    uint8_t *first = malloc(bytes), *y = malloc(bytes);
    uint64_t state = (uint64_t)_i;
    for (int i = 0; i <= PLANS; i++) {
        SearchPoint point = space_standard(&space);
        for (int k = 0; i && k < space.knob_count; k++) {
            point.value[k] = (uint8_t)(synthetic_next(&state) % (uint64_t)space.knobs[k].count);
        }
        if (!space_valid(&space, &point)) {
            continue;
        }
        Plan plan;
        space_plan(&space, &point, &plan);
        Candidate *candidate = candidate_open(cache, &plan, i % 2, &bank, 1 + i % 3, TOKENS, &diagnostics);
        ck_assert_msg(candidate != NULL, "%s", diagnostics.text);
        const Forward call = {.layer = i % 3, .tokens = TOKENS, .x = x, .x_stride = layer.hidden, .y = y, .y_stride = layer.hidden};
        ck_assert_int_ge(instance_forward(candidate_library(candidate), &call), 0);
        memcpy(first, i ? first : y, i ? 0 : bytes);
        ck_assert_mem_eq(y, first, bytes);
        candidate_close(candidate);
    }
    candidate_cache_free(cache);
    bank_close(&bank);
    free(first);
    free(y);
    free(x);
}
END_TEST

static TuneOptions options_of(const Target *target, const Machine *machine, double budget) {
    return (TuneOptions){.target = target,
                         .machine = machine,
                         .threads = 2,
                         .workload = {.tokens = {1, 40}, .weight = {1, 1}, .parts = 2},
                         .budget = budget,
                         .seed = 1};
}

// Memory enough for a bank of some megabytes only: tests need no cold weights.
static Machine small_memory(const Machine *machine) {
    Machine small = *machine;
    small.memory_available = 16 << 20;
    return small;
}

START_TEST(test_search_ends) {
    Machine machine, small;
    const Target *target = host(&machine);
    small = small_memory(&machine);
    Layer layer = layer_of(3);
    Plan standard = plan_default(&layer, target, &small, NULL);
    TuneOptions options = options_of(target, &small, 2);
    json_t *known = json_pack("{s:i}", _i ? "few_tokens" : "no such knob", 4);
    options.start = known;
    options.start_worst = _i == 2;
    TuneResult result;
    Diagnostics diagnostics = {0};
    ck_assert_msg(!tune_layer("layer", &standard, &options, &result, &diagnostics), "%s", diagnostics.text);
    ck_assert(result.search.gain >= 1 && !result.search.stopped && !result.unusable);
    ck_assert(result.rates[0].stream[0][0] > 0 && result.rates[1].tall[0][0] > 0);
    Plan best;
    space_plan(&result.space, &result.search.best, &best);
    ck_assert_mem_eq(&best, &result.plan, sizeof best);
    json_decref(known);
    tune_result_free(&result);
}
END_TEST

static int calls_until_stop;

static void stop_soon(const Search *search, const char *layer, double budget) {
    (void)search, (void)layer, (void)budget;
    tune_stopped = ++calls_until_stop >= 3;
}

START_TEST(test_stopped) {
    Machine machine, small;
    const Target *target = host(&machine);
    small = small_memory(&machine);
    Layer layer = layer_of(3);
    Plan standard = plan_default(&layer, target, &small, NULL);
    TuneOptions options = options_of(target, &small, 600);
    options.progress = stop_soon;
    TuneResult result;
    Diagnostics diagnostics = {0};
    ck_assert_int_eq(tune_layer("layer", &standard, &options, &result, &diagnostics), 0);
    ck_assert(result.search.stopped);
    ck_assert_int_ge((int)result.search.trial_count, 1);
    ck_assert_mem_eq(&result.plan, &standard, sizeof standard);
    tune_result_free(&result);
    tune_stopped = 0;
}
END_TEST

Suite *suite_tune(void) {
    Suite *suite = suite_create("tune");
    TCase *cases = tcase_create("candidates");
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, test_bits, 0, 5);
    tcase_add_loop_test(cases, test_search_ends, 0, 3);
    tcase_add_test(cases, test_stopped);
    suite_add_tcase(suite, cases);
    return suite;
}
