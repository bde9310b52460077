// Opening, checking and timing plans; see pool.h.
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#include "compiler/base/statistics.h"
#include "compiler/machine/bandwidth.h"
#include "runtime/packed.h"

enum { SAMPLE_CALLS = 32 };
static const double shortest_sample = 0.004;  // seconds; shorter calls are repeated

// --- checking ----------------------------------------------------------------------------------------------------------------

static float output_at(const TunePool *pool, const uint8_t *y, int64_t i) {
    return pool->standard.layer.activations == INTERFACE_BF16 ? packed_float_from_bf16(((const uint16_t *)y)[i])
                                                              : ((const float *)y)[i];
}

static bool near_enough(const TunePool *pool, int64_t count, double distance) {
    int64_t hidden = pool->standard.layer.hidden, far = 0;
    for (int64_t token = 0; token < count; token++) {
        double squares = 0, difference = 0;
        for (int64_t i = token * hidden; i < (token + 1) * hidden; i++) {
            double a = output_at(pool, pool->first, i), d = output_at(pool, pool->tokens.y, i) - a;
            squares += a * a;
            difference += d * d;
        }
        far += !(difference <= distance * distance * squares);
    }
    return far * 20 <= count;
}

// --- the team ----------------------------------------------------------------------------------------------------------------

// Before a candidate runs: where the one before it used other threads, or bound them, this one's do something untimed first.
static void settle(TunePool *pool, const Candidate *candidate) {
    const Library *library = candidate_library(candidate);
    if (pool->team_threads && (pool->team_threads != library->threads || pool->team_bind != library->bind)) {
        candidate_settle(candidate);
        tune_tokens_take(&pool->tokens, 0, 1);
        tune_tokens_forward(&pool->tokens, candidate_library(candidate), 0);
    }
    pool->team_threads = library->threads;
    pool->team_bind = library->bind;
}

// All tokens together, a few and one alone. The default's output of all is kept; every plan must give it, the default for a few and
// for one too. The first call also makes the kernel find the workspace's pages.
static bool same_output(TunePool *pool, const Candidate *candidate, bool standard, double distance) {
    const int64_t counts[] = {pool->most_tokens, 5, 1};
    settle(pool, candidate);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int64_t count = counts[i] < pool->most_tokens ? counts[i] : pool->most_tokens;
        size_t bytes = (size_t)count * pool->tokens.row_bytes;
        tune_tokens_take(&pool->tokens, 0, count);
        if (tune_tokens_forward(&pool->tokens, candidate_library(candidate), 0) < 0) {
            return false;
        }
        if (standard && i == 0) {
            memcpy(pool->first, pool->tokens.y, bytes);
        }
        if (memcmp(pool->tokens.y, pool->first, bytes) && !(distance > 0 && near_enough(pool, count, distance))) {
            return false;
        }
    }
    return true;
}

// --- opening -----------------------------------------------------------------------------------------------------------------

static Candidate *find_open(TunePool *pool, const Plan *plan) {
    for (int i = 0; i < pool->room; i++) {
        if (pool->open[i].candidate && !memcmp(&pool->open[i].plan, plan, sizeof *plan)) {
            pool->open[i].used = ++pool->clock;
            return pool->open[i].candidate;
        }
    }
    return NULL;
}

static void close_entry(PoolEntry *entry) {
    candidate_close(entry->candidate);
    *entry = (PoolEntry){0};
}

static void close_all(TunePool *pool) {
    for (int i = 0; i < pool->room; i++) {
        close_entry(&pool->open[i]);
    }
}

// The weights in the pages that a plan asks for; NULL: there is no memory for them.
static const Bank *bank_of(TunePool *pool, const Plan *plan) {
    Diagnostics ignored = {0};
    bool found = plan->schedule.huge_pages || pool->small.memory || !bank_copy(&pool->bank, false, &pool->small, &ignored);
    diagnostics_free(&ignored);
    return !found ? NULL : plan->schedule.huge_pages ? &pool->bank : &pool->small;
}

