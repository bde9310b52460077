// A search of one knob, the path, as a table.
#include "paths.h"

#include <stdlib.h>

#include "compiler/base/statistics.h"
#include "compiler/plan/paths.h"
#include "compiler/plan/planner.h"

// How far a token's output may be from another path's, as relative L2 norm: activations that are rounded to bf16 may be rounded the
// other way where sums were added up in another order.
static const double distance = 0x1p-8;

typedef struct PathRace {
    TunePool *pool;
    Plan plans[PATH_COUNT];
    Path paths[PATH_COUNT];
    int count;
} PathRace;

static bool race_valid(void *context, const Point *point) {
    (void)context;
    (void)point;
    return true;
}

// Nothing is known; the default comes first.
static double race_predict(void *context, const Point *point, int part) {
    (void)context;
    (void)part;
    return 1 + point->value[0];
}

static int race_prepare(void *context, const Point *point) {
    const PathRace *race = context;
    return tune_stopped ? -1 : tune_pool_prepare(race->pool, &race->plans[point->value[0]], distance);
}

static double race_measure(void *context, const Point *point, int part) {
    const PathRace *race = context;
    return tune_pool_measure(race->pool, &race->plans[point->value[0]], race->pool->options->workload.tokens[part]);
}

static double race_clock(void *context) {
    (void)context;
    return statistics_clock();
}

static void list_paths(PathRace *race) {
    const TuneOptions *options = race->pool->options;
    const Plan *standard = &race->pool->standard;
    const Layer *layer = &standard->layer;
    Path own = (Path)standard->roles[ROLE_GATE_UP].path;
    race->plans[0] = *standard;
    race->paths[0] = own;
    race->count = 1;
    for (int p = 0; p < PATH_COUNT; p++) {
        if (p != (int)own &&
            paths_legal(options->machine, options->target, (Path)p, (Format)layer->weights, (Compute)layer->compute)) {
            race->plans[race->count] = plan_with_path(standard, (Path)p, options->target, options->machine);
            race->paths[race->count++] = (Path)p;
        }
    }
}

PathVerdict tune_paths_race(TunePool *pool, double budget) {
    PathRace race = {.pool = pool};
    const RecallWorkload *workload = &pool->options->workload;
    SearchResult result = {.gain = 1, .low = 1, .high = 1};
    list_paths(&race);
    SearchProblem problem = {.context = &race,
                             .knobs = 1,
                             .values = {race.count},
                             .parts_of = {(uint32_t)((1ull << workload->parts) - 1)},
                             .parts = workload->parts,
                             .valid = race_valid,
                             .predict = race_predict,
                             .prepare = race_prepare,
                             .measure = race_measure,
                             .clock = race_clock};
    for (int p = 0; p < workload->parts; p++) {
        problem.weight[p] = workload->weight[p];
    }
    Point others[PATH_COUNT] = {0};
    for (int i = 1; i < race.count; i++) {
        others[i - 1].value[0] = (uint8_t)i;
    }
    SearchOptions options = {
        .budget = budget, .method = SEARCH_TABLE, .candidates = others, .candidate_count = (size_t)race.count - 1};
    if (race.count > 1 && search_run(&problem, &options, &result)) {
        result = (SearchResult){.gain = 1, .low = 1, .high = 1};
    }
    PathVerdict verdict = {race.paths[result.best.value[0]], result.gain, result.low, result.high, 0};
    for (size_t i = 0; i < result.trial_count; i++) {
        verdict.refused += result.trials[i].unusable;
    }
    free(result.trials);
    free(result.steps);
    return verdict;
}
