// The search on simulated machines: grids whose best point is known, with noise, outliers and wrong predictions.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/tune/search.h"
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
    double second;        // by how much the second of a pair is slower
    bool broken;          // every point but the default is unusable
    Point seen[4096];
    size_t seen_count;
} Simulation;

static double uniform(Simulation *s) {
    s->random = s->random * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(s->random >> 11) * 0x1p-53;
}

static double normal(Simulation *s) {
    return sqrt(-2 * log(uniform(s) + 1e-300)) * cos(2 * 3.14159265358979 * uniform(s));
}

static double true_log(const Simulation *s, const Point *p, int part) {
    double sum = p->value[0] == 5 && p->value[1] < 2 ? 0.1 : 0;  // tall tiles need another unrolling
    for (int k = 0; k < KNOBS; k++) {
        sum += s->cost[k][p->value[k]][part];
    }
    return sum;
}

static double true_objective(const Simulation *s, const Point *p) {
    double sum = 0;
    for (int part = 0; part < PARTS; part++) {
        sum += true_log(s, p, part) / PARTS;
    }
    return sum;
}

static bool sim_valid(void *context, const Point *p) {
    (void)context;
    return p->value[0] + p->value[1] < 8;  // as registers limit tiles
}

static double sim_predict(void *context, const Point *p, int part) {
    Simulation *s = context;
    uint64_t hash = (uint64_t)part * 77;
    for (int k = 0; k < KNOBS; k++) {
        hash = (hash + p->value[k] + 1) * 0x9E3779B97F4A7C15ull;
    }
    double error = ((double)(hash >> 11) * 0x1p-53 - 0.5) * 2 * s->wrong;  // the same each time
    return base[part] * exp(true_log(s, p, part) + error);
}

static int sim_prepare(void *context, const Point *p) {
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
    Point standard = {{0}};
    return s->broken && memcmp(p, &standard, sizeof *p) ? 1 : 0;
}

static double sim_measure(void *context, const Point *p, int part) {
    Simulation *s = context;
    if (++s->measured > s->stop_after && s->stop_after) {
        return -1;
    }
    double order = s->measured % 2 ? 0 : s->second;
    double seconds = base[part] * exp(true_log(s, p, part) + order + s->noise * normal(s));
    seconds *= uniform(s) < s->outliers ? 1.5 + uniform(s) : 1;
    s->now += seconds;
    return seconds;
}

static double sim_clock(void *context) {
    return ((Simulation *)context)->now;
}

// `spread`: how much a wrong value may cost; 0: all points are equal.
static Simulation simulate(uint64_t seed, double spread) {
    Simulation s = {.random = seed, .noise = 0.04, .outliers = 0.05, .wrong = 0.10, .second = 0.02, .prepared = 0.15};
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
static double extreme(const Simulation *s, int sign, Point *at) {
    Point p = {{0}};
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

static void release(SearchResult *result) {
    free(result->trials);
    free(result->steps);
}

// Seeds in which the search ends within 3 % of the best.
static int count_found(SearchMethod method, bool from_worst, double budget) {
    int found = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        Simulation s = simulate(seed, 0.08);
        Point best, worst;
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
        release(&result);
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
    int moved = 0, ties = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        Simulation s = simulate(seed, 0);
        s.cost[0][0][0] = 0;
        SearchProblem problem = problem_of(&s);
        SearchOptions options = {.budget = 20, .seed = seed};
        SearchResult result;
        ck_assert_int_eq(search_run(&problem, &options, &result), 0);
        bool standard = !memcmp(&result.best, &problem.standard, sizeof result.best);
        ck_assert(!standard || (result.gain == 1 && result.low == 1 && result.high == 1));
        ck_assert(!search_tied(&result) || (standard && result.candidate_low <= 1 && result.candidate_high >= 1));
        moved += !standard;
        ties += search_tied(&result);
        release(&result);
    }
    ck_assert_int_gt(ties, 0);
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
    release(&result);
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
        release(&result);
    }
}
END_TEST

static double predicted_objective(const SearchProblem *problem, const Point *point) {
    double sum = 0;
    for (int p = 0; p < PARTS; p++) {
        sum += log(problem->predict(problem->context, point, p)) / PARTS;
    }
    return sum;
}

