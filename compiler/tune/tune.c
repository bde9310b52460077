// One layer's search: bank, tokens, rates, and the problem that search.c is given.
#include "tune.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/statistics.h"
#include "compiler/measure/rates.h"
#include "compiler/plan/planner.h"
#include "paths.h"
#include "pool.h"

volatile sig_atomic_t tune_stopped;

static const double rates_share = 0.1;   // largest part of the budget that measuring single tiles may take
static const double paths_share = 0.15;  // and this for choosing a path
static const double low_rows = 12, tall_rows = 8;
static const int64_t few_reach = 256;

typedef struct Tuning {
    const char *name;
    const TuneOptions *options;
    TuneResult *result;
    Diagnostics *diagnostics;
    TunePool pool;
    double begin;     // everything counts, filling the bank too
    double prepared;  // when the bank was filled and the default plan could run
} Tuning;

static Plan plan_of(const Tuning *t, const Point *point) {
    Plan plan;
    space_plan(&t->result->space, point, &plan);
    return plan;
}

// --- the problem -------------------------------------------------------------------------------------------------------------

static bool problem_valid(void *context, const Point *point) {
    return space_valid(&((Tuning *)context)->result->space, point);
}

static double problem_predict(void *context, const Point *point, int part) {
    const Tuning *t = context;
    return predict_seconds(&t->result->space, t->result->rates, t->options->threads, point, t->options->workload.tokens[part]);
}

static int problem_prepare(void *context, const Point *point) {
    Tuning *t = context;
    const Plan plan = plan_of(t, point);
    int status = tune_stopped ? -1 : tune_pool_prepare(&t->pool, &plan, 0);
    t->result->unusable += status > 0;
    return status;
}

static double problem_measure(void *context, const Point *point, int part) {
    Tuning *t = context;
    const Plan plan = plan_of(t, point);
    if (tune_pool_prepare(&t->pool, &plan, 0)) {  // made room for others meanwhile
        return -1;
    }
    return tune_pool_measure(&t->pool, &plan, t->options->workload.tokens[part]);
}

static double problem_clock(void *context) {
    (void)context;
    return statistics_clock();
}

static void problem_confirm(void *context) {
    tune_pool_ship(&((Tuning *)context)->pool);
}

static void problem_progress(void *context, const Search *search) {
    const Tuning *t = context;
    if (t->options->progress) {
        t->options->progress(search, t->name);
    }
}

// Whether the search leaves a knob alone: its value was asked for, or the machine offers no other.
static bool is_fixed(const Tuning *t, const SpaceKnob *knob) {
    const Machine *machine = t->options->machine;
    switch (knob->given) {
    case SPACE_FREE: break;
    case SPACE_GIVEN_THREADS: return t->options->threads_given;
    case SPACE_GIVEN_PAGES:
        return !strcmp(machine->huge_pages, "never") || t->pool.bank.image_bytes > machine->memory_available / 3;
    }
    return false;
}

// Parts in which a knob can matter. One that can in none is left alone in all.
static uint32_t reach_of(const Tuning *t, const SpaceKnob *knob) {
    uint32_t mask = 0;
    if (is_fixed(t, knob)) {
        return 0;
    }
    for (int p = 0; p < t->options->workload.parts; p++) {
        double rows = predict_rows(&t->result->space.standard.layer, t->options->workload.tokens[p]);
        bool reached = true;
        switch (knob->reach) {
        case SPACE_LOW: reached = rows <= low_rows; break;
        case SPACE_TALL: reached = rows >= tall_rows; break;
        case SPACE_FEW: reached = t->options->workload.tokens[p] <= few_reach; break;
        case SPACE_ALL: break;
        }
        mask |= reached ? 1u << p : 0;
    }
    return mask;
}

static SearchProblem problem_of(Tuning *t) {
    const Space *space = &t->result->space;
    SearchProblem problem = {.context = t,
                             .knobs = space->knob_count,
                             .parts = t->options->workload.parts,
                             .standard = space_standard(space),
                             .valid = problem_valid,
                             .predict = problem_predict,
                             .prepare = problem_prepare,
                             .measure = problem_measure,
                             .clock = problem_clock,
                             .confirm = problem_confirm,
                             .confirm_seconds = 2 * t->pool.open_seconds,
                             .progress = problem_progress};
    for (int p = 0; p < problem.parts; p++) {
        problem.weight[p] = t->options->workload.weight[p];
    }
    for (int k = 0; k < space->knob_count; k++) {
        problem.values[k] = space->knobs[k].count;
        problem.parts_of[k] = reach_of(t, &space->knobs[k]);
    }
    return problem;
}

