// One layer's search: bank, tokens, rates, and the problem that search.c is given.
#include "tune.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/instance.h"
#include "measure_bandwidth.h"
#include "statistics.h"

volatile sig_atomic_t tune_stopped;

enum { OPEN_CANDIDATES = 8, SEED = 20250102, POOL_TOKENS = 8192, SAMPLE_CALLS = 32 };
static const double shortest_sample = 0.004;  // seconds; shorter calls are repeated
static const double rates_share = 0.1;        // of the budget at most is for tiles by themselves
static const double low_rows = 12, tall_rows = 8;
static const int64_t few_reach = 256;

// A point that is open. The incumbent and the default are used again and again, challengers once.
typedef struct OpenPoint {
    SearchPoint point;
    Candidate *candidate;
    uint64_t used;
} OpenPoint;

typedef struct Tuning {
    const char *name;
    const TuneOptions *options;
    TuneResult *result;
    Diagnostics *diagnostics;
    Bank bank;
    CandidateCache *cache;
    OpenPoint open[OPEN_CANDIDATES];
    uint64_t clock;
    double begin;  // everything counts, filling the bank too
    bool shipped;  // the last race is between what would ship
    int64_t cursor, most_tokens;
    uint8_t *x;         // a pool of tokens in the interface's format
    uint8_t *y, *first; // outputs: of a call, and of the default on the tokens that all points are checked with
    int64_t pool;       // tokens in x
    size_t row_bytes;
} Tuning;

// --- tokens --------------------------------------------------------------------------------------------------------------------

static int make_tokens(Tuning *t) {
    const Plan *plan = &t->result->space.standard;
    int64_t hidden = plan->layer.hidden, elements;
    t->pool = t->most_tokens * 3 > POOL_TOKENS ? t->most_tokens * 3 : POOL_TOKENS;
    elements = t->pool * hidden;
    t->row_bytes = (size_t)(hidden * format_bytes((Format)plan->layer.activations));
    float *x = malloc((size_t)elements * sizeof *x);
    t->x = (uint8_t *)x;
    t->y = malloc((size_t)t->most_tokens * t->row_bytes);
    t->first = malloc((size_t)t->most_tokens * t->row_bytes);
    if (!x || !t->y || !t->first) {
        diagnostics_add(t->diagnostics, NULL, 0, 0, "out of memory for %lld tokens", (long long)t->pool);
        return -1;
    }
    synthetic_tokens(plan, t->pool, SEED, &t->options->routing, x);
    if (plan->layer.activations == FORMAT_BF16) {
        uint16_t *x16 = malloc((size_t)elements * sizeof *x16);
        if (!x16) {
            diagnostics_add(t->diagnostics, NULL, 0, 0, "out of memory for %lld tokens", (long long)t->pool);
            return -1;
        }
        synthetic_to_bf16(x, elements, x16);
        free(x);
        t->x = (uint8_t *)x16;
    }
    return 0;
}

static Status forward(const Tuning *t, const Candidate *candidate, int layer, int64_t first_token, int64_t tokens) {
    int64_t hidden = t->result->space.standard.layer.hidden;
    const Forward call = {.layer = layer,
                          .tokens = tokens,
                          .x = t->x + (size_t)first_token * t->row_bytes,
                          .x_stride = hidden,
                          .y = t->y,
                          .y_stride = hidden};
    return instance_forward(candidate_library(candidate), &call);
}

// --- candidates ----------------------------------------------------------------------------------------------------------------

static Candidate *find_open(Tuning *t, const SearchPoint *point) {
    for (int i = 0; i < OPEN_CANDIDATES; i++) {
        if (t->open[i].candidate && !memcmp(&t->open[i].point, point, sizeof *point)) {
            t->open[i].used = ++t->clock;
            return t->open[i].candidate;
        }
    }
    return NULL;
}

// The same bits for all tokens together, for a few and for one alone. The default's are kept; every plan must give them. The first
// call also makes the kernel find the workspace's pages.
static bool same_bits(Tuning *t, const Candidate *candidate, bool standard) {
    const int64_t counts[] = {t->most_tokens, 5, 1};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int64_t count = counts[i] < t->most_tokens ? counts[i] : t->most_tokens;
        if (forward(t, candidate, 0, 0, count) < 0) {
            return false;
        }
        if (standard && i == 0) {
            memcpy(t->first, t->y, (size_t)count * t->row_bytes);
        }
        if (memcmp(t->y, t->first, (size_t)count * t->row_bytes)) {
            return false;
        }
    }
    return true;
}