// Two halves, the second knowing what the first found, are about as good as one search.
START_TEST(test_resumed) {
    int found = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        Simulation s = simulate(seed, 0.08);
        Point best;
        double least = extreme(&s, 1, &best);
        SearchProblem problem = problem_of(&s);
        SearchResult first, second;
        ck_assert_int_eq(search_run(&problem, &(SearchOptions){.budget = 20, .seed = seed}, &first), 0);
        SearchOptions options = {
            .budget = 40, .seed = seed, .start = &first.best, .known = first.trials, .known_count = first.trial_count};
        ck_assert_int_eq(search_run(&problem, &options, &second), 0);
        ck_assert(second.trial_count >= first.trial_count);
        for (size_t i = 0; i < second.trial_count; i++) {  // known ones keep their prediction, new ones have one
            const SearchTrial *trial = &second.trials[i];
            double predicted = i < first.trial_count ? first.trials[i].predicted : predicted_objective(&problem, &trial->point);
            ck_assert_double_eq_tol(trial->predicted, predicted, 1e-12);
        }
        found += true_objective(&s, &second.best) < least + log(1.03);
        release(&first);
        release(&second);
    }
    ck_assert_msg(found >= SEEDS * 8 / 10, "%d of %d", found, SEEDS);
}
END_TEST

// A search from the slowest point. Returns by how much that is slower than the default.
static double search_from_worst(Simulation *s, double budget, uint64_t seed, Point *worst, SearchResult *result) {
    SearchProblem problem = problem_of(s);
    double slowest = extreme(s, -1, worst), standard = true_objective(s, &problem.standard);
    const SearchOptions options = {.budget = budget, .seed = seed, .start = worst};
    ck_assert_int_eq(search_run(&problem, &options, result), 0);
    return slowest - standard;
}

// Differences are to the default from the beginning, wherever the search starts; steps tell the race in its order.
START_TEST(test_differences) {
    int near = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        Simulation s = simulate(seed, 0.08);
        Point worst;
        SearchResult result;
        double slower = search_from_worst(&s, 40, seed, &worst, &result), standard = true_objective(&s, &worst) - slower;
        ck_assert_uint_ge(result.step_count, 2);
        ck_assert_mem_eq(&result.steps[0].point, &worst, sizeof worst);
        // By two races, of three rounds (start and prediction) and of six (prediction and default): sqrt(3) times the error of one
        // of six, which is below 0.06 here. One sample in twenty is an outlier, and three rounds do not withstand two.
        near += fabs(result.steps[0].difference - slower) < 0.06 * sqrt(3);
        int known = 0;
        for (size_t i = 0; i < result.trial_count; i++) {
            const SearchTrial *trial = &result.trials[i];
            known += !memcmp(&trial->point, &worst, sizeof worst) && trial->rounds >= 3 && trial->error > 0 &&
                     trial->difference == result.steps[0].difference;
        }
        ck_assert_int_eq(known, 1);
        for (size_t i = 1; i < result.step_count; i++) {  // the cautious end: faster than that, if anything
            const SearchStep *step = &result.steps[i];
            ck_assert_double_ge(step->seconds, result.steps[i - 1].seconds);
            ck_assert_double_le(true_objective(&s, &step->point) - standard, step->difference + 0.05);
        }
        ck_assert_mem_eq(&result.steps[result.step_count - 1].point, &result.candidate, sizeof result.candidate);
        release(&result);
    }
    ck_assert_msg(near >= SEEDS * 9 / 10, "%d of %d", near, SEEDS);
}
END_TEST

// A start that is slow by far is left after three rounds, before anything else is timed.
START_TEST(test_leaves_slow_start) {
    int slow = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        Simulation s = simulate(seed, 0.4);
        Point worst;
        SearchResult result;
        ck_assert_double_gt(search_from_worst(&s, 60, seed, &worst, &result), 0.6);
        int samples = 0;
        for (size_t i = 0; i < result.trial_count; i++) {
            samples = memcmp(&result.trials[i].point, &worst, sizeof worst) ? samples : result.trials[i].part_samples[0];
        }
        ck_assert_int_ge(samples, 3);
        ck_assert_int_le(samples, SEARCH_SURE_ROUNDS);
        slow += samples > 4;
        release(&result);
    }
    ck_assert_msg(slow <= SEEDS / 10, "%d of %d starts took more than four rounds", slow, SEEDS);
}
END_TEST

