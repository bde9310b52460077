// Single tiles, timed: the tallest with its operands in cache, the lowest on weights that come from memory.
#include "rates.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/packed.h"
#include "jit.h"
#include "statistics.h"

typedef void TileFunction(const void *a, const void *w, float *out, const void *ahead, int64_t advance, float *widened);

enum { SAMPLES = 5, BLOCKS = 4, PANELS = 8, STREAM_BYTES = 24 << 20 };

// What all measurements of one role share.
typedef struct Bench {
    const Space *space;
    int role, tile, unroll, prefetch;  // knobs, -1: fixed
    const Bank *bank;
    int threads;
    uint8_t *rows;  // prepared activations: BLOCKS times the tallest tile
    double end;
    const volatile sig_atomic_t *stopped;
    Diagnostics *diagnostics;
} Bench;

static int values_of(const Bench *b, int knob) {
    return knob < 0 ? 1 : b->space->knobs[knob].count;
}

// The role with these values of its knobs.
static Role role_of(const Bench *b, int tile, int unroll, int prefetch) {
    SearchPoint point = space_standard(b->space);
    Plan plan;
    const int knobs[] = {b->tile, b->unroll, b->prefetch}, values[] = {tile, unroll, prefetch};
    for (int i = 0; i < 3; i++) {
        if (knobs[i] >= 0) {
            point.value[knobs[i]] = (uint8_t)values[i];
        }
    }
    space_plan(b->space, &point, &plan);
    return plan.roles[b->role];
}

static Jit *load_tile(const Bench *b, const Role *role, int rows, int panels, TileFunction **tile) {
    Object object = emit_single_tile(b->space->target, role, TILE_PACKED, rows, panels, b->diagnostics);
    Jit *jit = object ? jit_load(object, b->diagnostics) : NULL;
    *tile = jit ? (TileFunction *)jit_function(jit, "tile_0") : NULL;
    return jit;
}

// GFLOP/s of the tallest tile: for each panel all row blocks, as a layer does it. The best of some sweeps: disturbances only slow.
static int measure_tall(const Bench *b, const Role *role, double *gflops) {
    TileFunction *tile;
    float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
    Jit *jit = load_tile(b, role, role->max_rows, 1, &tile);
    const uint8_t *weights = packed_image_instance(b->bank->image, 0, 0) + role->offset;
    int64_t panels = role->panels < PANELS ? role->panels : PANELS;
    double best = 0;
    for (int i = -1; tile && i < SAMPLES; i++) {
        double start = statistics_clock();
        for (int64_t panel = 0; panel < panels; panel++) {
            for (int block = 0; block < BLOCKS; block++) {
                const uint8_t *w = weights + panel * role->panel_bytes;
                tile(b->rows + block * role->max_rows * role->input_stride, w, out, w, 16, NULL);
            }
        }
        double seconds = statistics_clock() - start;
        double rate = 2e-9 * (double)(panels * BLOCKS * role->max_rows * PANEL_COLUMNS * role->depth_padded) / seconds;
        best = i >= 0 && rate > best ? rate : best;
    }
    jit_free(jit);
    *gflops = best;
    return tile ? 0 : -1;
}

// GB/s of one row over matrices of the bank that were not read for long, two panels at once.
static int measure_stream(const Bench *b, const Role *role, int64_t *cursor, double *gbytes_s) {
    TileFunction *tile;
    Jit *jit = load_tile(b, role, 1, role->wide_rows >= 1 && role->panels > 1 ? 2 : 1, &tile);
    int64_t width = role->wide_rows >= 1 && role->panels > 1 ? 2 : 1, matrices = STREAM_BYTES / role->matrix_bytes + 1;
    matrices = matrices < role->matrices ? matrices : role->matrices;
    double samples[SAMPLES];
    for (int i = 0; tile && i < SAMPLES; i++, ++*cursor) {
        const uint8_t *weights = packed_image_instance(b->bank->image, 0, *cursor % b->bank->slots) + role->offset;
        double start = statistics_clock();
#pragma omp parallel num_threads(b->threads)
        {
            float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
#pragma omp for schedule(static)
            for (int64_t m = 0; m < matrices; m++) {
                for (int64_t panel = 0; panel + width <= role->panels; panel += width) {
                    const uint8_t *w = weights + m * role->matrix_bytes + panel * role->panel_bytes;
                    tile(b->rows, w, out, w, 0, NULL);
                }
            }
        }
        samples[i] = (double)(matrices * (role->panels / width * width) * role->panel_bytes) * 1e-9 / (statistics_clock() - start);
    }
    jit_free(jit);
    *gbytes_s = tile ? statistics_of(samples, SAMPLES).median : 0;
    return tile ? 0 : -1;
}

