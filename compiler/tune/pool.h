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

// Fills the bank, makes the tokens and opens the default plan. `room`: number of plans that stay open. Returns 0, or -1 with
// diagnostics. The caller calls tune_pool_close in either case.
int tune_pool_open(TunePool *pool, const char *layer, const Plan *standard, const TuneOptions *options, int room,
                   Diagnostics *diagnostics);
void tune_pool_close(TunePool *pool);

// Makes another plan the default: opens it, and from now on compares the outputs of all others with its output. Returns 0, or -1
// with diagnostics.
int tune_pool_rebase(TunePool *pool, const char *layer, const Plan *standard, Diagnostics *diagnostics);

// Makes a plan ready to be timed. It takes the place of the open plan that was not used for the longest time. `distance` is the
// largest relative L2 distance of a token's output from the default's; one token in twenty may be farther, because its routing may
// have gone the other way. distance 0: the output must have the same bits. Returns
//     0  the plan is ready
//     1  the plan cannot be used: it does not compile, or its output is too far from the default's
int tune_pool_prepare(TunePool *pool, const Plan *plan, double distance);

// Times one cold call: on the next instance, with the next tokens. A short call is repeated, each time on other weights, and the
// mean is the sample. Returns its seconds, or a negative number: the call failed, or the search was stopped.
double tune_pool_measure(TunePool *pool, const Plan *plan, int64_t tokens);

// From now on plans are compiled with the very skeleton that a library has (candidate_open's `shipped`).
void tune_pool_ship(TunePool *pool);

#endif