// A table has every candidate measured until its interval is narrow or its rounds are over, and of 100 intervals 93 hold what is
// true (they are meant to be of 95 %).
START_TEST(test_table) {
    enum { CANDIDATES = 6 };
    int covered = 0, entries = 0, found = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        Simulation s = simulate(seed, 0.08);
        Point candidates[CANDIDATES] = {0};  // the first is the default
        extreme(&s, 1, &candidates[1]);
        extreme(&s, -1, &candidates[2]);
        for (int i = 3; i < CANDIDATES; i++) {
            candidates[i].value[i] = 1;
        }
        SearchProblem problem = problem_of(&s);
        SearchOptions options = {
            .budget = INFINITY, .seed = seed, .method = SEARCH_TABLE, .candidates = candidates, .candidate_count = CANDIDATES};
        SearchResult result;
        ck_assert_int_eq(search_run(&problem, &options, &result), 0);
        ck_assert(result.converged);
        found += !memcmp(&result.best, &candidates[1], sizeof result.best);
        for (size_t i = 0; i < result.trial_count; i++) {
            const SearchTrial *trial = &result.trials[i];
            double difference = true_objective(&s, &trial->point) - true_objective(&s, &problem.standard);
            if (!trial->rounds) {
                continue;
            }
            ck_assert(trial->rounds >= 40 || trial->error < 0.006);
            for (int p = 0; p < PARTS; p++) {
                double part = true_log(&s, &trial->point, p) - true_log(&s, &problem.standard, p);
                ck_assert_double_gt(trial->part_error[p], 0);
                covered += fabs(trial->part_difference[p] - part) <= trial->part_error[p];
            }
            covered += fabs(trial->difference - difference) <= trial->error;
            entries++;
        }
        release(&result);
    }
    ck_assert_int_eq(entries, SEEDS * (CANDIDATES - 1));
    ck_assert_msg(covered >= entries * (PARTS + 1) * 93 / 100, "%d intervals of %d", covered, entries * (PARTS + 1));
    ck_assert_msg(found >= SEEDS * 9 / 10, "%d of %d", found, SEEDS);
}
END_TEST

// Without candidates: the 20 best predictions, and the start among them whatever is predicted of it.
START_TEST(test_table_of_predictions) {
    Simulation s = simulate(4, 0.08);
    Point worst;
    extreme(&s, -1, &worst);
    SearchProblem problem = problem_of(&s);
    SearchOptions options = {.budget = INFINITY, .seed = 1, .method = SEARCH_TABLE, .start = &worst};
    SearchResult result;
    ck_assert_int_eq(search_run(&problem, &options, &result), 0);
    int timed = 0, starts = 0;
    for (size_t i = 0; i < result.trial_count; i++) {
        timed += result.trials[i].rounds > 0;
        starts += result.trials[i].rounds > 0 && !memcmp(&result.trials[i].point, &worst, sizeof worst);
    }
    ck_assert_int_eq(timed, 21);
    ck_assert_int_eq(starts, 1);
    ck_assert_double_gt(result.gain, 1);
    release(&result);
}
END_TEST

// Chance comes from the seed alone: the same measurements lead to the same plans in the same order, another seed to others.
START_TEST(test_reproducible) {
    SearchResult results[3];
    for (int i = 0; i < 3; i++) {
        Simulation s = simulate(7, 0.08);
        SearchProblem problem = problem_of(&s);
        SearchOptions options = {.budget = 30, .seed = i < 2 ? 5 : 6, .method = _i ? SEARCH_RANDOM : SEARCH_RACE};
        ck_assert_int_eq(search_run(&problem, &options, &results[i]), 0);
    }
    bool others = results[2].trial_count != results[0].trial_count;
    ck_assert_uint_eq(results[0].trial_count, results[1].trial_count);
    for (size_t i = 0; i < results[0].trial_count; i++) {
        const SearchTrial *a = &results[0].trials[i], *b = &results[1].trials[i];
        ck_assert_mem_eq(&a->point, &b->point, sizeof a->point);
        ck_assert(a->rounds == b->rounds && a->difference == b->difference && a->seconds == b->seconds);
        others = others || memcmp(&a->point, &results[2].trials[i].point, sizeof a->point);
    }
    ck_assert_mem_eq(&results[0].best, &results[1].best, sizeof results[0].best);
    ck_assert(others);
    for (int i = 0; i < 3; i++) {
        release(&results[i]);
    }
}
END_TEST

// With a fifth of the time a quick search finds something worth having nearly always.
START_TEST(test_quick) {
    int better = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        Simulation s = simulate(seed, 0.08);
        SearchProblem problem = problem_of(&s);
        SearchOptions options = {.budget = 12, .seed = seed, .quick = true};
        SearchResult result;
        ck_assert_int_eq(search_run(&problem, &options, &result), 0);
        better += true_objective(&s, &result.best) < true_objective(&s, &problem.standard) - log(1.03);
        release(&result);
    }
    ck_assert_msg(better >= SEEDS * 9 / 10, "%d of %d", better, SEEDS);
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
    tcase_add_test(cases, test_differences);
    tcase_add_test(cases, test_leaves_slow_start);
    tcase_add_test(cases, test_table);
    tcase_add_test(cases, test_table_of_predictions);
    tcase_add_loop_test(cases, test_reproducible, 0, 2);
    tcase_add_test(cases, test_quick);
    suite_add_tcase(suite, cases);
    return suite;
}
