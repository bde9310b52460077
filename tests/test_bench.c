// The benchmark's arithmetic on known layers, statistics, routing texts, the chain's sibling, and the JSON document. No timings.
// Over 500 lines: one test for each file of bench_*.c, on the same few layers.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/bench/bench.h"
#include "compiler/plan/text.h"
#include "suites.h"

// The benchmarked layer: hidden 1024, 64 experts of 704; MoE 8 of 64 or CoE-2 4 of 64.
static Plan paper_plan(int64_t iterations, int64_t top_k, Format weights) {
    Plan plan = {.layer = {.hidden = 1024,
                           .iterations = iterations,
                           .experts = 64,
                           .intermediate = 704,
                           .top_k = top_k,
                           .gated = 1,
                           .scale = 1,
                           .weights = (int32_t)weights,
                           .router_weights = FORMAT_FP32,
                           .outer_residual = 1}};
    plan_layout(&plan);
    return plan;
}

static void near(double a, double b) {
    ck_assert_msg(fabs(a - b) <= 1e-9 * (1 + fabs(b)), "%.12g is not %.12g", a, b);
}

// --- statistics --------------------------------------------------------------------------------------------------------------

START_TEST(statistics_of_known_samples) {
    double samples[] = {5, 1, 4, 2, 3};
    Statistics statistics = statistics_of(samples, 5);
    near(statistics.median, 3);
    near(statistics.min, 1);
    near(statistics.spread, (4.0 - 2.0) / 3.0);
    ck_assert_uint_eq(statistics.count, 5);
    double even[] = {4, 1, 3, 2}, one[] = {7};
    near(statistics_of(even, 4).median, 2.5);
    near(statistics_of(one, 1).median, 7);
    near(statistics_of(one, 1).spread, 0);
    near(statistics_of(one, 0).median, 0);
}
END_TEST

// --- work --------------------------------------------------------------------------------------------------------------------

START_TEST(one_token_of_the_moe) {
    Plan plan = paper_plan(1, 8, FORMAT_BF16);
    int32_t experts[] = {3, 9, 1, 60, 7, 22, 45, 11};
    Visits visits;
    ck_assert_int_eq(work_visits(&plan.layer, 1, experts, &visits), 0);
    near(visits.visits, 8);
    near(visits.distinct, 8);
    near(visits.union_experts, 8);
    near(visits.largest_share, 1.0 / 8);
    Work given = work_count(&plan, 1, &visits, false), routed = work_count(&plan, 1, &visits, true);
    near(given.flops, 34603008);  // 34.6 MFLOP, 34.6 MB of bf16
    near(given.bytes, 34603008);
    near(given.union_bytes, given.bytes);
    near(routed.flops - given.flops, 2.0 * 1024 * 64);
    near(routed.bytes - given.bytes, 1024.0 * 64 * 4);
}
END_TEST

START_TEST(chain_counts_every_iteration) {
    Plan plan = paper_plan(2, 4, FORMAT_FP32);
    // Two tokens: the first iteration has 5 distinct experts, the second 4, of which 2 are new.
    int32_t experts[] = {0, 1, 2, 3, 0, 1, 2, 4, 0, 1, 8, 9, 9, 8, 1, 0};
    Visits visits;
    ck_assert_int_eq(work_visits(&plan.layer, 2, experts, &visits), 0);
    near(visits.visits, 16);
    near(visits.distinct_sum, 9);
    near(visits.distinct, 4.5);
    near(visits.union_experts, 7);
    near(visits.largest_share, 0.25);
    double expert = 3.0 * 1024 * 704 * 4, router = 1024.0 * 64 * 4;
    Work work = work_count(&plan, 2, &visits, true);
    near(work.flops, 16 * 6.0 * 1024 * 704 + 4 * 2.0 * 1024 * 64);
    near(work.bytes, 9 * expert + 2 * router);
    near(work.union_bytes, 7 * expert + router);
}
END_TEST

START_TEST(unused_slots_and_shared_experts) {
    Plan plan = paper_plan(1, 2, FORMAT_BF16);
    plan.layer.shared_experts = 2;
    plan.layer.shared_intermediate = 704;
    plan.layer.gated = 0;
    plan_layout(&plan);
    int32_t experts[] = {5, -1, -1, -1};
    Visits visits;
    ck_assert_int_eq(work_visits(&plan.layer, 2, experts, &visits), 0);
    near(visits.visits, 1);
    near(visits.largest_share, 1);
    double expert = 2.0 * 1024 * 704;
    Work work = work_count(&plan, 2, &visits, false);
    near(work.flops, (1 + 2 * 2) * 2 * expert);
    near(work.bytes, (1 + 2) * 2 * expert);
}
END_TEST