// Logarithm of the objective, as the search sees it.
static double predict_all(Tuning *t, const SearchProblem *problem, const Point *point) {
    double sum = 0, weights = 0;
    for (int p = 0; p < problem->parts; p++) {
        sum += problem->weight[p] * log(problem_predict(t, point, p));
        weights += problem->weight[p];
    }
    return sum / weights;
}

// The point that is predicted to be the slowest: from the default, knob by knob.
static Point worst_point(Tuning *t, const SearchProblem *problem) {
    Point worst = problem->standard;
    for (int k = 0; k < problem->knobs; k++) {
        double slowest = 0;
        uint8_t value = worst.value[k];
        for (int v = 0; problem->parts_of[k] && v < problem->values[k]; v++) {
            Point point = worst;
            point.value[k] = (uint8_t)v;
            double sum = predict_all(t, problem, &point);
            if (problem_valid(t, &point) && (!v || sum > slowest)) {
                slowest = sum;
                value = (uint8_t)v;
            }
        }
        worst.value[k] = value;
    }
    return worst;
}

// --- measurements ------------------------------------------------------------------------------------------------------------

json_t *tune_decisions(const TuneResult *result) {
    json_t *decisions = space_decisions(&result->space, &result->search.best);
    if (decisions && result->bits_free && json_object_set_new(decisions, "path", json_string(path_name(result->path.path)))) {
        json_decref(decisions);
        return NULL;
    }
    return decisions;
}

