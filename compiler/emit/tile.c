// Tiles: the hot loops, built with the LLVM C API. One function per descriptor (contract: templates/skeleton.h):
//
//     out[r][c] = sum over ascending k of a[r][k] * w[k][c]      r < rows, c < panels * 32
//
// A block of rows x columns accumulators stays in registers while k runs; columns that do not fit are further passes over a.
// Names: <tile|widening|block>_<weights>_<path>_<rows>x<columns>_<descriptor>__<target>, the descriptor being depth, input stride,
// accumulators, unrolling and prefetches.
#include <stdio.h>

#include "emit.h"

// One tile under construction.
typedef struct Tiling {
    Emission *e;
    const Role *role;
    const FormatFacts *format;
    const PathEmitter *path;
    TileKind kind;
    LLVMValueRef function;
    int rows, columns, first_column;  // of the current pass
    bool told;                        // the caller says where this pass prefetches
    LLVMValueRef advance;             // bytes between its steps
    LLVMValueRef next;                // what is read after this pass, where its first column would be
} Tiling;

// The addresses that move with k; NULL: there is no such stream. ahead: what a told pass prefetches; near, far: what another does;
// decoded: where it keeps the panel as fp32.
typedef struct Cursor {
    LLVMValueRef a, w, ahead, near, far, decoded;
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
             format_names[role->layout.weights], path_name((Path)role->path), rows, panels * PANEL_COLUMNS,
             (long long)role->layout.depth_padded, (long long)role->input_stride, role->tile_columns * role->max_rows, role->unroll,
             told ? -1 : role->prefetch, told ? -1 : role->prefetch_far, told ? role->ahead_hint : role->prefetch_hint,
             (long long)(told ? role->ahead_bytes : 0), e->target->name);
}

// The cache lines of a step of a low tile that begin in it, in the stream `at`, which moves on. position: of the step, in bytes
// from a line's beginning.
static void emit_prefetch_own(const Tiling *t, const Step *step, LLVMValueRef *at, int64_t position, int hint) {
    for (int v = 0; v < step->vectors && *at; v++) {
        if ((position + step->weight_offsets[v]) % 64 == 0) {
            emission_prefetch(t->e, *at, step->weight_offsets[v], hint);
        }
    }
    *at = *at ? emission_address(t->e, *at, t->format->step_bytes) : NULL;
}

// Low tiles are bound by memory: every line of the weights, some steps before it is needed, into the nearest cache, and earlier
// into the second-level one, which waits for more lines at a time. Tall ones spread the next panel's lines over their many
// multiply-adds, into the second-level cache.
static void emit_prefetch(const Tiling *t, const Step *step, Cursor *at, int64_t position) {
    Emission *e = t->e;
    if (at->ahead) {
        emission_prefetch(e, at->ahead, 0, t->role->ahead_hint);
        emission_prefetch(e, at->ahead, t->role->ahead_bytes, t->role->ahead_hint);
        at->ahead = LLVMBuildGEP2(e->builder, LLVMInt8TypeInContext(e->context), at->ahead, (LLVMValueRef *)&t->advance, 1, "");
    }
    emit_prefetch_own(t, step, &at->near, position, t->role->prefetch_hint);
    emit_prefetch_own(t, step, &at->far, position, EMISSION_FAR);
}

// The end of a round of `round` bytes of a low tile's loop: a stream `distance` bytes ahead that has come to the end of what this
// pass reads goes on with what is read next, so that the memory does not rest between panels. Of distances that are no whole rounds
// the last lines, less than a round, are left out.
static LLVMValueRef emit_turn(const Tiling *t, LLVMValueRef stream, LLVMValueRef w, int64_t rounds, int64_t round,
                              int64_t distance) {
    Emission *e = t->e;
    int64_t left = (distance + round - 1) / round;
    if (!stream) {
        return NULL;
    }
    LLVMValueRef turn = emission_address(e, LLVMGetParam(t->function, 1), (rounds > left + 1 ? rounds - left : 1) * round);
    return LLVMBuildSelect(e->builder, LLVMBuildICmp(e->builder, LLVMIntEQ, w, turn, ""), t->next, stream, "");
}

// `count` steps from the cursor on, which moves behind them.
static void emit_steps(const Tiling *t, Step *step, Cursor *at, int64_t count) {
    Emission *e = t->e;
    int64_t a_bytes = t->format->step * form_bytes[t->role->input], w_bytes = t->format->step_bytes;
    int64_t kept_bytes = t->format->step * PANEL_COLUMNS * 4;
    for (int64_t u = 0; u < count; u++) {
        step->a = emission_address(e, at->a, u * a_bytes);
        step->w = emission_address(e, at->w, u * w_bytes);
        step->decoded = at->decoded ? emission_address(e, at->decoded, u * kept_bytes) : NULL;
        emit_prefetch(t, step, at, u * w_bytes);
        t->path->step(e, step);
    }
    at->a = emission_address(e, at->a, count * a_bytes);
    at->w = emission_address(e, at->w, count * w_bytes);
    at->decoded = at->decoded ? emission_address(e, at->decoded, count * kept_bytes) : NULL;
}

