// Emitted tiles: every path of every target that this machine runs, every height, with operands that end at inaccessible pages,
// against the chain of multiply-adds that the numerics promise.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "available.h"
#include "compiler/emit/jit.h"
#include "compiler/measure/measure.h"
#include "compiler/measure/synthetic.h"
#include "compiler/oracle/steps.h"
#include "fixture.h"
#include "panel.h"
#include "prefetch_trace.h"
#include "runtime/packed.h"
#include "suites.h"

enum { MOST_DEPTH = 512 };

// Memory that ends at an inaccessible page; never freed, the test's process ends.
static uint8_t *guarded(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page;
    uint8_t *memory = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(memory != MAP_FAILED);
    ck_assert_int_eq(mprotect(memory + whole, page, PROT_NONE), 0);
    return memory + whole - bytes;
}

static Role make_role(const Target *target, Path path, int64_t depth) {
    const PathFacts *facts = &path_facts[path];
    int32_t step = format_facts[facts->weights].step;
    Role role = {.layout.matrices = 1, .layout.depth = depth, .layout.depth_padded = plan_round_up(depth, step > 2 ? step : 2)};
    target_shape_role(target, path, &role);
    role.layout.weights = facts->weights;
    role.input = facts->input;
    role.layout.panel_bytes = format_bytes(facts->weights, role.layout.depth_padded);
    role.input_stride = (role.layout.depth_padded * form_bytes[facts->input] + 63) / 64 * 64;
    return role;
}

static float element(const void *base, Form form, int64_t index) {
    return form == FORM_BF16 ? packed_float_from_bf16(((const uint16_t *)base)[index]) : ((const float *)base)[index];
}

// Panels of normal numbers, packed as the format packs values.
static void fill_panels(const Role *role, int64_t panels, uint8_t *w, uint64_t *state) {
    static float values[PANEL_COLUMNS * MOST_DEPTH];
    for (int64_t p = 0; p < panels; p++) {
        for (int64_t i = 0; i < PANEL_COLUMNS * role->layout.depth_padded; i++) {
            values[i] = synthetic_normal(state);
        }
        panel_pack((Format)role->layout.weights, values, role->layout.depth_padded, w + p * role->layout.panel_bytes);
    }
}

static void fill(void *base, Form form, int64_t count, uint64_t *state) {
    for (int64_t i = 0; i < count; i++) {
        float value = synthetic_normal(state);
        if (form == FORM_BF16) {
            ((uint16_t *)base)[i] = packed_bf16_from_float(value);
        } else {
            ((float *)base)[i] = value;
        }
    }
}

// What one output must be: exactly, for paths of multiply-adds. A path of dot products has an order of its own (the CPU's); what
// holds is the oracle's bound for it, gamma_2n of the products' magnitudes: two roundings, to odd at worst, per pair of terms, and
// subnormal numbers flushed (compiler/oracle/error.h). Operands are exact here.
static void check_output(const Target *target, const Role *role, const uint8_t *a, const uint8_t *w, int64_t column, float got) {
    const uint8_t *panel = w + column / PANEL_COLUMNS * role->layout.panel_bytes;
    int64_t c = column % PANEL_COLUMNS;
    float chain = 0;
    Bounded x[MOST_DEPTH];
    float y[MOST_DEPTH];
    ck_assert_int_le(role->layout.depth_padded, MOST_DEPTH);
    for (int64_t k = 0; k < role->layout.depth_padded; k++) {
        x[k] = bounded_exact(element(a, (Form)role->input, k)),
        y[k] = (float)format_value((Format)role->layout.weights, panel, k, (int)c);
        chain = target->fused ? fmaf((float)x[k].value, y[k], chain) : (float)x[k].value * y[k] + chain;
    }
    if (role->input == FORM_BF16) {
        double value[MOST_DEPTH], reach[MOST_DEPTH], error[MOST_DEPTH];
        Operand operand = {.value = value, .reach = reach, .error = error, .model = ERROR_WORST};
        oracle_operand(x, role->layout.depth_padded, COMPUTE_BF16, &operand);
        Bounded due = oracle_product(&operand, y, role->layout.depth_padded, NULL);
        ck_assert_msg(fabs(got - due.value) <= due.error, "%.9g, the oracle has %.9g +- %.3g", (double)got, due.value, due.error);
    } else {
        ck_assert_mem_eq(&got, &chain, sizeof got);
    }
}