json_t *tune_measurements(const TuneResult *result) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < result->search.trial_count; i++) {
        const SearchTrial *trial = &result->search.trials[i];
        json_t *decisions = space_decisions(&result->space, &trial->point);
        json_t *row = json_pack("{s:o, s:i, s:f, s:f, s:f, s:b}", "decisions", decisions, "rounds", trial->rounds, "difference",
                                trial->difference, "predicted", trial->predicted - result->standard_predicted, "seconds",
                                trial->seconds, "unusable", trial->unusable);
        if (json_array_append_new(list, row)) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

// The trials of such a list that this space has; owned by the caller. NULL where there are none. What was predicted then stays, so
// that a row that is not measured again is written as it was.
static SearchTrial *read_measurements(const Space *space, const json_t *list, double standard_predicted, size_t *count) {
    SearchTrial *trials = calloc(json_array_size(list) + 1, sizeof *trials);
    size_t i;
    json_t *row;
    *count = 0;
    json_array_foreach((json_t *)list, i, row) {
        char reason[SPACE_REASON_BYTES];
        const json_t *rounds = json_object_get(row, "rounds"), *difference = json_object_get(row, "difference");
        if (!trials || !json_is_integer(rounds) || !json_is_number(difference) || json_integer_value(rounds) < 0 ||
            space_read(space, json_object_get(row, "decisions"), &trials[*count].point, reason, sizeof reason)) {
            continue;
        }
        trials[*count].rounds =
            json_integer_value(rounds) < SEARCH_KNOWN_ROUNDS ? (int)json_integer_value(rounds) : SEARCH_KNOWN_ROUNDS;
        trials[*count].difference = json_number_value(difference);
        trials[*count].predicted = standard_predicted + json_number_value(json_object_get(row, "predicted"));
        trials[*count].seconds = json_number_value(json_object_get(row, "seconds"));
        trials[*count].unusable = json_is_true(json_object_get(row, "unusable"));
        ++*count;
    }
    return trials;
}

// --- the layer ---------------------------------------------------------------------------------------------------------------

static int measure_rates(Tuning *t) {
    bool predicts = t->options->method != SEARCH_RANDOM && !t->options->candidates;  // otherwise the default's will do
    double start = statistics_clock(), left = t->options->budget - (start - t->begin),
           seconds = predicts ? rates_share * left / 2 : 0;
    int status = 0;
    if (t->options->tiles) {
        status =
            rates_measure_tiles(&t->result->space, &t->pool.bank, t->options->threads, left / 2, &tune_stopped,
                                t->options->progress_tiles, t->name, &t->result->tiles, &t->result->tile_count, t->diagnostics);
    }
    for (int i = 0; i < 2 && !status; i++) {
        status = rates_measure(&t->result->space, space_roles[i], &t->pool.bank, t->options->threads, seconds, &tune_stopped,
                               &t->result->rates[i], t->diagnostics);
    }
    t->result->rate_seconds = statistics_clock() - start;
    return status;
}

static int read_candidates(const Tuning *t, Point points[SEARCH_MAX_TABLE], size_t *count) {
    char reason[SPACE_REASON_BYTES] = "";
    *count = json_array_size(t->options->candidates);
    if (*count > SEARCH_MAX_TABLE) {
        diagnostics_add(t->diagnostics, t->options->candidates_path, 0, 0, "%zu candidates: at most %d are compared at once",
                        *count, SEARCH_MAX_TABLE);
        return -1;
    }
    for (size_t i = 0; i < *count; i++) {
        if (space_read(&t->result->space, json_array_get(t->options->candidates, i), &points[i], reason, sizeof reason)) {
            diagnostics_add(t->diagnostics, t->options->candidates_path, 0, 0, "candidate %zu is no plan of layer '%s': %s", i + 1,
                            t->name, reason);
            return -1;
        }
    }
    return 0;
}

static int search(Tuning *t) {
    SearchProblem problem = problem_of(t);
    Point start = problem.standard;
    char reason[SPACE_REASON_BYTES];
    SearchOptions options = {.seed = t->options->seed, .method = t->options->method, .quick = t->options->quick};
    Point candidates[SEARCH_MAX_TABLE];
    if (t->options->start && space_read(&t->result->space, t->options->start, &start, reason, sizeof reason)) {
        start = problem.standard;  // wisdom of another space is of no use
    }
    if (t->options->candidates) {
        if (read_candidates(t, candidates, &options.candidate_count)) {
            return -1;
        }
        options.candidates = candidates;
    }
    t->result->standard_predicted = predict_all(t, &problem, &problem.standard);
    SearchTrial *known =
        read_measurements(&t->result->space, t->options->known, t->result->standard_predicted, &options.known_count);
    options.known = known;
    start = t->options->start_worst ? worst_point(t, &problem) : start;
    const Plan first = plan_of(t, &start);
    if (tune_pool_prepare(&t->pool, &first, 0)) {
        start = problem.standard;
    }
    options.start = &start;
    options.budget = t->options->budget - (statistics_clock() - t->begin);
    t->result->search_begin = statistics_clock() - t->prepared;
    int status = search_run(&problem, &options, &t->result->search);
    t->result->search.stopped = t->result->search.stopped || tune_stopped;
    free(known);
    if (status) {
        diagnostics_add(t->diagnostics, NULL, 0, 0, "out of memory");
        return -1;
    }
    space_plan(&t->result->space, &t->result->search.best, &t->result->plan);
    return 0;
}

// Bits may change: the path comes first. What is searched then is the plans of the one that wins.
static int choose_path(Tuning *t) {
    TuneResult *result = t->result;
    const TuneOptions *options = t->options;
    result->bits_free = options->workload.bits_free;
    result->path = (PathVerdict){.path = (Path)result->plan.roles[ROLE_GATE_UP].path, .gain = 1, .low = 1, .high = 1};
    if (options->workload.bits_free) {
        Path path = result->path.path;
        result->path = tune_paths_race(&t->pool, paths_share * options->budget);
        if (path != result->path.path) {
            path = result->path.path;
            result->repathed = true;
            result->plan = plan_with_path(&result->plan, path, options->target, options->machine);
            space_make(&result->plan, options->target, options->machine, &result->space);
            return tune_pool_rebase(&t->pool, t->name, &result->plan, t->diagnostics);
        }
    }
    return 0;
}

int tune_layer(const char *name, const Plan *standard, const TuneOptions *options, TuneResult *result, Diagnostics *diagnostics) {
    Tuning *t = calloc(1, sizeof *t);
    memset(result, 0, sizeof *result);
    if (!t) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
        return -1;
    }
    *t = (Tuning){.name = name, .options = options, .result = result, .diagnostics = diagnostics, .begin = statistics_clock()};
    result->plan = *standard;
    space_make(standard, options->target, options->machine, &result->space);
    int room = options->method == SEARCH_TABLE ? TUNE_POOL_MOST : TUNE_POOL_ROOM;
    int status = tune_pool_open(&t->pool, name, standard, options, room, diagnostics);
    t->prepared = statistics_clock();
    status = status || choose_path(t) || measure_rates(t) || search(t) ? -1 : 0;
    result->total_seconds = statistics_clock() - t->begin;
    tune_pool_close(&t->pool);
    free(t);
    return status;
}

void tune_result_free(TuneResult *result) {
    free(result->search.trials);
    free(result->search.steps);
    free(result->tiles);
    memset(result, 0, sizeof *result);
}