static void close_all(Tuning *t) {
    for (int i = 0; i < OPEN_CANDIDATES; i++) {
        candidate_close(t->open[i].candidate);
        t->open[i] = (OpenPoint){0};
    }
}

// Compiles, opens and verifies a point, in the place of the one that was not used for longest. 0, 1: unusable.
static int open_point(Tuning *t, const SearchPoint *point) {
    const SearchPoint standard = space_standard(&t->result->space);
    bool is_standard = !memcmp(point, &standard, sizeof standard);
    OpenPoint *place = &t->open[0];
    Diagnostics ignored = {0};  // the search goes on without it
    Plan plan;
    if (find_open(t, point)) {
        return 0;
    }
    for (int i = 1; i < OPEN_CANDIDATES; i++) {
        place = t->open[i].used < place->used ? &t->open[i] : place;
    }
    candidate_close(place->candidate);
    *place = (OpenPoint){0};
    space_plan(&t->result->space, point, &plan);
    Candidate *candidate = candidate_open(t->cache, &plan, t->shipped, &t->bank, t->options->threads, t->most_tokens,
                                          is_standard ? t->diagnostics : &ignored);
    diagnostics_free(&ignored);
    if (!candidate) {
        return 1;
    }
    if (!same_bits(t, candidate, is_standard)) {
        candidate_close(candidate);
        return 1;
    }
    *place = (OpenPoint){*point, candidate, ++t->clock};
    return 0;
}

// --- the problem ---------------------------------------------------------------------------------------------------------------

static bool problem_valid(void *context, const SearchPoint *point) {
    return space_valid(&((Tuning *)context)->result->space, point);
}

static double problem_predict(void *context, const SearchPoint *point, int part) {
    const Tuning *t = context;
    return predict_seconds(&t->result->space, t->result->rates, t->options->threads, point, t->options->workload.tokens[part]);
}

static int problem_prepare(void *context, const SearchPoint *point) {
    Tuning *t = context;
    int status = tune_stopped ? -1 : open_point(t, point);
    t->result->unusable += status > 0;
    return status;
}

// One call, cold: the next instance, the next tokens. Short ones are repeated, each on other weights; the mean is the sample.
static double problem_measure(void *context, const SearchPoint *point, int part) {
    Tuning *t = context;
    int64_t tokens = t->options->workload.tokens[part];
    double total = 0;
    int calls = 0;
    if (open_point(t, point)) {  // made room for others meanwhile
        return -1;
    }
    const Candidate *candidate = find_open(t, point);
    while (!tune_stopped && (!calls || (total < shortest_sample && calls < SAMPLE_CALLS))) {
        int64_t first = ++t->cursor * tokens % (t->pool - tokens + 1);
        double start = statistics_clock();
        if (forward(t, candidate, (int)(t->cursor % t->bank.slots), first, tokens) < 0) {
            return -1;
        }
        total += statistics_clock() - start;
        calls++;
    }
    return tune_stopped ? -1 : total / calls;
}

static double problem_clock(void *context) {
    (void)context;
    return statistics_clock();
}

static void problem_confirm(void *context) {
    Tuning *t = context;
    t->shipped = true;
    close_all(t);
}

static void problem_progress(void *context, const Search *search) {
    const Tuning *t = context;
    if (t->options->progress) {
        t->options->progress(search, t->name, t->options->budget);
    }
}