static void run_tile_with(const Target *target, const PathEmitter *emitter, const Role *role, TileKind kind, int rows, int panels,
                          const void *a, const void *w, float *out, float *widened) {
    Diagnostics diagnostics = {0};
    Object object = emit_single_tile_with(target, emitter, role, kind, rows, panels, &diagnostics);
    ck_assert_msg(object != NULL, "%s", diagnostics.text);
    Jit *jit = jit_load(object, &diagnostics);
    ck_assert_msg(jit != NULL, "%s", diagnostics.text);
    TileFunction *tile = (TileFunction *)jit_function(jit, "tile_0");
    ck_assert_ptr_nonnull(tile);
    tile(a, w, out, w, 64, widened);
    jit_free(jit);
}

static void run_tile(const Target *target, const Role *role, TileKind kind, int rows, int panels, const void *a, const void *w,
                     float *out, float *widened) {
    run_tile_with(target, path_emitter((Path)role->path), role, kind, rows, panels, a, w, out, widened);
}

// The fp32 panel that a widening tile leaves.
static void check_widened(const Role *role, const uint8_t *w, const float *widened) {
    for (int64_t i = 0; widened && i < role->layout.depth_padded * PANEL_COLUMNS; i++) {
        int64_t k = i / PANEL_COLUMNS, column = i % PANEL_COLUMNS;
        float expected = (float)format_value((Format)role->layout.weights, w, k, (int)column);
        ck_assert_mem_eq(&widened[i], &expected, sizeof expected);
    }
}

static void check_tile(const Target *target, const Role *role, TileKind kind, int rows, int panels) {
    int64_t width = form_bytes[role->input];
    size_t last_row = (size_t)(role->layout.depth_padded * width), a_bytes = (size_t)((rows - 1) * role->input_stride) + last_row;
    size_t w_bytes = (size_t)(panels * role->layout.panel_bytes);
    uint8_t *a = guarded(a_bytes), *w = guarded(w_bytes);
    float *out = (float *)(void *)guarded(sizeof(float) * (size_t)((rows - 1) * TILE_STRIDE + panels * PANEL_COLUMNS));
    size_t widened_bytes = (size_t)role->layout.depth_padded * PANEL_COLUMNS * sizeof(float);
    float *widened = kind == TILE_WIDENING ? (float *)(void *)guarded(widened_bytes) : NULL;
    uint64_t state = (uint64_t)(rows * 1000 + panels);
    fill_panels(role, panels, w, &state);
    for (int r = 0; r < rows; r++) {
        fill(a + r * role->input_stride, (Form)role->input, role->layout.depth_padded, &state);
    }
    run_tile(target, role, kind, rows, panels, a, w, out, widened);
    check_widened(role, w, widened);
    for (int r = 0; r < rows; r++) {
        for (int64_t c = 0; c < panels * PANEL_COLUMNS; c++) {
            check_output(target, role, a + r * role->input_stride, w, c, out[r * TILE_STRIDE + c]);
        }
    }
}

START_TEST(test_tiles) {
    static const int64_t depths[] = {1, 2, 3, 8, 31, 33, 41, 64, 126, 128, 130, 300};
    const Target *target = targets[_i / PATH_COUNT];
    Path path = (Path)(_i % PATH_COUNT);
    if (!available_path(target, path)) {
        return;
    }
    for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
        Role role = make_role(target, path, depths[d]);
        for (int rows = 1; rows <= role.max_rows; rows++) {
            check_tile(target, &role, TILE_PACKED, rows, 1);
            if (path_facts[path].decodes) {
                check_tile(target, &role, TILE_WIDENING, rows, 1);
                Role widened = plan_decoded_role(&role);  // what the tiles after it see
                widened.unroll = target_tile(target, PATH_FP32_FMA)->unroll;
                check_tile(target, &widened, TILE_WIDENED, rows, 1);
            }
        }
        for (int rows = 1; rows <= role.wide_rows; rows++) {
            check_tile(target, &role, TILE_PACKED, rows, 2);
        }
    }
}
END_TEST

