// Tiles: the hot loops, built with the LLVM C API. One function per descriptor (contract: templates/skeleton.h):
//
//     out[r][c] = sum over ascending k of a[r][k] * w[k][c]      r < rows, c < panels * 32
//
// A block of rows x columns accumulators stays in registers while k runs; columns that do not fit are further passes over a.
// Names: <tile|widening|block>_<weights>_<path>_<rows>x<columns>_<descriptor>__<target>, the descriptor being depth, input stride,
// accumulators, unrolling and prefetches.
#include <stdio.h>

#include "emit.h"

enum { STEP_BYTES = PANEL_COLUMNS * 4 };  // of one panel per step, in every format: [k][32] fp32, [k/2][32][2] bf16

// One tile under construction.
typedef struct Tiling {
    Emission *e;
    const Role *role;
    const PathEmitter *path;
    TileKind kind;
    LLVMValueRef function;
    int rows, columns, first_column;  // of the current pass
    bool told;                        // the caller says where this pass prefetches
    LLVMValueRef advance;             // bytes between its steps
    LLVMValueRef next;                // what is read after this pass, where its first column would be
} Tiling;

// The addresses that move with k; NULL: there is no such stream. ahead: what a told pass prefetches; near, far: what another does;
// widened: where it keeps the panel.
typedef struct Cursor {
    LLVMValueRef a, w, ahead, near, far, widened;
} Cursor;
enum { CURSOR_POINTERS = sizeof(Cursor) / sizeof(LLVMValueRef) };

// Whether the caller says where to prefetch.
static bool tile_is_told(const Role *role, TileKind kind, int rows) {
    return kind != TILE_PACKED || rows > role->wide_rows;
}

// Everything that decides a tile's code: two roles that agree in it share the tile.
static void tile_name(const Emission *e, const Role *role, TileKind kind, int rows, int panels, char *name, size_t size) {
    bool told = tile_is_told(role, kind, rows);
    snprintf(name, size, "%s_%s_%s_%dx%d_k%lld_s%lld_c%d_u%d_p%d_f%d_h%d_a%lld__%s",
             kind == TILE_WIDENING  ? "widening"
             : kind == TILE_BLOCKED ? "block"
                                    : "tile",
             role->weights == FORMAT_BF16 ? "bf16" : "fp32", path_name((Path)role->path), rows, panels * PANEL_COLUMNS,
             (long long)role->depth_padded, (long long)role->input_stride, role->tile_columns * role->max_rows, role->unroll,
             told ? -1 : role->prefetch, told ? -1 : role->prefetch_far, told ? role->ahead_hint : role->prefetch_hint,
             (long long)(told ? role->ahead_bytes : 0), e->target->name);
}

// The lines of a step of a low tile, in the stream `at`, which moves on.
static void emit_prefetch_own(const Tiling *t, const Step *step, LLVMValueRef *at, int hint) {
    for (int v = 0; v < step->vectors && *at; v++) {
        if (step->weight_offsets[v] % 64 == 0) {
            emission_prefetch(t->e, *at, step->weight_offsets[v], hint);
        }
    }
    *at = *at ? emission_address(t->e, *at, STEP_BYTES) : NULL;
}

// Low tiles are bound by memory: every line of the weights, some steps before it is needed, into the nearest cache, and earlier
// into the second-level one, which waits for more lines at a time. Tall ones spread the next panel's lines over their many
// multiply-adds, into the second-level cache.
static void emit_prefetch(const Tiling *t, const Step *step, Cursor *at) {
    Emission *e = t->e;
    if (at->ahead) {
        emission_prefetch(e, at->ahead, 0, t->role->ahead_hint);
        emission_prefetch(e, at->ahead, t->role->ahead_bytes, t->role->ahead_hint);
        at->ahead = LLVMBuildGEP2(e->builder, LLVMInt8TypeInContext(e->context), at->ahead, (LLVMValueRef *)&t->advance, 1, "");
    }
    emit_prefetch_own(t, step, &at->near, t->role->prefetch_hint);
    emit_prefetch_own(t, step, &at->far, EMISSION_FAR);
}