// A loop under construction. Every moving value gets a phi: pointers first, then the accumulators, then the sums beside them.
typedef struct Loop {
    LLVMBasicBlockRef body, after;
    LLVMValueRef end;  // the loop ends when the weights' address is this
    LLVMValueRef pointers[CURSOR_POINTERS], accumulators[EMISSION_MAX_ACCUMULATORS], totals[EMISSION_MAX_ACCUMULATORS];
} Loop;

static LLVMValueRef begin_phi(Emission *e, LLVMValueRef *value, LLVMBasicBlockRef before) {
    LLVMValueRef phi = LLVMBuildPhi(e->builder, LLVMTypeOf(*value), "");
    LLVMAddIncoming(phi, value, &before, 1);
    return *value = phi;
}

// bytes: of weights that the whole loop reads.
static void loop_begin(const Tiling *t, Step *step, Cursor *at, int64_t bytes, const char *name, Loop *loop) {
    Emission *e = t->e;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder);
    LLVMValueRef *pointers = &at->a;
    char end_name[32];
    snprintf(end_name, sizeof end_name, "%s.end", name);
    loop->body = LLVMAppendBasicBlockInContext(e->context, t->function, name);
    loop->after = LLVMAppendBasicBlockInContext(e->context, t->function, end_name);
    loop->end = emission_address(e, at->w, bytes);
    LLVMBuildBr(e->builder, loop->body);
    LLVMPositionBuilderAtEnd(e->builder, loop->body);
    for (int i = 0; i < CURSOR_POINTERS; i++) {
        loop->pointers[i] = pointers[i] ? begin_phi(e, &pointers[i], before) : NULL;
    }
    for (int i = 0; i < step->rows * step->vectors; i++) {
        loop->accumulators[i] = begin_phi(e, &step->accumulators[i], before);
        loop->totals[i] = step->totals ? begin_phi(e, &step->totals[i], before) : NULL;
    }
}

static void loop_end(const Tiling *t, const Step *step, Cursor *at, Loop *loop) {
    Emission *e = t->e;
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->builder);
    LLVMValueRef *pointers = &at->a;
    for (int i = 0; i < CURSOR_POINTERS; i++) {
        if (pointers[i]) {
            LLVMAddIncoming(loop->pointers[i], &pointers[i], &latch, 1);
        }
    }
    for (int i = 0; i < step->rows * step->vectors; i++) {
        LLVMAddIncoming(loop->accumulators[i], &step->accumulators[i], &latch, 1);
        if (step->totals) {
            LLVMAddIncoming(loop->totals[i], &step->totals[i], &latch, 1);
        }
    }
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntNE, at->w, loop->end, ""), loop->body, loop->after);
    LLVMPositionBuilderAtEnd(e->builder, loop->after);
}

// `steps` steps in rounds. turns: streams go on with what is read next at the end of a round.
static void emit_rounds(const Tiling *t, Step *step, Cursor *at, int64_t steps, bool turns) {
    int64_t rounds = steps / t->role->unroll, round = t->role->unroll * t->format->step_bytes;
    if (rounds > 0) {
        Loop loop;
        loop_begin(t, step, at, rounds * round, "k", &loop);
        emit_steps(t, step, at, t->role->unroll);
        if (turns) {
            at->near = emit_turn(t, at->near, at->w, rounds, round, t->role->prefetch);
            at->far = emit_turn(t, at->far, at->w, rounds, round, t->role->prefetch_far);
        }
        loop_end(t, step, at, &loop);
    }
    emit_steps(t, step, at, steps % t->role->unroll);
}

// One group: what it carries, which the streams pass by too, then its steps.
static void emit_group(const Tiling *t, Step *step, Cursor *at, int64_t steps) {
    Emission *e = t->e;
    LLVMValueRef *streams[] = {&at->near, &at->far};
    const int hints[] = {t->role->prefetch_hint, EMISSION_FAR};
    for (int s = 0; s < 2; s++) {
        for (int64_t line = 0; line < t->format->group_bytes && *streams[s] && t->first_column == 0; line += 64) {
            for (int64_t panel = 0; panel < (t->columns + PANEL_COLUMNS - 1) / PANEL_COLUMNS; panel++) {
                emission_prefetch(e, *streams[s], panel * t->role->layout.panel_bytes + line, hints[s]);
            }
        }
        *streams[s] = *streams[s] ? emission_address(e, *streams[s], t->format->group_bytes) : NULL;
    }
    step->group = at->w;
    at->w = emission_address(e, at->w, t->format->group_bytes);
    emit_rounds(t, step, at, steps, false);
    if (t->path->group_end) {
        t->path->group_end(e, step);
    }
}