START_TEST(means_over_calls) {
    Visits mean = {0}, a = {.visits = 8, .distinct = 4, .largest_share = 0.5},
           b = {.visits = 16, .distinct = 8, .largest_share = 1};
    work_visits_mean(&mean, 0, &a);
    work_visits_mean(&mean, 1, &b);
    near(mean.visits, 12);
    near(mean.distinct, 6);
    near(mean.largest_share, 0.75);
}
END_TEST

// --- rows --------------------------------------------------------------------------------------------------------------------

static BenchRow sample_row(void) {
    BenchRow row = {.layer = "layer",
                    .routing = "uniform",
                    .path = "fp32_fma",
                    .opponent = "plain",
                    .tokens = 8,
                    .threads = 2,
                    .cold = true,
                    .routed = true,
                    .best_peak = 100,
                    .bandwidth = 20,
                    .max_error = 1e-6};
    row.work = (Work){.flops = 1e9, .bytes = 4e8, .union_bytes = 3e8};
    row.time = (Statistics){.median = 0.025, .spread = 0.02, .min = 0.024, .count = 9};
    row.opponent_time = (Statistics){.median = 0.1, .count = 3};
    return row;
}

START_TEST(row_of_a_memory_bound_call) {
    BenchRow row = sample_row();
    bench_row_finish(&row);
    near(row.gflops, 40);
    near(row.gbytes_s, 16);
    near(row.fraction_of_peak, 0.4);
    near(row.fraction_of_bandwidth, 0.8);
    near(row.roofline_s, 0.02);
    near(row.roofline_fraction, 0.8);
    near(row.union_roofline_s, 0.015);
    near(row.union_roofline_fraction, 0.6);
    near(row.speedup, 4);
    ck_assert_str_eq(row.note, "");
}
END_TEST

START_TEST(row_of_a_compute_bound_call) {
    BenchRow row = sample_row();
    row.work.flops = 2.4e9;
    bench_row_finish(&row);
    near(row.roofline_s, 0.024);
    near(row.roofline_fraction, 0.96);
}
END_TEST

START_TEST(faster_than_the_read_loops_raises_the_bandwidth) {
    BenchRow row = sample_row();
    row.time.median = 0.01;  // 30 GB/s of the union, above the 20 that were measured
    bench_row_finish(&row);
    near(row.bandwidth, 30);
    near(row.union_roofline_fraction, 1);
    ck_assert(*row.note);
}
END_TEST

START_TEST(warm_rows_have_no_bandwidth) {
    BenchRow row = sample_row();
    row.cold = false;
    row.time.median = 0.001;  // 400 GB/s: a cache's
    bench_row_finish(&row);
    near(row.gflops, 1000);
    near(row.gbytes_s, 400);
    near(row.fraction_of_peak, 10);
    near(row.speedup, 100);
    ck_assert_str_eq(row.note, "");
    static const char *const keys[] = {"bandwidth_gbytes_s", "fraction_of_bandwidth", "roofline_s",
                                       "roofline_fraction",  "union_roofline_s",      "union_roofline_fraction"};
    json_t *json = bench_row_json(&row);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        ck_assert_msg(json_is_null(json_object_get(json, keys[i])), "%s", keys[i]);
    }
    json_decref(json);
}
END_TEST

START_TEST(chains_that_find_experts_in_cache_say_so) {
    BenchRow row = sample_row();
    row.time.median = 0.016;  // 25 GB/s naive, 18.75 of the union
    bench_row_finish(&row);
    near(row.fraction_of_bandwidth, 1.25);
    bench_row_explain(&row);
    ck_assert_str_eq(row.note, "bw above 1: the chain's later iterations found experts in cache");
    row = sample_row();
    bench_row_finish(&row);
    bench_row_explain(&row);
    ck_assert_str_eq(row.note, "");
}
END_TEST

