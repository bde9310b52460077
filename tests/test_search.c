// The search on simulated machines: grids whose best point is known, with noise, outliers and wrong predictions.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../compiler/search.h"
#include "suites.h"

enum { KNOBS = 9, PARTS = 3, SEEDS = 20 };
static const int values[KNOBS] = {6, 4, 5, 3, 4, 6, 2, 3, 4};
static const double base[PARTS] = {0.002, 0.015, 0.070};  // seconds of the default's call

// Each knob's value costs something in each part; two knobs depend on each other; the rest is noise.
typedef struct Simulation {
    uint64_t random;
    double cost[KNOBS][8][PARTS];  // logarithms
    double noise, outliers, wrong;
    double now;
    double prepared;      // seconds that a new point takes
    int stop_after;       // measurements; 0: never
    int measured;
    bool broken;          // every point but the default is unusable
    SearchPoint seen[4096];
    size_t seen_count;
} Simulation;

static double uniform(Simulation *s) {
    s->random = s->random * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(s->random >> 11) * 0x1p-53;
}

static double normal(Simulation *s) {
    return sqrt(-2 * log(uniform(s) + 1e-300)) * cos(2 * 3.14159265358979 * uniform(s));
}

static double true_log(const Simulation *s, const SearchPoint *p, int part) {
    double sum = p->value[0] == 5 && p->value[1] < 2 ? 0.1 : 0;  // tall tiles need another unrolling
    for (int k = 0; k < KNOBS; k++) {
        sum += s->cost[k][p->value[k]][part];
    }
    return sum;
}

static double true_objective(const Simulation *s, const SearchPoint *p) {
    double sum = 0;
    for (int part = 0; part < PARTS; part++) {
        sum += true_log(s, p, part) / PARTS;
    }
    return sum;
}

static bool sim_valid(void *context, const SearchPoint *p) {
    (void)context;
    return p->value[0] + p->value[1] < 8;  // as registers limit tiles
}

static double sim_predict(void *context, const SearchPoint *p, int part) {
    Simulation *s = context;
    uint64_t hash = (uint64_t)part * 77;
    for (int k = 0; k < KNOBS; k++) {
        hash = (hash + p->value[k] + 1) * 0x9E3779B97F4A7C15ull;
    }
    double error = ((double)(hash >> 11) * 0x1p-53 - 0.5) * 2 * s->wrong;  // the same each time
    return base[part] * exp(true_log(s, p, part) + error);
}

static int sim_prepare(void *context, const SearchPoint *p) {
    Simulation *s = context;
    for (size_t i = 0; i < s->seen_count; i++) {
        if (!memcmp(&s->seen[i], p, sizeof *p)) {
            return 0;
        }
    }
    if (s->seen_count < sizeof s->seen / sizeof *s->seen) {
        s->seen[s->seen_count++] = *p;
    }
    s->now += s->prepared;
    SearchPoint standard = {{0}};
    return s->broken && memcmp(p, &standard, sizeof *p) ? 1 : 0;
}

static double sim_measure(void *context, const SearchPoint *p, int part) {
    Simulation *s = context;
    if (s->stop_after && s->measured++ >= s->stop_after) {
        return -1;
    }
    double seconds = base[part] * exp(true_log(s, p, part) + s->noise * normal(s));
    seconds *= uniform(s) < s->outliers ? 1.5 + uniform(s) : 1;
    s->now += seconds;
    return seconds;
}

static double sim_clock(void *context) {
    return ((Simulation *)context)->now;
}

// `spread`: how much a wrong value may cost; 0: all points are equal.
static Simulation simulate(uint64_t seed, double spread) {
    Simulation s = {.random = seed, .noise = 0.04, .outliers = 0.05, .wrong = 0.10, .prepared = 0.15};
    for (int k = 0; k < KNOBS; k++) {
        for (int v = 0; v < values[k]; v++) {
            double cost = spread * uniform(&s);
            for (int p = 0; p < PARTS; p++) {
                s.cost[k][v][p] = cost * uniform(&s) * 2;
            }
        }
    }
    return s;
}

static SearchProblem problem_of(Simulation *s) {
    SearchProblem problem = {.context = s,
                             .knobs = KNOBS,
                             .parts = PARTS,
                             .weight = {1, 1, 1},
                             .valid = sim_valid,
                             .predict = sim_predict,
                             .prepare = sim_prepare,
                             .measure = sim_measure,
                             .clock = sim_clock};
    for (int k = 0; k < KNOBS; k++) {
        problem.values[k] = values[k];
        problem.parts_of[k] = (1u << PARTS) - 1;
    }
    return problem;
}

// The objective of the best point (best >= 0) or the worst one, by looking at all.
static double extreme(const Simulation *s, int sign, SearchPoint *at) {
    SearchPoint p = {{0}};
    double found = INFINITY;
    for (;;) {
        if (sim_valid(NULL, &p) && sign * true_objective(s, &p) < found) {
            found = sign * true_objective(s, &p);
            *at = p;
        }
        int k = 0;
        while (k < KNOBS && ++p.value[k] == values[k]) {
            p.value[k++] = 0;
        }
        if (k == KNOBS) {
            return sign * found;
        }
    }
}

