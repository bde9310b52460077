// The cost model against results worked out here from the layer's sizes: bytes alone, arithmetic alone, both; the weights of
// Poisson's distribution; tiles, threads, shared experts, the charge for distance. Rates are made up, nothing is measured.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/plan/planner.h"
#include "compiler/plan/predict.h"
#include "fixture.h"
#include "suites.h"

// A layer of whole panels: what a role multiplies and reads is what its sizes say.
enum { HIDDEN = 64, INTERMEDIATE = 96, SHARED = 32, EXPERTS = 8, TOP_K = 2, ITERATIONS = 3, THREADS = 4 };
// Tallest tile of avx512: 14 rows, 32 columns in two registers of 16.
enum { TALLEST = 14, REGISTERS = 2 };

static const double barriers = 3 * 5e-6, never = 1e12;  // a rate that no time is lost with

typedef struct Setup {
    Space space;
    Rates rates[SPACE_ROLES];
} Setup;

static void set_rates(Setup *s, int role, double gflops, double gbytes_s) {
    for (int i = 0; i < SPACE_MAX_VALUES; i++) {
        for (int j = 0; j < SPACE_MAX_VALUES; j++) {
            s->rates[role].tall[i][j] = gflops;
            s->rates[role].stream[i][j] = gbytes_s;
        }
    }
}

static Setup *set_up(Format weights, int64_t shared_experts) {
    const Machine machine = {
        .threads = THREADS, .cache_count = 1, .caches = {{.level = 2, .bytes = 1 << 20, .line_bytes = 64, .shared_by = 1}}};
    Layer layer = fixture_neutral((Layer){.hidden = HIDDEN,
                                          .intermediate = INTERMEDIATE,
                                          .experts = EXPERTS,
                                          .top_k = TOP_K,
                                          .iterations = ITERATIONS,
                                          .shared_experts = shared_experts,
                                          .shared_intermediate = shared_experts ? SHARED : 0,
                                          .gated = 1,
                                          .weights = weights});
    Plan plan = plan_default(&layer, &target_avx512, &machine, NULL);
    Setup *s = calloc(1, sizeof *s);
    ck_assert_ptr_nonnull(s);
    space_make(&plan, &target_avx512, &machine, &s->space);
    ck_assert_int_eq(plan.roles[ROLE_GATE_UP].max_rows, TALLEST);
    ck_assert_int_eq(plan.roles[ROLE_GATE_UP].tile_columns, REGISTERS * target_avx512.lanes);
    return s;
}

static double predict(const Setup *s, int64_t tokens) {
    const Point standard = space_standard(&s->space);
    return predict_seconds(&s->space, s->rates, THREADS, &standard, tokens);
}

static void expect(double found, double expected, double relative) {
    ck_assert_msg(fabs(found - expected) <= relative * expected, "%.12g, not %.12g", found, expected);
}

// Doubles: some hundred operations, each off by 2^-53.
static const double exactly = 1e-12;

// What the sum over n leaves out: P(N >= x) <= e^-m (e m / x)^x, with x = m + 6 sqrt(m) + 8 (Chernoff).
static double tail(double mean) {
    double x = mean + 6 * sqrt(mean) + 8;
    return exp(x - mean + x * log(mean / x));
}

static double poisson(double mean, int n) {
    return exp(n * log(mean) - mean - lgamma(n + 1));
}

// Weights of a role: gate and up, or down.
static double values(int role, double intermediate) {
    return (role ? 1 : 2) * intermediate * HIDDEN;
}

// An expert that is visited costs its bytes, however often; one that is not visited costs nothing: 1 - P(0) in the mean.
START_TEST(test_bytes_alone) {
    const Format formats[] = {FORMAT_FP32, FORMAT_BF16};
    const double rates[] = {2, 0.5};  // GB/s
    Setup *s = set_up(formats[_i], 0);
    for (int64_t tokens = 1; tokens <= 512; tokens *= 2) {
        double mean = (double)tokens * TOP_K / EXPERTS, seconds = barriers;
        for (int role = 0; role < SPACE_ROLES; role++) {
            double bytes = values(role, INTERMEDIATE) * (formats[_i] == FORMAT_BF16 ? 2 : 4);
            set_rates(s, role, never, rates[role]);
            seconds += EXPERTS * (1 - exp(-mean)) * bytes / rates[role] * 1e-9;
        }
        // a tenth of arithmetic that takes no time: FLOPs at 1e12 GFLOP/s
        expect(predict(s, tokens), ITERATIONS * seconds, tail(mean) + 1e-9);
        expect(predict_rows(&s->space.standard.layer, tokens), mean, exactly);
    }
    free(s);
}
END_TEST

// GFLOP of n rows, split evenly over tiles, at the rate of the tallest tile less what a lower one loses: `loads` of a row's time to
// load (or widen) weights, and waiting where fewer than eight sums are under way.
static double arithmetic(int role, double intermediate, double rows, double loads) {
    double height = rows / ceil(rows / TALLEST), waiting = fmin(1, height * REGISTERS / 8);
    double share = height / (height + loads) * (TALLEST + loads) / TALLEST * waiting;
    return 2e-9 * rows * values(role, intermediate) / share;
}