START_TEST(tax_is_of_equal_flops) {
    Layer layer = {.iterations = 2, .top_k = 4, .experts = 64};
    BenchRow row = sample_row(), sibling = sample_row();
    sibling.time.median = 0.02;
    bench_row_tax(&row, 1e9, &layer, &sibling, 1e9);
    near(row.tax, 0.8);
    near(row.sibling_flops, 1);
    ck_assert_str_eq(row.note, "");
    layer.shared_experts = 1;
    bench_row_tax(&row, 1.25e9, &layer, &sibling, 1e9);
    near(row.tax, 1);
    near(row.sibling_flops, 1.25);
    ck_assert_str_eq(row.note,
                     "/MoE compares FLOP/s: the chain has 1.25 times the FLOPs of its sibling, which runs shared experts once");
    row.note[0] = 0;
    layer = (Layer){.iterations = 3, .top_k = 2, .experts = 5};
    bench_row_tax(&row, 6, &layer, &sibling, 5);
    ck_assert_str_eq(row.note, "/MoE compares FLOP/s: the chain has 1.2 times the FLOPs of its sibling, whose k ends at the pool");
}
END_TEST

START_TEST(short_rotations_need_eviction) {
    const int64_t cache = (int64_t)260 << 20;
    ck_assert(bench_needs_eviction(4, 34.6e6, cache));  // one token of the paper's layer
    ck_assert(!bench_needs_eviction(4, 277e6, cache));
    ck_assert(bench_needs_eviction(4, (double)cache - 1, cache));
    ck_assert(!bench_needs_eviction(4, (double)cache, cache));
    ck_assert(!bench_needs_eviction(1, 1, 0));  // a cache of unknown size
}
END_TEST

START_TEST(disturbed_machines_are_named) {
    Bandwidth calm = {.gbytes_s = 20, .spread = 0.05}, slow = {.gbytes_s = 5, .spread = 0.05},
              shaky = {.gbytes_s = 20, .spread = 0.4};
    BenchRow row = sample_row();  // its calls read 12 GB/s of the union
    near(work_reached(&row.work, row.time.median), 12);
    ck_assert(bandwidth_plausible(&calm, 12));
    ck_assert(!bandwidth_plausible(&slow, 12));
    ck_assert(!bandwidth_plausible(&shaky, 12));
    bench_row_judge(&row, &calm);
    ck_assert_str_eq(row.disturbed, "");
    bench_row_judge(&row, NULL);
    ck_assert_str_eq(row.disturbed, "");
    bench_row_judge(&row, &slow);
    ck_assert_str_eq(row.disturbed, "the read loops reach 5.0 GB/s, the calls 12.0");
    row.time.spread = 0.26;
    bench_row_judge(&row, &shaky);
    ck_assert_str_eq(row.disturbed, "the rate of the read loops varies by 40%; the time of a call varies by 26%");
    json_t *json = bench_row_json(&row);
    ck_assert_str_eq(json_string_value(json_object_get(json, "disturbed")), row.disturbed);
    json_decref(json);
}
END_TEST

START_TEST(notes_end_where_they_must) {
    char note[BENCH_NOTE_BYTES] = "";
    for (int i = 0; i < BENCH_NOTE_BYTES; i++) {
        bench_note(note, "%d", i);
    }
    ck_assert_uint_eq(strlen(note), BENCH_NOTE_BYTES - 1);
    ck_assert_int_eq(strncmp(note, "0; 1; 2; ", 9), 0);
}
END_TEST

// Only what differs by more than a thousandth is named, and how the whole compares.
START_TEST(other_work_is_named) {
    static const struct {
        Work ours, theirs;
        const char *note;
    } rows[] = {
        {{.routed_flops = 1000, .flops = 1000}, {.routed_flops = 1000, .flops = 1000}, ""},
        {{.routed_flops = 1000.9, .flops = 1000.9}, {.routed_flops = 1000, .flops = 1000}, ""},
        {{.routed_flops = 999.1, .flops = 999.1}, {.routed_flops = 1000, .flops = 1000}, ""},
        {{.routed_flops = 2000, .router_flops = 10, .flops = 2010},
         {.routed_flops = 1000, .router_flops = 10, .flops = 1010},
         "FLOPs are not the opponent's: routed 2 times, 1.99 times in all"},
        {{.routed_flops = 500, .shared_flops = 30, .router_flops = 5, .flops = 535},
         {.routed_flops = 1000, .router_flops = 10, .flops = 1010},
         "FLOPs are not the opponent's: routed 0.5 times, shared FLOPs where it has none, router 0.5 times, 0.5297 times in all"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char note[BENCH_NOTE_BYTES] = "";
        bench_note_work(note, &rows[i].ours, &rows[i].theirs);
        ck_assert_str_eq(note, rows[i].note);
    }
}
END_TEST

START_TEST(errors_are_relative_to_the_row) {
    float a[] = {1, 2, 3, 10, 20, 30}, b[] = {1, 2, 4, 10, 20, 33};
    near(bench_max_error(a, b, 2, 3), 0.25);
    near(bench_max_error(a, a, 2, 3), 0);
    a[0] = NAN;
    ck_assert(isinf(bench_max_error(a, b, 2, 3)));
    b[0] = NAN;
    near(bench_max_error(a, b, 2, 3), 0.25);
}
END_TEST

// --- routing -----------------------------------------------------------------------------------------------------------------

START_TEST(routing_texts) {
    Routing routing;
    ck_assert_int_eq(routing_parse("uniform", &routing), 0);
    ck_assert_int_eq(routing_parse("one", &routing), 0);
    ck_assert_int_eq(routing_parse("zipf:1.2", &routing), 0);
    near(routing.synthetic.exponent, 1.2);
    ck_assert_int_eq(routing_parse("trace:some/prefix", &routing), 0);
    ck_assert(routing.is_trace);
    static const char *const wrong[] = {"", "unifor", "zipf", "zipf:", "zipf:x", "zipf:-1", "trace:", "uniform "};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_msg(routing_parse(wrong[i], &routing), "'%s' was accepted", wrong[i]);
    }
}
END_TEST

