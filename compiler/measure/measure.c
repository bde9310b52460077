// Rates of instruction paths: register-only loops and single tiles, emitted, compiled in memory and timed.
#include "measure.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/statistics.h"
#include "compiler/emit/jit.h"
#include "compiler/machine/site.h"
#include "compiler/plan/paths.h"

typedef void PeakLoop(int64_t rounds, float *sink);

enum { PEAK_SAMPLES = 7, TILE_SAMPLES = 9, TILE_DEPTH = 1024, TILE_TEST_PANELS = 8, TILE_TEST_BLOCKS = 4 };
static const double sample_seconds = 0.004;

// The target if this machine can run the path on it; NULL otherwise.
static const Target *runnable(const char *name, Path path) {
    Machine machine;
    const Target *target = target_find(name);
    if (!target || !target_tile(target, path)->max_rows || machine_detect(&machine)) {
        return NULL;
    }
    return site_supports(&machine, target, NULL) && paths_able(&machine, target, path) ? target : NULL;
}

// Seconds that `rounds` rounds take when every thread runs them at once: the slowest thread's.
static double time_peak(PeakLoop *loop, int64_t rounds, int threads) {
    double slowest = 0;
#pragma omp parallel num_threads(threads) reduction(max : slowest)
    {
        float sink[64] __attribute__((aligned(64))) = {0};
#pragma omp barrier
        double start = statistics_clock();
        loop(rounds, sink);
        slowest = statistics_clock() - start;
    }
    return slowest;
}

int measure_peak(const char *name, Path path, int threads, double *gflops, Diagnostics *diagnostics) {
    const Target *target = runnable(name, path);
    if (!target) {
        return 1;
    }
    int64_t operations;
    Object object = emit_peak(target, path, &operations, diagnostics);
    Jit *jit = object ? jit_load(object, diagnostics) : NULL;
    PeakLoop *loop = jit ? (PeakLoop *)jit_function(jit, "peak") : NULL;
    if (!loop) {
        jit_free(jit);
        return -1;
    }
    int64_t rounds = 1000;
    while (time_peak(loop, rounds, threads) < sample_seconds) {
        rounds *= 2;
    }
    double rates[PEAK_SAMPLES];
    for (int i = 0; i < PEAK_SAMPLES; i++) {
        rates[i] = 2e-9 * (double)operations * (double)rounds * threads / time_peak(loop, rounds, threads);
    }
    *gflops = statistics_of(rates, PEAK_SAMPLES).median;
    jit_free(jit);
    return 0;
}

// A role like a layer's gate/up, in the shape that the target's default tile has.
static Role tile_role(const Target *target, Path path) {
    const PathFacts *facts = &path_facts[path];
    Role role = {.layout.matrices = 1,
                 .layout.depth = TILE_DEPTH,
                 .layout.depth_padded = TILE_DEPTH,
                 .layout.columns = PANEL_COLUMNS,
                 .layout.panels = 1};
    target_shape_role(target, path, &role);
    role.layout.weights = facts->weights;
    role.input = facts->input;
    role.layout.panel_bytes = role.layout.matrix_bytes = format_bytes((Format)role.layout.weights, TILE_DEPTH);
    role.ahead_bytes = role.layout.panel_bytes / 2;
    role.input_stride = TILE_DEPTH * form_bytes[role.input] + 64;
    return role;
}

// One sweep as a layer does it: for each panel all row blocks.
static void sweep(TileFunction *tile, const Role *role, const uint8_t *a, const uint8_t *w, float *out) {
    for (int panel = 0; panel < TILE_TEST_PANELS; panel++) {
        for (int block = 0; block < TILE_TEST_BLOCKS; block++) {
            const uint8_t *panel_weights = w + panel * role->layout.panel_bytes;
            tile(a + block * role->max_rows * role->input_stride, panel_weights, out, panel_weights, 16, NULL);
        }
    }
}