// Bits of an output do not depend on the rows and panels that are computed with it.
START_TEST(test_tiles_have_the_same_bits) {
    const Target *target = targets[_i / PATH_COUNT];
    Path path = (Path)(_i % PATH_COUNT);
    if (!available_path(target, path)) {
        return;
    }
    Role role = make_role(target, path, 74);
    size_t a_bytes = (size_t)(role.max_rows * role.input_stride), w_bytes = (size_t)(2 * role.layout.panel_bytes);
    uint8_t *a = guarded(a_bytes), *w = guarded(w_bytes);
    float *one = (float *)(void *)guarded(sizeof(float) * TILE_STRIDE);
    float *all = (float *)(void *)guarded(sizeof(float) * TILE_STRIDE * TILE_MAX_ROWS);
    uint64_t state = 5;
    fill_panels(&role, 2, w, &state);
    fill(a, (Form)role.input, (int64_t)a_bytes / form_bytes[role.input], &state);
    for (int panels = 1; panels <= 2; panels++) {
        for (int rows = 1; rows <= (panels == 1 ? role.max_rows : role.wide_rows); rows++) {
            run_tile(target, &role, TILE_PACKED, rows, panels, a, w, all, NULL);
            for (int r = 0; r < rows; r += rows > 4 ? rows / 4 : 1) {
                for (int p = 0; p < panels; p++) {
                    run_tile(target, &role, TILE_PACKED, 1, 1, a + r * role.input_stride, w + p * role.layout.panel_bytes, one,
                             NULL);
                    ck_assert_mem_eq(one, all + r * TILE_STRIDE + p * PANEL_COLUMNS, sizeof(float) * PANEL_COLUMNS);
                }
            }
        }
    }
}
END_TEST

// Blocks of k one after the other give the bits of all of k at once.
START_TEST(test_blocks_add_up) {
    const Target *target = targets[_i / PATH_COUNT];
    Path path = (Path)(_i % PATH_COUNT);
    if (!available_path(target, path) || path_facts[path].fixed_shape) {  // whose tiles do without
        return;
    }
    int64_t group = format_facts[path_facts[path].weights].group;
    Role role = make_role(target, path, group ? 3 * group : 84);
    role.k_blocks = 3;
    Role blocked = plan_blocked_role(&role);
    int64_t width = form_bytes[role.input];
    size_t a_bytes = (size_t)(role.max_rows * role.input_stride), w_bytes = (size_t)role.layout.panel_bytes;
    uint8_t *a = guarded(a_bytes), *w = guarded(w_bytes);
    float *once = (float *)(void *)guarded(sizeof(float) * TILE_STRIDE * TILE_MAX_ROWS);
    float *sums = (float *)(void *)guarded(sizeof(float) * TILE_STRIDE * TILE_MAX_ROWS);
    uint64_t state = 5;
    fill_panels(&role, 1, w, &state);
    fill(a, (Form)role.input, (int64_t)a_bytes / width, &state);
    for (int rows = 1; rows <= role.max_rows; rows++) {
        run_tile(target, &role, TILE_PACKED, rows, 1, a, w, once, NULL);
        memset(sums, 0, sizeof(float) * TILE_STRIDE * TILE_MAX_ROWS);
        for (int block = 0; block < 3; block++) {
            run_tile(target, &blocked, TILE_BLOCKED, rows, 1, a + block * blocked.layout.depth_padded * width,
                     w + block * role.layout.panel_bytes / 3, sums, NULL);
        }
        for (int r = 0; r < rows; r++) {
            ck_assert_mem_eq(sums + r * TILE_STRIDE, once + r * TILE_STRIDE, PANEL_COLUMNS * sizeof(float));
        }
    }
}
END_TEST

// --- accumulators of another type ----------------------------------------------------------------------------------------------
// A path of the test's own: codes of fp8_e4m3 as signed bytes times 32-bit integers, where a row of A has fp32 numbers, summed up
// exactly. At a group's end half of what was there remains, and the group's sum times its scale is added; at the tile's end it is
// three times as much. A call too few or too many of either shows.

static LLVMTypeRef integer_accumulator(Emission *e) {
    return e->integers;
}

static void integer_step(Emission *e, Step *s) {
    for (int i = 0; i < 4 * s->rows * s->vectors; i++) {
        int k = i % 4, v = i / 4 % s->vectors, r = i / 4 / s->vectors;
        LLVMValueRef code = emission_load(e, e->integers, s->w, s->weight_offsets[v], 16);
        code = LLVMBuildShl(e->builder, code, emission_constant(e, e->integers, 24 - 8 * (unsigned)k), "");
        code = LLVMBuildAShr(e->builder, code, emission_constant(e, e->integers, 24), "");
        LLVMValueRef a = emission_splat(e, emission_load(e, e->i32, s->a, r * s->input_stride + k * 4, 4), e->target->lanes);
        LLVMValueRef *sum = &s->accumulators[r * s->vectors + v];
        *sum = LLVMBuildAdd(e->builder, *sum, LLVMBuildMul(e->builder, a, code, ""), "");
    }
}