// Seeds in which the search ends within 3 % of the best.
static int count_found(SearchMethod method, bool from_worst, double budget) {
    int found = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        Simulation s = simulate(seed, 0.08);
        SearchPoint best, worst;
        double least = extreme(&s, 1, &best);
        extreme(&s, -1, &worst);
        SearchProblem problem = problem_of(&s);
        SearchOptions options = {.budget = budget, .seed = seed, .method = method, .start = from_worst ? &worst : NULL};
        SearchResult result;
        ck_assert_int_eq(search_run(&problem, &options, &result), 0);
        ck_assert_msg(s.now <= budget * 1.02 + 0.3, "seed %d: %g s of a budget of %g", (int)seed, s.now, budget);
        ck_assert_msg(true_objective(&s, &result.best) <= true_objective(&s, &problem.standard) + 0.01,
                      "seed %d: slower than the default", (int)seed);
        found += true_objective(&s, &result.best) < least + log(1.03);
        free(result.trials);
    }
    return found;
}

START_TEST(test_finds_best) {
    int found = count_found(SEARCH_RACE, false, 60);
    ck_assert_msg(found >= SEEDS * 9 / 10, "%d of %d", found, SEEDS);
}
END_TEST

START_TEST(test_recovers_from_worst) {
    int found = count_found(SEARCH_RACE, true, 60);
    ck_assert_msg(found >= SEEDS * 9 / 10, "%d of %d", found, SEEDS);
}
END_TEST

// What it is compared with does worse: otherwise the landscape would be too easy to show anything.
START_TEST(test_better_than_chance) {
    int raced = count_found(SEARCH_RACE, false, 30);
    ck_assert_int_lt(count_found(SEARCH_RANDOM, false, 30), raced);
    ck_assert_int_lt(count_found(SEARCH_MODEL, false, 30), raced);
}
END_TEST

START_TEST(test_ties_keep_default) {
    int moved = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        Simulation s = simulate(seed, 0);
        s.cost[0][0][0] = 0;
        SearchProblem problem = problem_of(&s);
        SearchOptions options = {.budget = 20, .seed = seed};
        SearchResult result;
        ck_assert_int_eq(search_run(&problem, &options, &result), 0);
        bool standard = !memcmp(&result.best, &problem.standard, sizeof result.best);
        ck_assert(!standard || (result.gain == 1 && result.low == 1 && result.high == 1));
        moved += !standard;
        free(result.trials);
    }
    ck_assert_msg(moved <= 2, "%d of %d equal landscapes had a winner", moved, SEEDS);
}
END_TEST

START_TEST(test_unusable) {
    Simulation s = simulate(3, 0.08);
    s.broken = true;
    SearchProblem problem = problem_of(&s);
    SearchOptions options = {.budget = 30, .seed = 1};
    SearchResult result;
    ck_assert_int_eq(search_run(&problem, &options, &result), 0);
    ck_assert_mem_eq(&result.best, &problem.standard, sizeof result.best);
    ck_assert(result.trial_count > 0 && result.trials[0].unusable);
    free(result.trials);
}
END_TEST

// Stopped at any measurement: what was found until then is kept, and the default is the answer.
START_TEST(test_stopped) {
    for (int after = 1; after < 400; after += 37) {
        Simulation s = simulate(5, 0.08);
        s.stop_after = after;
        SearchProblem problem = problem_of(&s);
        SearchOptions options = {.budget = 60, .seed = 2};
        SearchResult result;
        ck_assert_int_eq(search_run(&problem, &options, &result), 0);
        ck_assert(result.stopped);
        ck_assert_mem_eq(&result.best, &problem.standard, sizeof result.best);
        ck_assert(after < 60 || result.trial_count > 0);
        free(result.trials);
    }
}
END_TEST

// Two halves, the second knowing what the first found, are about as good as one search.
START_TEST(test_resumed) {
    int found = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        Simulation s = simulate(seed, 0.08);
        SearchPoint best;
        double least = extreme(&s, 1, &best);
        SearchProblem problem = problem_of(&s);
        SearchResult first, second;
        ck_assert_int_eq(search_run(&problem, &(SearchOptions){.budget = 20, .seed = seed}, &first), 0);
        SearchOptions options = {
            .budget = 40, .seed = seed, .start = &first.best, .known = first.trials, .known_count = first.trial_count};
        ck_assert_int_eq(search_run(&problem, &options, &second), 0);
        ck_assert(second.trial_count >= first.trial_count);
        found += true_objective(&s, &second.best) < least + log(1.03);
        free(first.trials);
        free(second.trials);
    }
    ck_assert_msg(found >= SEEDS * 8 / 10, "%d of %d", found, SEEDS);
}
END_TEST

Suite *suite_search(void) {
    Suite *suite = suite_create("search");
    TCase *cases = tcase_create("simulated");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, test_finds_best);
    tcase_add_test(cases, test_recovers_from_worst);
    tcase_add_test(cases, test_better_than_chance);
    tcase_add_test(cases, test_ties_keep_default);
    tcase_add_test(cases, test_unusable);
    tcase_add_test(cases, test_stopped);
    tcase_add_test(cases, test_resumed);
    suite_add_tcase(suite, cases);
    return suite;
}