START_TEST(traces_keep_their_order_and_wrap) {
    Layer layer = {.iterations = 2, .top_k = 1};
    int32_t experts[] = {0, 1, 2, 10, 11, 12}, out[8];
    float weights[] = {.0F, .1F, .2F, 1.0F, 1.1F, 1.2F}, weights_out[8];
    RoutingTrace trace = {.tokens = 3, .experts = experts, .weights = weights};
    routing_trace_window(&trace, &layer, 2, 4, out, weights_out);
    static const int32_t expected[] = {2, 0, 1, 2, 12, 10, 11, 12};
    ck_assert_mem_eq(out, expected, sizeof expected);
    ck_assert(weights_out[4] == 1.2F);
}
END_TEST

START_TEST(choices_are_compared_as_sets) {
    Layer layer = {.iterations = 2, .top_k = 2};
    int32_t a[] = {1, 2, 3, 4, 5, 6, 7, 8}, b[] = {2, 1, 3, 4, 5, 6, 7, 9};  // two tokens
    ck_assert(routing_same_choices(&layer, 2, 0, a, b));
    ck_assert(!routing_same_choices(&layer, 2, 1, a, b));
}
END_TEST

// --- the sibling -------------------------------------------------------------------------------------------------------------

static const char chain_text[] =
    "{\"name\": \"pair\", \"layers\": [{\"name\": \"other\", \"hidden\": 8, \"router\": {\"k\": 1}, \"experts\": {\"count\": 4, "
    "\"intermediate\": 8}}, {\"name\": \"chain\", \"count\": 3, \"hidden\": 64, \"iterations\": 3, \"residual\": {\"inner\": "
    "true}, "
    "\"router\": {\"k\": 2, \"per_iteration\": true}, \"experts\": {\"count\": 5, \"intermediate\": 32}}]}";

START_TEST(sibling_of_a_chain) {
    Diagnostics diagnostics = {0};
    char *text = bench_sibling_text(chain_text, 1, &diagnostics);
    ck_assert_ptr_nonnull(text);
    Model *model = model_read_text(text, strlen(text), "sibling", &diagnostics);
    ck_assert_msg(model != NULL, "%s", diagnostics.text);
    ck_assert_int_eq(model->layer_count, 1);
    const Layer *layer = &model->layers[0].layer;
    ck_assert_int_eq(layer->iterations, 1);
    ck_assert_int_eq(layer->top_k, 5);  // 3 * 2, but the pool has 5
    ck_assert_int_eq(layer->inner_residual, 0);
    ck_assert_int_eq(layer->outer_residual, 1);
    ck_assert_int_eq(layer->gate_per_iteration, 0);
    ck_assert_int_eq(layer->hidden, 64);
    ck_assert_int_eq(model->layers[0].count, 1);
    model_free(model);
    free(text);
    ck_assert_ptr_null(bench_sibling_text(chain_text, 2, &diagnostics));
    ck_assert_uint_eq(diagnostics.count, 1);
    diagnostics_free(&diagnostics);
}
END_TEST