static LLVMValueRef times(Emission *e, LLVMValueRef vector, float factor) {
    LLVMValueRef factors = emission_splat(e, LLVMConstReal(e->f32, (double)factor), e->target->lanes);
    return LLVMBuildFMul(e->builder, vector, factors, "");
}

static void integer_group_end(Emission *e, Step *s) {
    for (int i = 0; i < s->rows * s->vectors; i++) {
        int v = i % s->vectors;
        LLVMValueRef scale = emission_load(e, e->vector, s->group, s->panel_offsets[v] + s->columns[v] * 4, 16);
        LLVMValueRef sum = LLVMBuildSIToFP(e->builder, s->accumulators[i], e->vector, "");
        s->totals[i] = LLVMBuildFAdd(e->builder, times(e, s->totals[i], 0.5f), LLVMBuildFMul(e->builder, sum, scale, ""), "");
        s->accumulators[i] = LLVMConstNull(e->integers);
    }
}

static void integer_tile_end(Emission *e, Step *s) {
    for (int i = 0; i < s->rows * s->vectors; i++) {
        s->totals[i] = times(e, s->totals[i], 3);
    }
}

static const PathEmitter integer_path = {
    .step = integer_step, .accumulator = integer_accumulator, .group_end = integer_group_end, .tile_end = integer_tile_end};

// The same by the layout of formats/fp8_e4m3.h, from `total` on.
static float integer_output(const Role *role, const int32_t *a, const uint8_t *panel, int64_t column, float total) {
    for (int64_t first = 0; first < role->layout.depth_padded; first += 128, panel += 128 + 128 * PANEL_COLUMNS) {
        int32_t sum = 0;
        for (int64_t k = 0; k < 128 && first + k < role->layout.depth_padded; k++) {
            sum += a[first + k] * (int8_t)panel[128 + k / 4 * 4 * PANEL_COLUMNS + column * 4 + k % 4];
        }
        total = total * 0.5f + (float)sum * ((const float *)(const void *)panel)[column];
    }
    return total * 3;
}

static void check_integers(const Target *target, const Role *role, TileKind kind, int rows, int panels) {
    static int32_t a[TILE_MAX_ROWS * MOST_DEPTH];
    uint64_t state = (uint64_t)(rows * 1000 + panels);
    uint8_t *w = guarded((size_t)(panels * role->layout.panel_bytes));
    size_t floats = (size_t)((rows - 1) * TILE_STRIDE + panels * PANEL_COLUMNS);
    float *out = (float *)(void *)guarded(sizeof(float) * floats), before[TILE_MAX_ROWS * TILE_STRIDE];
    fill_panels(role, panels, w, &state);
    for (int64_t i = 0; i < rows * role->input_stride / 4; i++) {
        a[i] = (int32_t)(synthetic_next(&state) % 2001) - 1000;
    }
    for (size_t i = 0; i < floats; i++) {
        out[i] = before[i] = synthetic_normal(&state);
    }
    run_tile_with(target, &integer_path, role, kind, rows, panels, a, w, out, NULL);
    for (int64_t i = 0; i < rows * panels * PANEL_COLUMNS; i++) {
        int64_t r = i / PANEL_COLUMNS / panels, c = i % (panels * PANEL_COLUMNS);
        float from = kind == TILE_BLOCKED ? before[r * TILE_STRIDE + c] : 0, got = out[r * TILE_STRIDE + c];
        float due = integer_output(role, a + r * role->input_stride / 4, w + c / PANEL_COLUMNS * role->layout.panel_bytes,
                                   c % PANEL_COLUMNS, from);
        ck_assert_msg(!memcmp(&got, &due, sizeof got), "depth %lld, row %lld, column %lld: %.9g, not %.9g",
                      (long long)role->layout.depth, (long long)r, (long long)c, (double)got, (double)due);
    }
}

START_TEST(test_accumulators_of_another_type) {
    static const int64_t depths[] = {2, 126, 128, 130, 256, 300, 384};
    const Target *target = targets[_i];
    if (!available_path(target, PATH_FP8_WIDENED)) {
        return;
    }
    for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
        Role role = make_role(target, PATH_FP8_WIDENED, depths[d]);
        for (int rows = 1; rows <= role.max_rows; rows += 3) {
            check_integers(target, &role, TILE_PACKED, rows, rows <= role.wide_rows ? 2 : 1);
            check_integers(target, &role, TILE_BLOCKED, rows, 1);
        }
    }
}
END_TEST

