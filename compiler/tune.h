// Tuning: the search over a layer's plans on this machine. Glue: space (space.h), cost model (predict.h), candidates (candidate.h)
// and the search itself (search.h), which knows nothing of all that.
#ifndef CATENA_TUNE_H
#define CATENA_TUNE_H

#include <signal.h>

#include "candidate.h"
#include "predict.h"
#include "recall.h"
#include "search.h"

typedef struct TuneOptions {
    const Target *target;
    const Machine *machine;
    int threads;
    RecallWorkload workload;
    SyntheticRouting routing;  // the workload's
    double budget;          // seconds
    uint64_t seed;
    SearchMethod method;
    bool start_worst;       // from the plan that is predicted to be the slowest, to see whether the search recovers
    const json_t *start;    // decisions to start from, {"gate_up.tile": 1432, ...}; NULL: the default
    const json_t *known;    // measurements of this very search, as tune_measurements made them; NULL: none
    void (*progress)(const Search *search, const char *layer, double budget);  // may be NULL
} TuneOptions;

typedef struct TuneResult {
    Space space;
    SearchResult search;
    Rates rates[2];
    Plan plan;              // the winner's
    double rate_seconds, total_seconds;
    int unusable;           // candidates that gave other bits than the default, or could not be compiled
} TuneResult;

// Set by signals: the search ends after the current call and keeps what it has.
extern volatile sig_atomic_t tune_stopped;

// Searches. standard: the planner's plan. Returns 0 (stopped or not), or -1 with diagnostics. Not thread-safe.
int tune_layer(const char *name, const Plan *standard, const TuneOptions *options, TuneResult *result, Diagnostics *diagnostics);
// What was measured, for wisdom: [{"decisions": {...}, "rounds": n, "difference": of logarithms, "seconds": ...}, ...]. New
// reference; NULL when out of memory.
json_t *tune_measurements(const TuneResult *result);
void tune_result_free(TuneResult *result);

#endif