// Parts in which a knob can matter. One that can in none is left alone in all.
static uint32_t reach_of(const Tuning *t, const SpaceKnob *knob) {
    uint32_t mask = 0;
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

// The point that is predicted to be the slowest: from the default, knob by knob.
static SearchPoint worst_point(Tuning *t, const SearchProblem *problem) {
    SearchPoint worst = problem->standard;
    for (int k = 0; k < problem->knobs; k++) {
        double slowest = 0;
        uint8_t value = worst.value[k];
        for (int v = 0; v < problem->values[k]; v++) {
            SearchPoint point = worst;
            double sum = 0;
            point.value[k] = (uint8_t)v;
            for (int p = 0; p < problem->parts; p++) {
                sum += log(problem_predict(t, &point, p));
            }
            if (problem_valid(t, &point) && (!v || sum > slowest)) {
                slowest = sum;
                value = (uint8_t)v;
            }
        }
        worst.value[k] = value;
    }
    return worst;
}

// --- measurements --------------------------------------------------------------------------------------------------------------

json_t *tune_measurements(const TuneResult *result) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < result->search.trial_count; i++) {
        const SearchTrial *trial = &result->search.trials[i];
        json_t *decisions = space_decisions(&result->space, &trial->point);
        json_t *row = json_pack("{s:o, s:i, s:f, s:f, s:b}", "decisions", decisions, "rounds", trial->rounds, "difference",
                                trial->difference, "seconds", trial->seconds, "unusable", trial->unusable);
        if (json_array_append_new(list, row)) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

// The trials of such a list that this space has; owned by the caller. NULL where there are none.
static SearchTrial *read_measurements(const Space *space, const json_t *list, size_t *count) {
    SearchTrial *trials = calloc(json_array_size(list) + 1, sizeof *trials);
    size_t i;
    json_t *row;
    *count = 0;
    json_array_foreach((json_t *)list, i, row) {
        char reason[160];
        const json_t *rounds = json_object_get(row, "rounds"), *difference = json_object_get(row, "difference");
        if (!trials || !json_is_integer(rounds) || !json_is_number(difference) || json_integer_value(rounds) < 0 ||
            space_read(space, json_object_get(row, "decisions"), &trials[*count].point, reason, sizeof reason)) {
            continue;
        }
        trials[*count].rounds =
            json_integer_value(rounds) < SEARCH_KNOWN_ROUNDS ? (int)json_integer_value(rounds) : SEARCH_KNOWN_ROUNDS;
        trials[*count].difference = json_number_value(difference);
        trials[*count].seconds = json_number_value(json_object_get(row, "seconds"));
        trials[*count].unusable = json_is_true(json_object_get(row, "unusable"));
        ++*count;
    }
    return trials;
}

// --- the layer -----------------------------------------------------------------------------------------------------------------

static int prepare_tuning(Tuning *t) {
    const TuneOptions *options = t->options;
    bool is_short;
    int64_t cold = bandwidth_cold_bytes(options->machine, &is_short), possible = options->machine->memory_available / 2;
    for (int p = 0; p < options->workload.parts; p++) {
        t->most_tokens = options->workload.tokens[p] > t->most_tokens ? options->workload.tokens[p] : t->most_tokens;
    }
    t->cache = candidate_cache_create(options->target);
    return t->cache && !make_tokens(t) &&
                   !bank_open(&t->bank, &t->result->space.standard, &options->routing, cold < possible ? cold : possible, true,
                              t->diagnostics)
               ? 0
               : -1;
}

static int measure_rates(Tuning *t) {
    static const int roles[] = {ROLE_GATE_UP, ROLE_DOWN};
    double start = statistics_clock(), left = t->options->budget - (start - t->begin), seconds = rates_share * left / 2;
    int status = 0;
    for (int i = 0; i < 2 && !status; i++) {
        status = rates_measure(&t->result->space, roles[i], &t->bank, t->options->threads, seconds, &tune_stopped,
                               &t->result->rates[i], t->diagnostics);
    }
    t->result->rate_seconds = statistics_clock() - start;
    return status;
}

static int search(Tuning *t) {
    SearchProblem problem = problem_of(t);
    SearchPoint start = problem.standard;
    char reason[160];
    SearchOptions options = {.seed = t->options->seed, .method = t->options->method};
    if (open_point(t, &problem.standard)) {
        diagnostics_add(t->diagnostics, NULL, 0, 0, "layer '%s': the default plan cannot be run here", t->name);
        return -1;
    }
    if (t->options->start && space_read(&t->result->space, t->options->start, &start, reason, sizeof reason)) {
        start = problem.standard;  // wisdom of another space is of no use
    }
    SearchTrial *known = read_measurements(&t->result->space, t->options->known, &options.known_count);
    options.known = known;
    start = t->options->start_worst ? worst_point(t, &problem) : start;
    if (open_point(t, &start)) {
        start = problem.standard;
    }
    options.start = &start;
    options.budget = t->options->budget - (statistics_clock() - t->begin);
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
    int status = prepare_tuning(t) || measure_rates(t) || search(t) ? -1 : 0;
    result->total_seconds = statistics_clock() - t->begin;
    close_all(t);
    candidate_cache_free(t->cache);
    bank_close(&t->bank);
    free(t->x);
    free(t->y);
    free(t->first);
    free(t);
    return status;
}

void tune_result_free(TuneResult *result) {
    free(result->search.trials);
    memset(result, 0, sizeof *result);
}