int measure_tile(const char *name, Path path, double *gflops, Diagnostics *diagnostics) {
    const Target *target = runnable(name, path);
    if (!target) {
        return 1;
    }
    Role role = tile_role(target, path);
    Object object = emit_single_tile(target, &role, TILE_PACKED, role.max_rows, 1, diagnostics);
    Jit *jit = object ? jit_load(object, diagnostics) : NULL;
    TileFunction *tile = jit ? (TileFunction *)jit_function(jit, "tile_0") : NULL;
    size_t a_bytes = (size_t)(TILE_TEST_BLOCKS * role.max_rows * role.input_stride),
           w_bytes = (size_t)(TILE_TEST_PANELS * role.layout.panel_bytes);
    uint8_t *memory = aligned_alloc(64, (a_bytes + w_bytes + 63) / 64 * 64);
    if (!tile || !memory) {
        jit_free(jit);
        free(memory);
        return -1;
    }
    memset(memory, 0, a_bytes + w_bytes);  // zeros are as fast as any other normal numbers on the units we know
    float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
    double rates[TILE_SAMPLES],
        flops = 2e-9 * TILE_TEST_PANELS * TILE_TEST_BLOCKS * role.max_rows * PANEL_COLUMNS * (double)TILE_DEPTH;
    for (int i = -2; i < TILE_SAMPLES; i++) {
        double start = statistics_clock();
        sweep(tile, &role, memory + w_bytes, memory, out);
        if (i >= 0) {
            rates[i] = flops / (statistics_clock() - start);
        }
    }
    *gflops = statistics_of(rates, TILE_SAMPLES).median;
    jit_free(jit);
    free(memory);
    return 0;
}

// --- all paths, and the memory ---------------------------------------------------------------------------------------------

enum { MORE_ATTEMPTS = 3 };

static int measure_once(const char *target, int threads, Peaks *peaks, Diagnostics *diagnostics) {
    memset(peaks, 0, sizeof *peaks);
    for (int p = 0; p < PATH_COUNT; p++) {
        Path same = path_peak((Path)p);
        int status = (int)same == p ? measure_peak(target, same, threads, &peaks->gflops[p], diagnostics) : 0;
        if (!status) {
            peaks->gflops[p] = peaks->gflops[same];
            status = measure_tile(target, (Path)p, &peaks->tile_gflops[p], diagnostics);
        }
        if (status < 0) {
            return -1;
        }
        if (status > 0) {
            peaks->gflops[p] = peaks->tile_gflops[p] = 0;
        }
    }
    return 0;
}

int measure_peaks(const char *target, int threads, Peaks *peaks, Diagnostics *diagnostics) {
    char reason[PEAKS_NOTE_BYTES];
    if (measure_once(target, threads, peaks, diagnostics)) {
        return -1;
    }
    for (int i = 0; i < MORE_ATTEMPTS && !peaks_plausible(peaks, threads, reason); i++) {
        Peaks again;
        if (measure_once(target, threads, &again, diagnostics)) {
            return -1;
        }
        peaks_raise(peaks, &again);
    }
    peaks_plausible(peaks, threads, peaks->note);
    return 0;
}

int measure_bandwidth(const Machine *machine, int64_t level, int threads, double seconds, Bandwidth *bandwidth) {
    int status = -1;
    for (int i = 0; i <= MORE_ATTEMPTS && (status || !bandwidth_plausible(bandwidth, 0)); i++) {
        Bandwidth again = {0};
        if (level < machine->cache_count ? bandwidth_cache(machine, level, threads, seconds, &again)
                                         : bandwidth_memory(machine, threads, seconds, &again)) {
            return status;
        }
        if (status || again.gbytes_s > bandwidth->gbytes_s || bandwidth_plausible(&again, 0)) {
            *bandwidth = again;
        }
        status = 0;
    }
    return status;
}

int measure_peaks_kept(const Machine *machine, const char *target, int threads, Peaks *peaks, Diagnostics *diagnostics) {
    char path[PEAKS_PATH_BYTES], note[PEAKS_NOTE_BYTES] = "", reason[PEAKS_NOTE_BYTES];
    bool kept = !peaks_path(machine, path);
    if (kept) {
        if (!peaks_load(path, target, threads, peaks) && peaks_plausible(peaks, threads, reason)) {
            return 0;
        }
        memcpy(note, peaks->note, sizeof note);
    }
    // Seconds in which nothing else would be seen.
    fprintf(stderr, "catena: measuring this machine's instruction paths (%s, %d thread%s)%s\n", target, threads,
            threads == 1 ? "" : "s", kept ? ", once: the rates are kept" : "; there is no home to keep the rates in");
    if (measure_peaks(target, threads, peaks, diagnostics)) {
        return -1;
    }
    peaks_keep(machine, target, threads, peaks);
    if (!*peaks->note) {  // what is wrong now matters more than what was found damaged
        memcpy(peaks->note, note, sizeof note);
    }
    return 0;
}