static int prepare(TunePool *pool, const Plan *plan, double distance, Diagnostics *diagnostics) {
    bool standard = !memcmp(plan, &pool->standard, sizeof *plan);
    PoolEntry *place = &pool->open[0];
    if (find_open(pool, plan)) {
        return 0;
    }
    for (int i = 1; i < pool->room; i++) {
        place = pool->open[i].used < place->used ? &pool->open[i] : place;
    }
    close_entry(place);
    const Bank *bank = bank_of(pool, plan);
    Candidate *candidate =
        bank ? candidate_open(pool->cache, plan, pool->shipped, bank, pool->options->threads, pool->most_tokens, diagnostics)
             : NULL;
    if (!candidate || !same_output(pool, candidate, standard, distance)) {
        candidate_close(candidate);
        return 1;
    }
    *place = (PoolEntry){*plan, candidate, ++pool->clock};
    return 0;
}

int tune_pool_prepare(TunePool *pool, const Plan *plan, double distance) {
    Diagnostics ignored = {0};  // the search goes on without it
    int status = prepare(pool, plan, distance, &ignored);
    diagnostics_free(&ignored);
    return status;
}

int tune_pool_rebase(TunePool *pool, const char *layer, const Plan *standard, Diagnostics *diagnostics) {
    double begin = statistics_clock();
    close_all(pool);  // what is open was checked against another
    pool->standard = *standard;
    if (prepare(pool, standard, 0, diagnostics)) {
        diagnostics_add(diagnostics, NULL, 0, 0, "layer '%s': the default plan cannot be run here", layer);
        return -1;
    }
    pool->open_seconds = statistics_clock() - begin;
    return 0;
}

int tune_pool_open(TunePool *pool, const char *layer, const Plan *standard, const TuneOptions *options, int room,
                   Diagnostics *diagnostics) {
    bool is_short;
    int64_t cold = bandwidth_cold_bytes(options->machine, &is_short), possible = options->machine->memory_available / 2;
    *pool = (TunePool){.options = options, .room = room};
    for (int p = 0; p < options->workload.parts; p++) {
        pool->most_tokens = options->workload.tokens[p] > pool->most_tokens ? options->workload.tokens[p] : pool->most_tokens;
    }
    if (tune_tokens_open(&pool->tokens, standard, pool->most_tokens, &options->routing, diagnostics)) {
        return -1;
    }
    pool->cache = candidate_cache_create(options->target);
    pool->first = malloc((size_t)pool->most_tokens * pool->tokens.row_bytes);
    if (!pool->cache || !pool->first) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory for calls of %lld tokens", (long long)pool->most_tokens);
        return -1;
    }
    if (bank_open(&pool->bank, standard, &options->routing.synthetic, cold < possible ? cold : possible, true, diagnostics)) {
        return -1;
    }
    return tune_pool_rebase(pool, layer, standard, diagnostics);
}

void tune_pool_close(TunePool *pool) {
    close_all(pool);
    candidate_cache_free(pool->cache);
    bank_close(&pool->bank);
    bank_close(&pool->small);
    tune_tokens_close(&pool->tokens);
    free(pool->first);
}

void tune_pool_ship(TunePool *pool) {
    pool->shipped = true;
    close_all(pool);
}

// --- timing ------------------------------------------------------------------------------------------------------------------

double tune_pool_measure(TunePool *pool, const Plan *plan, int64_t tokens) {
    const Candidate *candidate = find_open(pool, plan);
    double total = 0;
    int calls = 0;
    if (!candidate) {
        return -1;
    }
    settle(pool, candidate);
    if (pool->room == TUNE_POOL_MOST) {  // the default runs after each of many others, these seldom: let both come from a call
        tune_tokens_take(&pool->tokens, 0, 1);
        tune_tokens_forward(&pool->tokens, candidate_library(candidate), (int)(++pool->cursor % pool->bank.slots));
    }
    while (!tune_stopped && (!calls || (total < shortest_sample && calls < SAMPLE_CALLS))) {
        tune_tokens_take(&pool->tokens, ++pool->cursor, tokens);
        double start = statistics_clock();
        if (tune_tokens_forward(&pool->tokens, candidate_library(candidate), (int)(pool->cursor % pool->bank.slots)) < 0) {
            return -1;
        }
        total += statistics_clock() - start;
        calls++;
    }
    return tune_stopped ? -1 : total / calls;
}