START_TEST(test_arithmetic_alone) {
    const Format formats[] = {FORMAT_FP32, FORMAT_BF16};
    const double loads[] = {0.3, 1}, rates[] = {3, 7};  // GFLOP/s of a thread
    Setup *s = set_up(formats[_i], 0);
    set_rates(s, 0, rates[0], never);
    set_rates(s, 1, rates[1], never);
    const int64_t tokens[] = {1, 2, 3, 7, 15, 64, 100, 333, 800};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        double mean = (double)tokens[i] * TOP_K / EXPERTS, seconds = barriers;
        for (int n = 1; n < 400; n++) {
            for (int role = 0; role < SPACE_ROLES; role++) {
                seconds += EXPERTS * poisson(mean, n) * arithmetic(role, INTERMEDIATE, n, loads[_i]) / rates[role] / THREADS;
            }
        }
        // what is left out has n times the cost of one row, at most 400
        expect(predict(s, tokens[i]), ITERATIONS * seconds, 400 * tail(mean) + 1e-9);
    }
    free(s);
}
END_TEST

// From a mean of more than 200 on: as if every expert had the mean.
START_TEST(test_many_rows) {
    const int64_t means[] = {201, 20 * TALLEST};
    Setup *s = set_up(FORMAT_FP32, 0);
    set_rates(s, 0, 3, never);
    set_rates(s, 1, 7, never);
    for (int i = 0; i < 2; i++) {
        double mean = (double)means[i];
        double seconds = arithmetic(0, INTERMEDIATE, mean, 0.3) / 3 + arithmetic(1, INTERMEDIATE, mean, 0.3) / 7;
        expect(predict(s, means[i] * EXPERTS / TOP_K), ITERATIONS * (barriers + EXPERTS * seconds / THREADS), 1e-9);
    }
    // whole tiles of the tallest: its rate, without any loss
    double gflop = 2e-9 * 20 * TALLEST * values(0, INTERMEDIATE);
    expect(arithmetic(0, INTERMEDIATE, 20 * TALLEST, 0.3), gflop, exactly);
    free(s);
}
END_TEST

// The longer of arithmetic and bytes counts, and a tenth of the shorter. Shared experts have a row of every token: what they add
// is told by the same layer without them.
START_TEST(test_both_and_shared_experts) {
    enum { COUNT = 5, TOKENS = 2 * TALLEST };
    Setup *without = set_up(FORMAT_FP32, 0), *with = set_up(FORMAT_FP32, COUNT);
    for (int role = 0; role < SPACE_ROLES; role++) {
        set_rates(without, role, 3, 1);
        set_rates(with, role, 3, 1);
    }
    const double rates[][2] = {{3, 1}, {0.5, 1}, {0.5, 100}, {1000, 1}};  // GFLOP/s, GB/s
    for (int i = 0; i < 4; i++) {
        double seconds = 0;
        for (int role = 0; role < SPACE_ROLES; role++) {
            set_rates(without, role, rates[i][0], rates[i][1]);
            set_rates(with, role, rates[i][0], rates[i][1]);
            double compute = 2e-9 * TOKENS * values(role, SHARED) / rates[i][0] / THREADS;
            double read = 4e-9 * values(role, SHARED) / rates[i][1];
            seconds += COUNT * (compute > read ? compute + read / 10 : read + compute / 10);
        }
        expect(predict(with, TOKENS) - predict(without, TOKENS), ITERATIONS * seconds, 1e-9);
    }
    free(without);
    free(with);
}
END_TEST

static int knob_of(const Space *space, const char *name) {
    for (int k = 0; k < space->knob_count; k++) {
        if (!strcmp(space->knobs[k].name, name)) {
            return k;
        }
    }
    ck_abort_msg("no knob %s", name);
}

static void choose(const Space *space, Point *point, const char *name, int64_t value) {
    const SpaceKnob *knob = &space->knobs[knob_of(space, name)];
    for (int v = 0; v < knob->count; v++) {
        if (knob->values[v] == value) {
            point->value[knob_of(space, name)] = (uint8_t)v;
            return;
        }
    }
    ck_abort_msg("%s is never %lld", name, (long long)value);
}

// |log2((value + 2) / (default + 2))|, times a ten thousandth.
static double charge(double value, double standard) {
    return 1 + 1e-4 * fabs(log2((value + 2) / (standard + 2)));
}