typedef struct TileCall {
    TileFunction *tile;
    const void *a, *w, *ahead;
    float *out;
} TileCall;

static void call_tile(void *context) {
    const TileCall *call = context;
    call->tile(call->a, call->w, call->out, call->ahead, 64, NULL);
}

// The prefetches of a tile of a path of avx512; of a low one `ahead` is what is read next. -1: cannot be traced here.
static long trace_tile(const Role *role, int rows, int panels, uint8_t *w, uint8_t *ahead, Prefetch *out, size_t room) {
    Diagnostics diagnostics = {0};
    float *sums = (float *)(void *)guarded(sizeof(float) * TILE_STRIDE * TILE_MAX_ROWS);
    Jit *jit = jit_load(emit_single_tile(&target_avx512, role, TILE_PACKED, rows, panels, &diagnostics), &diagnostics);
    ck_assert_msg(jit != NULL, "%s", diagnostics.text);
    TileCall call = {(TileFunction *)jit_function(jit, "tile_0"), guarded((size_t)(rows * role->input_stride)), w, ahead, sums};
    long count = prefetch_trace(call_tile, &call, out, room);
    jit_free(jit);
    return count;
}

// What a stream `distance` bytes ahead fetches of one panel: each line once, behind the panel's end those of what is read next.
static size_t expect_stream(const Role *role, int level, int64_t distance, const uint8_t *panel, const uint8_t *next,
                            Prefetch *out) {
    size_t count = 0;
    for (int64_t line = distance; line < role->layout.panel_bytes + distance; line += 64) {
        const uint8_t *at = line < role->layout.panel_bytes ? panel + line : next + line - role->layout.panel_bytes;
        out[count++] = (Prefetch){level, (uintptr_t)at};
    }
    return count;
}

// passes: of the columns, one after the other; then the second panel is what is read after the first.
static void check_streams(const Role *role, int rows, int panels, int passes) {
    enum { ROOM = 1 << 14 };
    Prefetch *got = calloc(ROOM, sizeof *got), *expected = calloc(ROOM, sizeof *expected);
    uint8_t *w = guarded((size_t)(2 * role->layout.panel_bytes)), *next = guarded((size_t)(2 * role->layout.panel_bytes));
    long count = trace_tile(role, rows, panels, w, next, got, ROOM);
    size_t wanted = 0;
    const int64_t distances[] = {role->prefetch, plan_prefetches_far(role) ? role->prefetch_far : 0};
    const int levels[] = {role->prefetch_hint == 3 ? 1 : 2, 2};
    for (int stream = 0; stream < 2; stream++) {
        for (int p = 0; p < panels && distances[stream]; p++) {
            const uint8_t *after = passes == 1 ? next + p * role->layout.panel_bytes : p == 0 ? w + role->layout.panel_bytes : next;
            wanted +=
                expect_stream(role, levels[stream], distances[stream], w + p * role->layout.panel_bytes, after, expected + wanted);
        }
    }
    qsort(expected, wanted, sizeof *expected, prefetch_compare);
    if (count >= 0) {
        ck_assert_int_eq(count, (long)wanted);
        for (size_t i = 0; i < wanted; i++) {
            ck_assert_int_eq(got[i].level, expected[i].level);
            ck_assert_uint_eq(got[i].address, expected[i].address);
        }
    }
    free(got);
    free(expected);
}

static const Path vector_path = PATH_BF16_WIDENED;

// Low tiles fetch every line that is read `prefetch` bytes later, and prefetch_far bytes, whichever matrix it belongs to.
START_TEST(test_own_prefetches) {
    const Path path = _i ? PATH_BF16_AMX : vector_path;
    if (!available_path(&target_avx512, path)) {
        return;
    }
    Role role = make_role(&target_avx512, path, 512);
    ck_assert(plan_prefetches_far(&role));
    check_streams(&role, 1, 1, 1);
    check_streams(&role, 1, 2, 1);
    check_streams(&role, role.wide_rows, 2, 1);
    role.prefetch_far = 0;
    check_streams(&role, 1, 2, 1);
    role.prefetch_hint = 2;
    check_streams(&role, 1, 2, 1);
    role.prefetch = 0;
    role.prefetch_far = 4096;
    check_streams(&role, 1, 2, 1);
}
END_TEST

