// Tuning: the search over a layer's plans on this machine. Glue: space (space.h), cost model (predict.h), candidates (candidate.h)
// and the search itself (search.h), which knows nothing of all that.
#ifndef CATENA_TUNE_H
#define CATENA_TUNE_H

#include <signal.h>

#include "compiler/bench/bench.h"
#include "compiler/measure/candidate.h"
#include "compiler/measure/rates.h"
#include "compiler/plan/predict.h"
#include "compiler/wisdom/recall.h"
#include "search.h"

typedef struct TuneOptions {
    const Target *target;
    const Machine *machine;
    int threads;
    bool threads_given;     // so that plans do not vary them
    RecallWorkload workload;
    Routing routing;  // the workload's
    double budget;          // seconds; INFINITY: until it is done
    uint64_t seed;
    SearchMethod method;
    bool quick;             // a search of few seconds
    bool tiles;             // also measure every tile of the space alone
    const json_t *candidates;  // of SEARCH_TABLE: [{"gate_up.tile": 1432, ...}, ...]; NULL: the best predictions
    const char *candidates_path;  // where they were read
    bool start_worst;       // from the plan that is predicted to be the slowest, to see whether the search recovers
    const json_t *start;    // decisions to start from, {"gate_up.tile": 1432, ...}; NULL: the default
    const json_t *known;    // measurements of this very search, as tune_measurements made them; NULL: none
    void (*progress)(const Search *search, const char *layer);  // may be NULL
    RatesProgress *progress_tiles;  // may be NULL
} TuneOptions;

// The path that experts take, and what it gained over the default's: estimate and 95 % interval.
typedef struct PathVerdict {
    Path path;
    double gain, low, high;
    int refused;  // paths whose output was too far from the default's
} PathVerdict;

typedef struct TuneResult {
    Space space;
    SearchResult search;
    Rates rates[2];
    bool repathed;          // the experts take another path than the default's, because bits are free
    PathVerdict path;
    bool bits_free;
    Plan plan;              // the winner's
    RatesTile *tiles;       // if asked for
    size_t tile_count;
    double standard_predicted;  // logarithm of the objective, as of trials
    double rate_seconds, total_seconds;
    double search_begin;  // when the search's own clock began, in seconds after the bank was filled and the default plan could run
    int unusable;  // candidates that gave other bits than the default, or could not be compiled
} TuneResult;

// Set by signals: the search ends after the current call and keeps what it has.
extern volatile sig_atomic_t tune_stopped;

// Searches. standard: the planner's plan. Returns 0 (stopped or not), or -1 with diagnostics. Not thread-safe.
int tune_layer(const char *name, const Plan *standard, const TuneOptions *options, TuneResult *result, Diagnostics *diagnostics);
// What was decided, for wisdom: space_decisions of the best plan and, where bits are free and it is another than the default's,
// {"path": "bf16_dot"}. New reference; NULL when out of memory.
json_t *tune_decisions(const TuneResult *result);
// What was measured, for wisdom: [{"decisions": {...}, "rounds": n, "difference": of logarithms, "predicted": difference,
// "seconds":
// ...}, ...]. New reference; NULL when out of memory.
json_t *tune_measurements(const TuneResult *result);
void tune_result_free(TuneResult *result);

#endif