// A plan with fewer threads has their share of the arithmetic and, as a guess, of the bandwidth.
START_TEST(test_fewer_threads) {
    Setup *s = set_up(FORMAT_FP32, 0);
    Point point = space_standard(&s->space);
    choose(&s->space, &point, "threads", 1);
    const double rates[][2] = {{3, never}, {never, 1}};
    for (int i = 0; i < 2; i++) {
        set_rates(s, 0, rates[i][0], rates[i][1]);
        set_rates(s, 1, rates[i][0], rates[i][1]);
        double all = predict(s, 64) / ITERATIONS - barriers;
        double one = predict_seconds(&s->space, s->rates, THREADS, &point, 64) / charge(1, 0);
        expect(one, ITERATIONS * (barriers + THREADS * all), 1e-9);
        // told to use one thread, where there is but one: all of the bandwidth
        double alone = predict_seconds(&s->space, s->rates, 1, &point, 64) / charge(1, 0);
        expect(alone, ITERATIONS * (barriers + (i ? 1 : THREADS) * all), 1e-9);
    }
    free(s);
}
END_TEST

// Each role reads the rates of its own tile, unrolling and prefetch distance; where nothing else differs the default is preferred.
START_TEST(test_rates_of_the_point) {
    Setup *s = set_up(FORMAT_FP32, 0);
    Point point = space_standard(&s->space);
    const Plan *plan = &s->space.standard;
    choose(&s->space, &point, "gate_up.unroll", 2);
    choose(&s->space, &point, "gate_up.prefetch", 1024);
    double charges = charge(2, plan->roles[ROLE_GATE_UP].unroll) + charge(1024, plan->roles[ROLE_GATE_UP].prefetch) - 1;
    ck_assert(charges > 1.0001);
    set_rates(s, 0, never, never);
    set_rates(s, 1, never, never);
    expect(predict_seconds(&s->space, s->rates, THREADS, &point, 8), predict(s, 8) * charges, exactly);
    int unroll = point.value[knob_of(&s->space, "gate_up.unroll")], ahead = point.value[knob_of(&s->space, "gate_up.prefetch")];
    int tile = point.value[knob_of(&s->space, "gate_up.tile")];
    s->rates[0].stream[unroll][ahead] = 1;
    double mean = 8. * TOP_K / EXPERTS, read = 4e-9 * values(0, INTERMEDIATE);
    expect(predict_seconds(&s->space, s->rates, THREADS, &point, 8),
           ITERATIONS * (barriers + EXPERTS * (1 - exp(-mean)) * read) * charges, tail(mean) + 1e-9);
    s->rates[0].stream[unroll][ahead] = never;
    s->rates[0].tall[tile][unroll] = 3;
    mean = 20 * TALLEST;
    expect(predict_seconds(&s->space, s->rates, THREADS, &point, 20 * TALLEST * EXPERTS / TOP_K),
           ITERATIONS * (barriers + EXPERTS * 2e-9 * mean * values(0, INTERMEDIATE) / 3 / THREADS) * charges, 1e-9);
    free(s);
}
END_TEST

// More tokens take longer, higher rates less.
START_TEST(test_monotone) {
    Setup *s = set_up(FORMAT_BF16, 1);
    set_rates(s, 0, 30, 5);
    set_rates(s, 1, 30, 5);
    double before = 0;
    for (int64_t tokens = 1; tokens <= 1 << 14; tokens *= 2) {
        double seconds = predict(s, tokens);
        ck_assert_msg(seconds > before, "%lld tokens: %g s, half of them %g s", (long long)tokens, seconds, before);
        before = seconds;
    }
    for (int64_t tokens = 1; tokens <= 4096; tokens *= 8) {
        set_rates(s, 0, 30, 5);
        double seconds = predict(s, tokens);
        set_rates(s, 0, 31, 5);
        ck_assert(predict(s, tokens) < seconds);
        set_rates(s, 0, 30, 6);
        ck_assert(predict(s, tokens) < seconds);
    }
    free(s);
}
END_TEST

// Whatever a knob's value, there is a prediction.
START_TEST(test_all_knobs) {
    Setup *s = set_up(FORMAT_BF16, _i);
    set_rates(s, 0, 100, 10);
    set_rates(s, 1, 100, 10);
    for (int k = 0; k < s->space.knob_count; k++) {
        for (int v = 0; v < s->space.knobs[k].count; v++) {
            Point point = space_standard(&s->space);
            point.value[k] = (uint8_t)v;
            double seconds = predict_seconds(&s->space, s->rates, THREADS, &point, 16);
            ck_assert_msg(isfinite(seconds) && seconds > ITERATIONS * barriers, "%s, value %d", s->space.knobs[k].name, v);
        }
    }
    free(s);
}
END_TEST

Suite *suite_predict(void) {
    Suite *suite = suite_create("predict");
    TCase *cases = tcase_create("model");
    tcase_add_loop_test(cases, test_bytes_alone, 0, 2);
    tcase_add_loop_test(cases, test_arithmetic_alone, 0, 2);
    tcase_add_test(cases, test_many_rows);
    tcase_add_test(cases, test_both_and_shared_experts);
    tcase_add_test(cases, test_fewer_threads);
    tcase_add_test(cases, test_rates_of_the_point);
    tcase_add_test(cases, test_monotone);
    tcase_add_loop_test(cases, test_all_knobs, 0, 2);
    suite_add_tcase(suite, cases);
    return suite;
}
