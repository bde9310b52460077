// Plans that are ready to be timed: compiled, opened on the bank, and checked against the default plan's output.
#ifndef CATENA_TUNE_POOL_H
#define CATENA_TUNE_POOL_H

#include "compiler/measure/candidate.h"
#include "search.h"
#include "tokens.h"
#include "tune.h"

enum { TUNE_POOL_ROOM = 8, TUNE_POOL_MOST = SEARCH_MAX_TABLE + 1 };

// A plan that is open. The incumbent and the default are used again and again, challengers once.
typedef struct PoolEntry {
    Plan plan;
    Candidate *candidate;
    uint64_t used;
} PoolEntry;

typedef struct TunePool {
    const TuneOptions *options;
    Plan standard;        // whose output all others must give
    Bank bank, small;     // the same weights in huge pages, and in small ones once a plan asks for them
    CandidateCache *cache;
    TuneTokens tokens;
    int64_t most_tokens;  // of a call
    uint8_t *first;       // the default's output on the tokens that all plans are checked with
    PoolEntry open[TUNE_POOL_MOST];
    int room;             // how many of them are used
    uint64_t clock;
    int team_threads, team_bind;  // how the candidate that ran last used its team; 0 threads: none did
    bool shipped;         // with the skeletons that libraries have
    double open_seconds;  // that it took to compile, open and check the default
    int64_t cursor;
} TunePool;

// Fills the bank, makes the tokens and opens the default plan. `room`: plans that stay open. Returns 0, or -1 with diagnostics;
// tune_pool_close in either case.
int tune_pool_open(TunePool *pool, const char *layer, const Plan *standard, const TuneOptions *options, int room,
                   Diagnostics *diagnostics);
void tune_pool_close(TunePool *pool);

// From now on another plan is the default: it is opened, and its output is what all others must give. Returns 0, or -1 with
// diagnostics.
int tune_pool_rebase(TunePool *pool, const char *layer, const Plan *standard, Diagnostics *diagnostics);

// Makes a plan ready, in the place of the one that was not used for longest. `distance`: how far a token's output may be
// from the default's, as relative L2 norm, but for one token in twenty, whose routing may have gone the other way; 0: the same
// bits. 0; 1: it cannot be used.
int tune_pool_prepare(TunePool *pool, const Plan *plan, double distance);

// Seconds of one cold call: the next instance, the next tokens. Short ones are repeated, each on other weights, and the mean is the
// sample. Negative: it failed, or the search was stopped.
double tune_pool_measure(TunePool *pool, const Plan *plan, int64_t tokens);

// From now on plans have the very code that a library would have.
void tune_pool_ship(TunePool *pool);

#endif
