// Single tiles, timed: the tallest with its operands in cache, the lowest on weights that come from memory.
#include "rates.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/base/statistics.h"
#include "compiler/emit/jit.h"
#include "compiler/machine/bandwidth.h"
#include "runtime/packed.h"

enum { SAMPLES = 5, TABLE_SAMPLES = 9, BLOCKS = 4, PANELS = 8, STREAM_BYTES = 24 << 20 };

// What all measurements of one role share.
typedef struct Bench {
    const Space *space;
    int role, tile, unroll, prefetch;  // knobs, -1: fixed
    const Bank *bank;
    int threads;
    int samples;
    uint8_t *rows;  // prepared activations: BLOCKS times the tallest tile
    int64_t cursor;  // samples of weights from memory so far
    double end;
    const volatile sig_atomic_t *stopped;
    Diagnostics *diagnostics;
} Bench;

static int values_of(const Bench *b, int knob) {
    return knob < 0 ? 1 : b->space->knobs[knob].count;
}

// The role with these values of its knobs.
static Role role_of(const Bench *b, int tile, int unroll, int prefetch) {
    Point point = space_standard(b->space);
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

// Seconds for 1e9 operations of the tallest tile: for each panel all row blocks, as a layer does it.
static int measure_tall(const Bench *b, const Role *role, Statistics *time) {
    TileFunction *tile;
    float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
    Jit *jit = load_tile(b, role, role->max_rows, 1, &tile);
    const uint8_t *weights = packed_image_instance(b->bank->image, 0, 0) + role->layout.offset;
    int64_t panels = role->layout.panels < PANELS ? role->layout.panels : PANELS;
    double samples[TABLE_SAMPLES];
    for (int i = -1; tile && i < b->samples; i++) {  // the first warms up
        double start = statistics_clock();
        for (int64_t panel = 0; panel < panels; panel++) {
            for (int block = 0; block < BLOCKS; block++) {
                const uint8_t *w = weights + panel * role->layout.panel_bytes;
                tile(b->rows + block * role->max_rows * role->input_stride, w, out, w, 16, NULL);
            }
        }
        double seconds = statistics_clock() - start;
        samples[i < 0 ? 0 : i] =
            seconds / (2e-9 * (double)(panels * BLOCKS * role->max_rows * PANEL_COLUMNS * role->layout.depth_padded));
    }
    jit_free(jit);
    *time = statistics_of(samples, tile ? (size_t)b->samples : 0);
    return tile ? 0 : -1;
}

// Of all matrices in the bank, one after the other: none comes again before the others.
static const uint8_t *bank_matrix(const Bench *b, const Role *role, int64_t index) {
    int64_t at = index % (b->bank->slots * role->layout.matrices);
    return packed_image_instance(b->bank->image, 0, at / role->layout.matrices) + role->layout.offset +
           at % role->layout.matrices * role->layout.matrix_bytes;
}

// Seconds for 1e9 bytes of a low tile over matrices of the bank that were not read for long, one or two panels at once.
static int measure_stream(Bench *b, const Role *role, int rows, int panels, Statistics *time) {
    TileFunction *tile;
    Jit *jit = load_tile(b, role, rows, panels, &tile);
    int64_t advance = role->ahead_bytes / plan_steps(role);
    int64_t matrices = STREAM_BYTES / role->layout.matrix_bytes + 1;
    matrices = matrices < role->layout.matrices ? matrices : role->layout.matrices;
    double samples[TABLE_SAMPLES];
    for (int i = 0; tile && i < b->samples; i++, b->cursor++) {
        double start = statistics_clock();
#pragma omp parallel num_threads(b->threads)
        {
            float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
#pragma omp for schedule(static)
            for (int64_t m = 0; m < matrices; m++) {
                for (int64_t panel = 0; panel + panels <= role->layout.panels; panel += panels) {
                    const uint8_t *w = bank_matrix(b, role, b->cursor * matrices + m) + panel * role->layout.panel_bytes;
                    tile(b->rows, w, out, w + panels * role->layout.panel_bytes, advance, NULL);
                }
            }
        }
        samples[i] = (statistics_clock() - start) /
                     (1e-9 * (double)(matrices * (role->layout.panels / panels * panels) * role->layout.panel_bytes));
    }
    jit_free(jit);
    *time = statistics_of(samples, tile ? (size_t)b->samples : 0);
    return tile ? 0 : -1;
}

// GFLOP/s of the tallest tile: the best of some sweeps, for disturbances only slow.
static int rate_tall(const Bench *b, const Role *role, double *gflops) {
    Statistics time;
    int status = measure_tall(b, role, &time);
    *gflops = status ? 0 : 1 / time.min;
    return status;
}

// GB/s of one row, two panels at once where the role does that.
static int rate_stream(Bench *b, const Role *role, double *gbytes_s) {
    Statistics time;
    int status = measure_stream(b, role, 1, role->wide_rows >= 1 && role->layout.panels > 1 ? 2 : 1, &time);
    *gbytes_s = status ? 0 : 1 / time.median;
    return status;
}

static bool over(const Bench *b) {
    return *b->stopped || statistics_clock() >= b->end;
}

// What was not reached is as good as the default: the search will see.
static void fill_missing(const Bench *b, Rates *rates) {
    const Point standard = space_standard(b->space);
    int tile = b->tile < 0 ? 0 : standard.value[b->tile], unroll = b->unroll < 0 ? 0 : standard.value[b->unroll];
    int prefetch = b->prefetch < 0 ? 0 : standard.value[b->prefetch];
    for (int i = 0; i < SPACE_MAX_VALUES * SPACE_MAX_VALUES; i++) {
        double *tall = &rates->tall[0][0] + i, *stream = &rates->stream[0][0] + i;
        *tall = *tall > 0 ? *tall : rates->tall[tile][unroll] * 0.99;
        *stream = *stream > 0 ? *stream : rates->stream[unroll][prefetch] * 0.99;
    }
}

static int measure_all(Bench *b, Rates *rates) {
    const Point standard = space_standard(b->space);
    int tiles = values_of(b, b->tile), unrolls = values_of(b, b->unroll), prefetches = values_of(b, b->prefetch), status = 0;
    int tile0 = b->tile < 0 ? 0 : standard.value[b->tile], unroll0 = b->unroll < 0 ? 0 : standard.value[b->unroll];
    int prefetch0 = b->prefetch < 0 ? 0 : standard.value[b->prefetch];
    Role role = role_of(b, tile0, unroll0, prefetch0);
    status = rate_tall(b, &role, &rates->tall[tile0][unroll0]) || rate_stream(b, &role, &rates->stream[unroll0][prefetch0]);
    for (int u = 0; u < unrolls && !status; u++) {
        for (int p = 0; p < prefetches && !status && !over(b); p++) {
            role = role_of(b, tile0, u, p);
            status = rate_stream(b, &role, &rates->stream[u][p]);
            rates->tiles_measured++;
        }
        for (int t = 0; t < tiles && !status && !over(b); t++) {
            role = role_of(b, t, u, prefetch0);
            status = rate_tall(b, &role, &rates->tall[t][u]);
            rates->tiles_measured++;
        }
    }
    return status;
}

// Activations for the tallest tiles of a role, all zero.
static int open_rows(Bench *b) {
    size_t bytes = (size_t)(BLOCKS * TILE_MAX_ROWS * b->space->standard.roles[b->role].input_stride);
    b->rows = bandwidth_allocate((int64_t)bytes, true);  // in pages as a layer's workspace
    if (!b->rows) {
        diagnostics_add(b->diagnostics, NULL, 0, 0, "out of memory");
        return -1;
    }
    memset(b->rows, 0, bytes);
    return 0;
}

int rates_measure(const Space *space, int role, const Bank *bank, int threads, double seconds, const volatile sig_atomic_t *stopped,
                  Rates *rates, Diagnostics *diagnostics) {
    memset(rates, 0, sizeof *rates);
    Bench b = {.space = space,
               .role = role,
               .tile = space_role_knob(space, role, KNOB_TILE),
               .unroll = space_role_knob(space, role, KNOB_UNROLL),
               .prefetch = space_role_knob(space, role, KNOB_PREFETCH),
               .bank = bank,
               .threads = threads,
               .samples = SAMPLES,
               .end = statistics_clock() + seconds,
               .stopped = stopped,
               .diagnostics = diagnostics};
    if (open_rows(&b)) {
        return -1;
    }
    int status = measure_all(&b, rates);
    fill_missing(&b, rates);
    free(b.rows);
    return status ? -1 : 0;
}

// --- every tile --------------------------------------------------------------------------------------------------------------

static bool matters(const Space *space, int role, int knob, RatesTileKind kind) {
    static const unsigned tiles[] = {
        [RATES_TALL] = SPACE_TALL_TILE, [RATES_LOW] = SPACE_LOW_TILES, [RATES_WIDE] = SPACE_WIDE_TILES};
    return space->knobs[knob].role == role && space->knobs[knob].tiles & tiles[kind];
}

// The next combination of the knobs that matter; false after the last.
static bool next_point(const Space *space, int role, RatesTileKind kind, Point *point) {
    for (int k = 0; k < space->knob_count; k++) {
        if (matters(space, role, k, kind)) {
            point->value[k] = (uint8_t)(point->value[k] + 1);
            if (point->value[k] < space->knobs[k].count) {
                return true;
            }
            point->value[k] = 0;
        }
    }
    return false;
}

// Heights of the tiles of a kind.
static int heights_of(const Space *space, int role, RatesTileKind kind) {
    int knob = space_role_knob(space, role, KNOB_WIDE);
    int most = knob < 0 ? 1 : (int)space->knobs[knob].values[space->knobs[knob].count - 1];
    most = most > 1 ? most : 1;
    return kind == RATES_TALL ? 1 : kind == RATES_LOW ? most : space->standard.roles[role].layout.panels > 1 ? most : 0;
}

// All tiles of a kind, not measured yet. tiles: NULL counts only.
static size_t list_tiles(const Space *space, int role, RatesTileKind kind, RatesTile *tiles) {
    Point point = space_standard(space);
    size_t count = 0;
    for (int k = 0; k < space->knob_count; k++) {
        point.value[k] = matters(space, role, k, kind) ? 0 : point.value[k];
    }
    do {
        Plan plan;
        if (!space_valid(space, &point)) {
            continue;  // another point says the same
        }
        space_plan(space, &point, &plan);
        for (int rows = 1; rows <= heights_of(space, role, kind); rows++, count++) {
            if (tiles) {
                tiles[count] = (RatesTile){.role = role,
                                           .kind = kind,
                                           .point = point,
                                           .rows = kind == RATES_TALL ? plan.roles[role].max_rows : rows,
                                           .panels = kind == RATES_WIDE ? 2 : 1};
            }
        }
    } while (next_point(space, role, kind, &point));
    return count;
}

static int measure_tile(Bench *b, RatesTile *tile) {
    Plan plan;
    space_plan(b->space, &tile->point, &plan);
    Role role = plan.roles[tile->role];
    role.wide_rows = tile->panels == 2 ? tile->rows : 0;
    Statistics time;
    int status =
        tile->kind == RATES_TALL ? measure_tall(b, &role, &time) : measure_stream(b, &role, tile->rows, tile->panels, &time);
    if (!status) {
        tile->samples = (int)time.count;
        tile->rate = 1 / time.median;
        tile->spread = time.spread;
    }
    return status;
}

int rates_measure_tiles(const Space *space, const Bank *bank, int threads, double seconds, const volatile sig_atomic_t *stopped,
                        RatesProgress *progress, const char *name, RatesTile **tiles, size_t *count, Diagnostics *diagnostics) {
    size_t total = 0, done = 0;
    int status = 0;
    for (int i = 0; i < 2 * RATES_TILE_KINDS; i++) {
        total += list_tiles(space, space_roles[i / RATES_TILE_KINDS], (RatesTileKind)(i % RATES_TILE_KINDS), NULL);
    }
    *tiles = calloc(total, sizeof **tiles);
    if (!*tiles) {
        diagnostics_add(diagnostics, NULL, 0, 0, "out of memory for %zu tiles", total);
        return -1;
    }
    *count = 0;
    for (int i = 0; i < 2 * RATES_TILE_KINDS; i++) {
        *count += list_tiles(space, space_roles[i / RATES_TILE_KINDS], (RatesTileKind)(i % RATES_TILE_KINDS), *tiles + *count);
    }
    double begin = statistics_clock();
    for (int i = 0; i < 2 && !status; i++) {
        Bench b = {.space = space,
                   .role = space_roles[i],
                   .bank = bank,
                   .threads = threads,
                   .samples = TABLE_SAMPLES,
                   .end = begin + seconds,
                   .stopped = stopped,
                   .diagnostics = diagnostics};
        status = open_rows(&b);
        for (; done < *count && (*tiles)[done].role == space_roles[i] && !status && !over(&b); done++) {
            status = measure_tile(&b, &(*tiles)[done]);
            if (progress) {
                progress(name, done + 1, total, (statistics_clock() - begin) / (double)(done + 1) * (double)(total - done - 1));
            }
        }
        free(b.rows);
    }
    *count = done;
    return status ? -1 : 0;
}