// A chain's k choices per iteration fit its groups; all of them at once need more groups, or every one.
START_TEST(sibling_of_a_chain_with_groups) {
    static const struct {
        int iterations, groups;
        int64_t k, expected;
    } rows[] = {{1, 1, 2, 1}, {2, 1, 4, 2}, {2, 3, 4, 3}, {3, 1, 6, 3}, {4, 1, 8, 4}, {9, 2, 8, 4}};
    char chain[512];
    snprintf(chain, sizeof chain,
             "{\"name\": \"grouped\", \"layers\": [{\"name\": \"chain\", \"hidden\": 64, \"iterations\": %d, \"residual\": "
             "{\"inner\": true}, \"router\": {\"k\": 2, \"groups\": {\"count\": 4, \"k\": %d}}, \"experts\": {\"count\": 7, "
             "\"identity\": 1, \"intermediate\": 32}}]}",
             rows[_i].iterations, rows[_i].groups);
    Diagnostics diagnostics = {0};
    char *text = bench_sibling_text(chain, 0, &diagnostics);
    ck_assert_ptr_nonnull(text);
    Model *model = model_read_text(text, strlen(text), "sibling", &diagnostics);
    ck_assert_msg(model != NULL, "%s", diagnostics.text);
    ck_assert_int_eq(model->layers[0].layer.top_k, rows[_i].k);
    ck_assert_int_eq(model->layers[0].layer.top_groups, rows[_i].expected);
    model_free(model);
    free(text);
    diagnostics_free(&diagnostics);
}
END_TEST

// --- interleaving ------------------------------------------------------------------------------------------------------------

typedef struct Fake {
    int calls, prepared, fail_at, leads, fail_lead_at;
} Fake;

static void fake_prepare(void *context) {
    ((Fake *)context)->prepared++;
}

static int fake_call(void *context) {
    Fake *fake = context;
    fake->calls++;
    ck_assert_int_eq(fake->calls, fake->prepared);
    return fake->fail_at && fake->calls == fake->fail_at ? -7 : 0;
}

// Comes before the preparation, so that the timed calls' weights and tokens follow each other without a gap.
static int fake_lead(void *context) {
    Fake *fake = context;
    ck_assert_int_eq(fake->calls, fake->prepared);
    return ++fake->leads == fake->fail_lead_at ? -8 : 0;
}

START_TEST(every_side_is_called_often_enough) {
    Fake a = {0}, b = {0};
    BenchSide *sides = calloc(2, sizeof *sides);
    sides[0] = (BenchSide){.context = &a, .prepare = fake_prepare, .call = fake_call};
    sides[1] = (BenchSide){.context = &b, .prepare = fake_prepare, .call = fake_call};
    ck_assert_int_eq(bench_interleave(sides, 2, 0), 0);
    ck_assert_uint_ge(sides[0].count, BENCH_MIN_CALLS);
    ck_assert_uint_ge(sides[1].count, BENCH_MIN_SLOW_CALLS);
    ck_assert_uint_eq(sides[0].count + 1, (size_t)a.calls);  // the first call is not timed
    b = (Fake){.fail_at = 2};
    a = (Fake){0};
    ck_assert_int_eq(bench_interleave(sides, 2, 0), -7);
    bench_stopped = 1;
    a = b = (Fake){0};
    ck_assert_int_eq(bench_interleave(sides, 2, 100), -1);
    bench_stopped = 0;
    free(sides);
}
END_TEST

START_TEST(scratch_is_read_before_timed_calls) {
    Machine machine = {.cache_count = 1, .caches = {{.level = 3, .bytes = 1 << 20}}, .memory_available = (int64_t)1 << 30};
    Fake fake = {0};
    BenchScratch scratch;
    BenchSide *sides = calloc(1, sizeof *sides);
    ck_assert_int_eq(bench_scratch_open(&scratch, &machine, 2, false), 0);
    ck_assert_int_ge(scratch.bytes, 2 << 20);
    sides[0] = (BenchSide){.context = &fake, .prepare = fake_prepare, .call = fake_call, .evict = &scratch};
    ck_assert_int_eq(bench_interleave(sides, 1, 0), 0);
    ck_assert(!scratch.incomplete);
    ck_assert_uint_eq(sides[0].count + 1, (size_t)fake.calls);
    fake = (Fake){0};
    sides[0].lead = fake_lead;
    ck_assert_int_eq(bench_interleave(sides, 1, 0), 0);
    ck_assert_uint_eq(sides[0].count + 1, (size_t)fake.calls);
    ck_assert_uint_eq(sides[0].count, (size_t)fake.leads);  // the first call is not timed
    fake = (Fake){.fail_lead_at = 2};
    ck_assert_int_eq(bench_interleave(sides, 1, 0), -8);
    ck_assert_int_eq(fake.calls, 2);
    ck_assert_int_eq(bandwidth_sweep(scratch.memory, scratch.bytes, 2, 0), -1);  // no time
    bench_scratch_close(&scratch);
    machine.memory_available = 1 << 20;
    ck_assert_int_eq(bench_scratch_open(&scratch, &machine, 2, false), -1);
    free(sides);
}
END_TEST