// The end of a round of a low tile's loop: a stream `distance` bytes ahead that has come to the end of what this pass reads goes on
// with what is read next, so that the memory does not rest between panels. Of distances that are no whole rounds the last lines,
// less than a round, are left out.
static LLVMValueRef emit_turn(const Tiling *t, LLVMValueRef stream, LLVMValueRef w, int64_t rounds, int64_t distance) {
    Emission *e = t->e;
    int64_t round = t->role->unroll * STEP_BYTES, left = (distance + round - 1) / round;
    if (!stream) {
        return NULL;
    }
    LLVMValueRef turn = emission_address(e, LLVMGetParam(t->function, 1), (rounds > left + 1 ? rounds - left : 1) * round);
    return LLVMBuildSelect(e->builder, LLVMBuildICmp(e->builder, LLVMIntEQ, w, turn, ""), t->next, stream, "");
}

// `count` steps from the cursor on, which moves behind them.
static void emit_steps(const Tiling *t, Step *step, Cursor *at, int64_t count) {
    Emission *e = t->e;
    int64_t a_bytes = t->path->facts.depth * format_bytes((Format)t->role->input), kept_bytes = t->path->facts.depth * STEP_BYTES;
    for (int64_t u = 0; u < count; u++) {
        step->a = emission_address(e, at->a, u * a_bytes);
        step->w = emission_address(e, at->w, u * STEP_BYTES);
        step->widened = at->widened ? emission_address(e, at->widened, u * kept_bytes) : NULL;
        emit_prefetch(t, step, at);
        t->path->step(e, step);
    }
    at->a = emission_address(e, at->a, count * a_bytes);
    at->w = emission_address(e, at->w, count * STEP_BYTES);
    at->widened = at->widened ? emission_address(e, at->widened, count * kept_bytes) : NULL;
}

// The loop over k of one pass; leaves the sums in step->accumulators.
static void emit_loop(const Tiling *t, Step *step, Cursor at) {
    Emission *e = t->e;
    int64_t steps = t->role->depth_padded / t->path->facts.depth, rounds = steps / t->role->unroll;
    int count = step->rows * step->vectors;
    if (rounds > 0) {
        LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder);
        LLVMBasicBlockRef loop = LLVMAppendBasicBlockInContext(e->context, t->function, "k");
        LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->context, t->function, "k.end");
        LLVMValueRef end = emission_address(e, at.w, rounds * t->role->unroll * STEP_BYTES);
        LLVMBuildBr(e->builder, loop);
        LLVMPositionBuilderAtEnd(e->builder, loop);
        // Every moving value gets a phi: pointers first, then the sums.
        LLVMValueRef *pointers = &at.a, pointer_phis[CURSOR_POINTERS] = {0}, phis[EMISSION_MAX_ACCUMULATORS];
        for (int i = 0; i < CURSOR_POINTERS; i++) {
            if (pointers[i]) {
                pointer_phis[i] = LLVMBuildPhi(e->builder, e->pointer, "");
                LLVMAddIncoming(pointer_phis[i], &pointers[i], &before, 1);
                pointers[i] = pointer_phis[i];
            }
        }
        for (int i = 0; i < count; i++) {
            phis[i] = LLVMBuildPhi(e->builder, e->vector, "");
            LLVMAddIncoming(phis[i], &step->accumulators[i], &before, 1);
            step->accumulators[i] = phis[i];
        }
        emit_steps(t, step, &at, t->role->unroll);
        at.near = emit_turn(t, at.near, at.w, rounds, t->role->prefetch);
        at.far = emit_turn(t, at.far, at.w, rounds, t->role->prefetch_far);
        for (int i = 0; i < CURSOR_POINTERS; i++) {
            if (pointers[i]) {
                LLVMAddIncoming(pointer_phis[i], &pointers[i], &loop, 1);
            }
        }
        for (int i = 0; i < count; i++) {
            LLVMAddIncoming(phis[i], &step->accumulators[i], &loop, 1);
        }
        LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntNE, at.w, end, ""), loop, after);
        LLVMPositionBuilderAtEnd(e->builder, after);
    }
    emit_steps(t, step, &at, steps % t->role->unroll);
}

// Bytes from a tile's output to where accumulator i belongs.
static int64_t output_offset(const Tiling *t, int i) {
    int lanes = t->e->target->lanes, vectors = t->columns / lanes;
    return (i / vectors * TILE_STRIDE + t->first_column + i % vectors * lanes) * 4;
}