START_TEST(test_prefetches_of_passes) {
    if (!available_path(&target_avx512, vector_path)) {
        return;
    }
    Role role = make_role(&target_avx512, vector_path, 512);
    role.wide_rows = 8;  // two panels at once do not fit the registers any more
    check_streams(&role, 8, 2, 2);
}
END_TEST

// Tall ones fetch what they are told, in two streams.
START_TEST(test_told_prefetches) {
    enum { ROOM = 1 << 12 };
    if (!available_path(&target_avx512, vector_path)) {
        return;
    }
    Role role = make_role(&target_avx512, vector_path, 512);
    role.ahead_bytes = role.layout.panel_bytes / 2;
    Prefetch got[ROOM];
    uint8_t *w = guarded((size_t)role.layout.panel_bytes), *ahead = guarded((size_t)role.layout.panel_bytes);
    long count = trace_tile(&role, role.max_rows, 1, w, ahead, got, ROOM);
    if (count >= 0) {
        ck_assert_int_eq(count, role.layout.panel_bytes / 64);
        for (long i = 0; i < count; i++) {
            ck_assert_int_eq(got[i].level, 2);
            ck_assert_uint_eq(got[i].address, (uintptr_t)ahead + (uintptr_t)(64 * i));
        }
        role.ahead_hint = -1;
        ck_assert_int_eq(trace_tile(&role, role.max_rows, 1, w, ahead, got, ROOM), 0);
    }
}
END_TEST

START_TEST(test_rejections) {
    ck_assert_int_eq(path_peak(PATH_FP32_FMA), PATH_FP32_FMA);
    ck_assert_int_eq(path_peak(PATH_FP8_WIDENED), PATH_FP32_FMA);
    ck_assert_int_eq(path_peak(PATH_BF16_DOT), PATH_BF16_DOT);
    ck_assert_int_eq(path_peak(PATH_BF16_AMX), PATH_BF16_AMX);
    ck_assert_ptr_null(path_rejection(&target_avx512, PATH_FP32_FMA, FORMAT_FP32, COMPUTE_FP32));
    ck_assert_ptr_null(path_rejection(&target_avx512, PATH_BF16_WIDENED, FORMAT_BF16, COMPUTE_FP32));
    ck_assert_ptr_null(path_rejection(&target_avx512, PATH_BF16_DOT, FORMAT_BF16, COMPUTE_BF16));
    ck_assert_ptr_nonnull(path_rejection(&target_avx512, PATH_BF16_DOT, FORMAT_BF16, COMPUTE_FP32));
    ck_assert_ptr_nonnull(path_rejection(&target_avx2, PATH_BF16_DOT, FORMAT_BF16, COMPUTE_BF16));
    ck_assert_ptr_null(path_rejection(&target_avx512, PATH_BF16_AMX, FORMAT_BF16, COMPUTE_BF16));
    ck_assert_ptr_nonnull(path_rejection(&target_avx512, PATH_BF16_AMX, FORMAT_BF16, COMPUTE_FP32));
    ck_assert_ptr_nonnull(path_rejection(&target_avx512, PATH_BF16_AMX, FORMAT_FP32, COMPUTE_BF16));
    ck_assert_ptr_nonnull(path_rejection(&target_neon, PATH_BF16_AMX, FORMAT_BF16, COMPUTE_BF16));
    ck_assert_ptr_nonnull(path_rejection(&target_avx512, PATH_FP32_FMA, FORMAT_BF16, COMPUTE_FP32));
}
END_TEST

Suite *suite_emit(void) {
    Suite *suite = suite_create("emit");
    TCase *cases = tcase_create("tiles");
    int count = 0;
    while (targets[count]) {
        count++;
    }
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_loop_test(cases, test_tiles, 0, count * PATH_COUNT);
    tcase_add_loop_test(cases, test_tiles_have_the_same_bits, 0, count * PATH_COUNT);
    tcase_add_loop_test(cases, test_blocks_add_up, 0, count * PATH_COUNT);
    tcase_add_loop_test(cases, test_accumulators_of_another_type, 0, count);
    tcase_add_loop_test(cases, test_own_prefetches, 0, 2);
    tcase_add_test(cases, test_prefetches_of_passes);
    tcase_add_test(cases, test_told_prefetches);
    tcase_add_test(cases, test_rejections);
    suite_add_tcase(suite, cases);
    return suite;
}