// All groups: a loop over the whole ones, then what is left of k.
static void emit_groups(const Tiling *t, Step *step, Cursor *at) {
    int64_t groups = t->role->layout.depth_padded / t->format->group, left = t->role->layout.depth_padded % t->format->group;
    int64_t bytes = format_bytes((Format)t->role->layout.weights, t->format->group);
    if (groups > 0) {
        Loop loop;
        loop_begin(t, step, at, groups * bytes, "group", &loop);
        emit_group(t, step, at, t->format->group / t->format->step);
        at->near = emit_turn(t, at->near, at->w, groups, bytes, t->role->prefetch);
        at->far = emit_turn(t, at->far, at->w, groups, bytes, t->role->prefetch_far);
        loop_end(t, step, at, &loop);
    }
    if (left) {
        emit_group(t, step, at, left / t->format->step);
    }
}

// Bytes from a tile's output to where accumulator i belongs.
static int64_t output_offset(const Tiling *t, int i) {
    int lanes = t->e->target->lanes, vectors = t->columns / lanes;
    return (i / vectors * TILE_STRIDE + t->first_column + i % vectors * lanes) * 4;
}

// Bytes from a panel to a column of it, or of the panel after it.
static int64_t column_offset(const Role *role, int column) {
    return column / PANEL_COLUMNS * role->layout.panel_bytes +
           column % PANEL_COLUMNS * format_facts[role->layout.weights].step_bytes / PANEL_COLUMNS;
}

static void emit_pass(const Tiling *t) {
    Emission *e = t->e;
    int lanes = e->target->lanes;
    LLVMValueRef accumulators[EMISSION_MAX_ACCUMULATORS], totals[EMISSION_MAX_ACCUMULATORS];
    Step step = {
        .rows = t->rows, .vectors = t->columns / lanes, .accumulators = accumulators, .input_stride = t->role->input_stride};
    LLVMValueRef *sums = t->path->accumulator ? (step.totals = totals) : accumulators;
    step.decoded_offset = t->first_column * 4;
    for (int i = 0; i < step.rows * step.vectors; i++) {
        if (t->path->accumulator) {
            accumulators[i] = LLVMConstNull(t->path->accumulator(e));
        }
        sums[i] = t->kind == TILE_BLOCKED
                      ? emission_load(e, e->vector, LLVMGetParam(t->function, 2), output_offset(t, i), lanes * 4)
                      : LLVMConstNull(e->vector);
    }
    for (int v = 0; v < step.vectors; v++) {
        int column = t->first_column + v * lanes;
        step.weight_offsets[v] = column_offset(t->role, column);
        step.panel_offsets[v] = column / PANEL_COLUMNS * t->role->layout.panel_bytes;
        step.columns[v] = column % PANEL_COLUMNS;
    }
    Cursor start = {.a = LLVMGetParam(t->function, 0), .w = LLVMGetParam(t->function, 1)};
    bool ahead = t->told && t->role->ahead_hint >= 0 && t->first_column == 0;  // one pass over the panel is enough
    start.ahead = ahead ? LLVMGetParam(t->function, 3) : NULL;
    start.near = !t->told && t->role->prefetch ? emission_address(e, start.w, t->role->prefetch) : NULL;
    start.far = !t->told && plan_prefetches_far(t->role) ? emission_address(e, start.w, t->role->prefetch_far) : NULL;
    start.decoded = t->kind == TILE_WIDENING ? LLVMGetParam(t->function, 5) : NULL;
    if (t->format->group) {
        emit_groups(t, &step, &start);
    } else {
        emit_rounds(t, &step, &start, plan_steps(t->role), true);
    }
    if (t->path->tile_end) {
        t->path->tile_end(e, &step);
    }
    for (int i = 0; i < step.rows * step.vectors; i++) {
        LLVMValueRef to = emission_address(e, LLVMGetParam(t->function, 2), output_offset(t, i));
        LLVMSetAlignment(LLVMBuildStore(e->builder, sums[i], to), (unsigned)lanes * 4);
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
    return emit_tile_with(e, path_emitter((Path)role->path), role, kind, rows, panels);
}

LLVMValueRef emit_tile_with(Emission *e, const PathEmitter *path, const Role *role, TileKind kind, int rows, int panels) {
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
    bool told = tile_is_told(role, kind, rows);
    if (path->tile) {
        path->tile(e, role, rows, panels, told, function);
        LLVMBuildRetVoid(e->builder);
        return function;
    }
    Tiling tiling = {.e = e,
                     .role = role,
                     .format = &format_facts[role->layout.weights],
                     .path = path,
                     .kind = kind,
                     .function = function,
                     .rows = rows,
                     .told = told};
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
