// Interleaved timing and the best peak.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "compiler/measure/measure.h"
#include "compiler/plan/paths.h"

volatile sig_atomic_t bench_stopped;

// One reading takes 20 ms for a cache of 260 MiB; this is far more.
static const double scratch_seconds = 0.5;

int bench_scratch_open(BenchScratch *scratch, const Machine *machine, int threads, bool huge_pages) {
    int64_t bytes = plan_round_up(2 * machine_last_level_bytes(machine), 64 << 20);  // whole chunks of bandwidth_sweep
    *scratch = (BenchScratch){.bytes = bytes, .threads = threads};
    if (bytes > 0 && bytes <= machine->memory_available / 4) {
        scratch->memory = bandwidth_allocate(bytes, huge_pages);
    }
    return scratch->memory ? 0 : -1;
}

void bench_scratch_close(BenchScratch *scratch) {
    free(scratch->memory);
    *scratch = (BenchScratch){0};
}

static int call_once(BenchSide *side, bool timed) {
    int status = 0;
    if (timed && side->evict) {
        BenchScratch *scratch = side->evict;
        int cut_short = bandwidth_sweep(scratch->memory, scratch->bytes, scratch->threads, scratch_seconds);
        scratch->incomplete = scratch->incomplete || cut_short;
        status = side->lead ? side->lead(side->context) : 0;
    }
    if (side->prepare) {
        side->prepare(side->context);
    }
    double start = statistics_clock();
    status = status ? status : side->call(side->context);
    double elapsed = statistics_clock() - start;
    if (timed && side->count < BENCH_MAX_SAMPLES) {
        side->samples[side->count++] = elapsed;
        side->total += elapsed;
    }
    return status;
}

// Whether a side is called in this round: the first always, another while its calls took less than an equal share.
static bool side_due(const BenchSide *sides, int side, int count, double elapsed, bool last_rounds) {
    if (!side || sides[side].count < BENCH_MIN_SLOW_CALLS) {
        return true;
    }
    return !last_rounds && sides[side].total <= elapsed / count;
}

static bool enough(const BenchSide *sides, int count) {
    bool all = sides[0].count >= BENCH_MIN_CALLS;
    for (int s = 1; s < count; s++) {
        all = all && sides[s].count >= BENCH_MIN_SLOW_CALLS;
    }
    return all;
}

int bench_interleave(BenchSide *sides, int count, double seconds) {
    for (int s = 0; s < count; s++) {
        sides[s].count = 0;
        sides[s].total = 0;
        double begun = statistics_clock();
        for (int64_t i = 0; i == 0 || (i < sides[s].warmups && statistics_clock() - begun < seconds); i++) {
            int status = call_once(&sides[s], false);
            if (status || bench_stopped) {
                return status ? status : -1;
            }
        }
    }
    double start = statistics_clock(), elapsed = 0;
    while (!enough(sides, count) || (elapsed < seconds && sides[0].count < BENCH_MAX_SAMPLES)) {
        for (int s = 0; s < count; s++) {
            int status = side_due(sides, s, count, elapsed, elapsed >= seconds) ? call_once(&sides[s], true) : 0;
            if (status || bench_stopped) {
                return status ? status : -1;
            }
        }
        elapsed = statistics_clock() - start;
    }
    return 0;
}

int bench_best_peak(const Machine *machine, const char *target_name, Compute compute, int threads, double gflops[PATH_COUNT],
                    Path *best, Diagnostics *diagnostics) {
    const Target *target = target_find(target_name);
    bool used[PATH_COUNT] = {false};
    *best = (Path)0;
    for (int p = 0; target && p < PATH_COUNT; p++) {
        used[path_peak((Path)p)] |= paths_in_class(machine, target, (Path)p, compute);
    }
    for (int p = 0; target && p < PATH_COUNT; p++) {
        int status = used[p] ? measure_peak(target_name, (Path)p, threads, &gflops[p], diagnostics) : 1;
        if (status < 0) {
            return -1;
        }
        gflops[p] = status ? 0 : gflops[p];
        *best = gflops[p] > gflops[*best] ? (Path)p : *best;
    }
    if (!target) {
        diagnostics_add(diagnostics, NULL, 0, 0, "unknown target '%s'", target_name);
    }
    return target ? 0 : -1;
}