// --- JSON --------------------------------------------------------------------------------------------------------------------

START_TEST(document_has_what_the_issue_lists) {
    static const char *const keys[] = {"layer",
                                       "tokens",
                                       "routing",
                                       "distinct_experts",
                                       "largest_share",
                                       "threads",
                                       "cold",
                                       "median_s",
                                       "spread",
                                       "flops",
                                       "bytes",
                                       "union_bytes",
                                       "gflops",
                                       "gbytes_s",
                                       "fraction_of_peak",
                                       "fraction_of_bandwidth",
                                       "roofline_fraction",
                                       "path",
                                       "opponent_s",
                                       "speedup",
                                       "max_error",
                                       "evicted",
                                       "huge_pages",
                                       "flops_to_one_iteration"};
    Machine machine = {.cpu = "a CPU", .architecture = "x86_64"};
    BenchOptions options = {.threads = 2};
    BenchRow row = sample_row();
    bench_row_finish(&row);
    BenchRun run = {
        .machine = &machine, .options = &options, .rows = &row, .row_count = 1, .peaks = {100}, .bandwidth = {.gbytes_s = 20}};
    json_t *document = bench_document(&run);
    ck_assert_ptr_nonnull(document);
    static const char *const parts[] = {"machine", "peaks", "bandwidth", "rows"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        ck_assert_msg(json_object_get(document, parts[i]) != NULL, "no '%s'", parts[i]);
    }
    const json_t *first = json_array_get(json_object_get(document, "rows"), 0);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        ck_assert_msg(json_object_get(first, keys[i]) != NULL, "no '%s'", keys[i]);
    }
    near(json_real_value(json_object_get(first, "speedup")), 4);
    ck_assert(json_is_true(json_object_get(first, "cold")));
    json_decref(document);
}
END_TEST

START_TEST(row_without_opponent_has_nulls) {
    BenchRow row = sample_row();
    row.opponent_time = (Statistics){0};
    row.max_error = NAN;
    bench_row_finish(&row);
    json_t *json = bench_row_json(&row);
    ck_assert(json_is_null(json_object_get(json, "opponent_s")));
    ck_assert(json_is_null(json_object_get(json, "speedup")));
    ck_assert(json_is_null(json_object_get(json, "max_error")));
    json_decref(json);
}
END_TEST

Suite *suite_bench(void) {
    Suite *suite = suite_create("bench");
    TCase *cases = tcase_create("bench");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_test(cases, statistics_of_known_samples);
    tcase_add_test(cases, one_token_of_the_moe);
    tcase_add_test(cases, chain_counts_every_iteration);
    tcase_add_test(cases, unused_slots_and_shared_experts);
    tcase_add_test(cases, means_over_calls);
    tcase_add_test(cases, row_of_a_memory_bound_call);
    tcase_add_test(cases, row_of_a_compute_bound_call);
    tcase_add_test(cases, faster_than_the_read_loops_raises_the_bandwidth);
    tcase_add_test(cases, warm_rows_have_no_bandwidth);
    tcase_add_test(cases, chains_that_find_experts_in_cache_say_so);
    tcase_add_test(cases, tax_is_of_equal_flops);
    tcase_add_test(cases, short_rotations_need_eviction);
    tcase_add_test(cases, scratch_is_read_before_timed_calls);
    tcase_add_test(cases, disturbed_machines_are_named);
    tcase_add_test(cases, notes_end_where_they_must);
    tcase_add_test(cases, other_work_is_named);
    tcase_add_test(cases, errors_are_relative_to_the_row);
    tcase_add_test(cases, routing_texts);
    tcase_add_test(cases, traces_keep_their_order_and_wrap);
    tcase_add_test(cases, choices_are_compared_as_sets);
    tcase_add_test(cases, sibling_of_a_chain);
    tcase_add_loop_test(cases, sibling_of_a_chain_with_groups, 0, 6);
    tcase_add_test(cases, every_side_is_called_often_enough);
    tcase_add_test(cases, document_has_what_the_issue_lists);
    tcase_add_test(cases, row_without_opponent_has_nulls);
    suite_add_tcase(suite, cases);
    return suite;
}