static bool over(const Bench *b) {
    return *b->stopped || statistics_clock() >= b->end;
}

// What was not reached is as good as the default: the search will see.
static void fill_missing(const Bench *b, Rates *rates) {
    const SearchPoint standard = space_standard(b->space);
    int tile = b->tile < 0 ? 0 : standard.value[b->tile], unroll = b->unroll < 0 ? 0 : standard.value[b->unroll];
    int prefetch = b->prefetch < 0 ? 0 : standard.value[b->prefetch];
    for (int i = 0; i < SPACE_MAX_VALUES * SPACE_MAX_VALUES; i++) {
        double *tall = &rates->tall[0][0] + i, *stream = &rates->stream[0][0] + i;
        *tall = *tall > 0 ? *tall : rates->tall[tile][unroll] * 0.99;
        *stream = *stream > 0 ? *stream : rates->stream[unroll][prefetch] * 0.99;
    }
}

static int measure_all(const Bench *b, Rates *rates) {
    const SearchPoint standard = space_standard(b->space);
    int tiles = values_of(b, b->tile), unrolls = values_of(b, b->unroll), prefetches = values_of(b, b->prefetch), status = 0;
    int tile0 = b->tile < 0 ? 0 : standard.value[b->tile], unroll0 = b->unroll < 0 ? 0 : standard.value[b->unroll];
    int prefetch0 = b->prefetch < 0 ? 0 : standard.value[b->prefetch];
    int64_t cursor = 0;
    Role role = role_of(b, tile0, unroll0, prefetch0);
    status = measure_tall(b, &role, &rates->tall[tile0][unroll0]) ||
             measure_stream(b, &role, &cursor, &rates->stream[unroll0][prefetch0]);
    for (int u = 0; u < unrolls && !status; u++) {
        for (int p = 0; p < prefetches && !status && !over(b); p++) {
            role = role_of(b, tile0, u, p);
            status = measure_stream(b, &role, &cursor, &rates->stream[u][p]);
            rates->tiles_measured++;
        }
        for (int t = 0; t < tiles && !status && !over(b); t++) {
            role = role_of(b, t, u, prefetch0);
            status = measure_tall(b, &role, &rates->tall[t][u]);
            rates->tiles_measured++;
        }
    }
    return status;
}

int rates_measure(const Space *space, int role, const Bank *bank, int threads, double seconds, const volatile sig_atomic_t *stopped,
                  Rates *rates, Diagnostics *diagnostics) {
    memset(rates, 0, sizeof *rates);
    Bench b = {.space = space,
               .role = role,
               .tile = space_role_knob(space, role, "tile"),
               .unroll = space_role_knob(space, role, "unroll"),
               .prefetch = space_role_knob(space, role, "prefetch"),
               .bank = bank,
               .threads = threads,
               .end = statistics_clock() + seconds,
               .stopped = stopped,
               .diagnostics = diagnostics};
    size_t bytes = (size_t)(BLOCKS * TILE_MAX_ROWS * space->standard.roles[role].input_stride);
    b.rows = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!b.rows) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory");
        return -1;
    }
    memset(b.rows, 0, bytes);
    int status = measure_all(&b, rates);
    fill_missing(&b, rates);
    free(b.rows);
    return status ? -1 : 0;
}