// Bytes from a panel to a column of it, or of the panel after it.
static int64_t column_offset(const Role *role, int column) {
    return column / PANEL_COLUMNS * role->panel_bytes + column % PANEL_COLUMNS * 4;
}

static void emit_pass(const Tiling *t) {
    Emission *e = t->e;
    int lanes = e->target->lanes;
    LLVMValueRef accumulators[EMISSION_MAX_ACCUMULATORS];
    Step step = {
        .rows = t->rows, .vectors = t->columns / lanes, .accumulators = accumulators, .input_stride = t->role->input_stride};
    step.widened_offset = t->first_column * 4;
    for (int i = 0; i < step.rows * step.vectors; i++) {
        accumulators[i] = t->kind == TILE_BLOCKED
                              ? emission_load(e, e->vector, LLVMGetParam(t->function, 2), output_offset(t, i), lanes * 4)
                              : LLVMConstNull(e->vector);
    }
    for (int v = 0; v < step.vectors; v++) {
        step.weight_offsets[v] = column_offset(t->role, t->first_column + v * lanes);
    }
    Cursor start = {.a = LLVMGetParam(t->function, 0), .w = LLVMGetParam(t->function, 1)};
    bool ahead = t->told && t->role->ahead_hint >= 0 && t->first_column == 0;  // one pass over the panel is enough
    start.ahead = ahead ? LLVMGetParam(t->function, 3) : NULL;
    start.near = !t->told && t->role->prefetch ? emission_address(e, start.w, t->role->prefetch) : NULL;
    start.far = !t->told && plan_prefetches_far(t->role) ? emission_address(e, start.w, t->role->prefetch_far) : NULL;
    start.widened = t->kind == TILE_WIDENING ? LLVMGetParam(t->function, 5) : NULL;
    emit_loop(t, &step, start);
    for (int i = 0; i < step.rows * step.vectors; i++) {
        LLVMValueRef to = emission_address(e, LLVMGetParam(t->function, 2), output_offset(t, i));
        LLVMSetAlignment(LLVMBuildStore(e->builder, accumulators[i], to), (unsigned)lanes * 4);
    }
}

// Columns that are accumulated at once: as many as fit the registers that the tallest tile uses.
static int pass_columns(const Role *role, int rows, int columns) {
    int room = role->max_rows * role->tile_columns;
    while (columns > 16 && rows * columns > room) {
        columns /= 2;
    }
    return columns;
}

LLVMValueRef emit_tile(Emission *e, const Role *role, TileKind kind, int rows, int panels) {
    char name[192];
    tile_name(e, role, kind, rows, panels, name, sizeof name);
    LLVMValueRef function = LLVMGetNamedFunction(e->module, name);
    if (function) {
        return function;
    }
    LLVMTypeRef parameters[] = {e->pointer, e->pointer, e->pointer, e->pointer, e->i64, e->pointer};
    function = LLVMAddFunction(e->module, name, LLVMFunctionType(LLVMVoidTypeInContext(e->context), parameters, 6, false));
    LLVMSetLinkage(function, LLVMInternalLinkage);
    LLVMPositionBuilderAtEnd(e->builder, LLVMAppendBasicBlockInContext(e->context, function, ""));
    const PathEmitter *path = path_emitter((Path)role->path);
    bool told = tile_is_told(role, kind, rows);
    if (path->tile) {
        path->tile(e, role, rows, panels, told, function);
        LLVMBuildRetVoid(e->builder);
        return function;
    }
    Tiling tiling = {.e = e, .role = role, .path = path, .kind = kind, .function = function, .rows = rows, .told = told};
    tiling.columns = pass_columns(role, rows, panels * PANEL_COLUMNS);
    tiling.advance = LLVMGetParam(function, 4);
    for (; tiling.first_column < panels * PANEL_COLUMNS; tiling.first_column += tiling.columns) {
        int after = tiling.first_column + tiling.columns;
        bool last = after >= panels * PANEL_COLUMNS;
        tiling.next = emission_address(e, LLVMGetParam(function, last ? 3 : 1),
                                       column_offset(role, last ? 0 : after) - column_offset(role, tiling.first_column));
        emit_pass(&tiling);
    }
    LLVMBuildRetVoid(e->builder);
    return function;
}
