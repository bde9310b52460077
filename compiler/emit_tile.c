// Tiles: the hot loops, built with the LLVM C API. One function per descriptor:
//
//     out[r][c] = sum over ascending k of a[r][k] * w[k][c]      r < rows, c < panels * 32
//
// A block of rows x columns accumulators stays in registers while k runs; columns that do not fit are further passes over a.
// Names: tile_<weights>_<path>_<rows>x<columns>_k<depth>_s<input stride>__<target>.
#include <stdio.h>

#include "emit.h"
#include "measure.h"

enum { STEP_BYTES = PANEL_COLUMNS * 4 };  // of one panel per step, in every format: [k][32] fp32, [k/2][32][2] bf16

typedef struct Pass {
    int rows, columns, first_column;
} Pass;

static void tile_name(const Emission *e, const Role *role, int rows, int panels, char *name, size_t size) {
    snprintf(name, size, "tile_%s_%s_%dx%d_k%lld_s%lld__%s", role->weights == FORMAT_BF16 ? "bf16" : "fp32",
             path_name((Path)role->path), rows, panels * PANEL_COLUMNS, (long long)role->depth_padded,
             (long long)role->input_stride, e->target->name);
}

static void prefetch_weights(Emission *e, const Step *step, const Role *role) {
    LLVMValueRef arguments[4];
    arguments[1] = LLVMConstInt(e->i32, 0, false);  // read
    arguments[2] = LLVMConstInt(e->i32, 3, false);  // into the nearest cache
    arguments[3] = LLVMConstInt(e->i32, 1, false);  // data
    for (int v = 0; v < step->vectors; v++) {
        if (step->weight_offsets[v] % 64 == 0) {
            arguments[0] = emission_address(e, step->w, step->weight_offsets[v] + role->prefetch);
            emission_intrinsic(e, "llvm.prefetch", e->pointer, arguments, 4);
        }
    }
}

// `count` steps from the given addresses on; the last ones of a pass do not prefetch what nobody will read.
static void emit_steps(Emission *e, const Role *role, Step *step, LLVMValueRef a, LLVMValueRef w, int64_t count) {
    const PathEmitter *path = path_emitter((Path)role->path);
    int64_t a_bytes = path->depth * (role->input == FORMAT_BF16 ? 2 : 4);
    for (int64_t u = 0; u < count; u++) {
        step->a = emission_address(e, a, u * a_bytes);
        step->w = emission_address(e, w, u * STEP_BYTES);
        if (role->prefetch) {
            prefetch_weights(e, step, role);
        }
        path->step(e, step);
    }
}

// The loop over k of one pass; leaves the sums in step->accumulators.
static void emit_loop(Emission *e, const Role *role, Step *step, LLVMValueRef function, LLVMValueRef a, LLVMValueRef w) {
    const PathEmitter *path = path_emitter((Path)role->path);
    int64_t steps = role->depth_padded / path->depth, rounds = steps / role->unroll;
    int64_t a_round = role->unroll * path->depth * (role->input == FORMAT_BF16 ? 2 : 4), w_round = role->unroll * STEP_BYTES;
    int count = step->rows * step->vectors;
    if (rounds > 0) {
        LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder);
        LLVMBasicBlockRef loop = LLVMAppendBasicBlockInContext(e->context, function, "k");
        LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->context, function, "k.end");
        LLVMValueRef end = emission_address(e, w, rounds * w_round);
        LLVMBuildBr(e->builder, loop);
        LLVMPositionBuilderAtEnd(e->builder, loop);
        LLVMValueRef a_phi = LLVMBuildPhi(e->builder, e->pointer, "a"), w_phi = LLVMBuildPhi(e->builder, e->pointer, "w");
        LLVMValueRef phis[EMISSION_MAX_ACCUMULATORS];
        for (int i = 0; i < count; i++) {
            phis[i] = LLVMBuildPhi(e->builder, e->vector, "");
            LLVMAddIncoming(phis[i], &step->accumulators[i], &before, 1);
            step->accumulators[i] = phis[i];
        }
        emit_steps(e, role, step, a_phi, w_phi, role->unroll);
        LLVMValueRef a_next = emission_address(e, a_phi, a_round), w_next = emission_address(e, w_phi, w_round);
        LLVMAddIncoming(a_phi, (LLVMValueRef[]){a, a_next}, (LLVMBasicBlockRef[]){before, loop}, 2);
        LLVMAddIncoming(w_phi, (LLVMValueRef[]){w, w_next}, (LLVMBasicBlockRef[]){before, loop}, 2);
        for (int i = 0; i < count; i++) {
            LLVMAddIncoming(phis[i], &step->accumulators[i], &loop, 1);
        }
        LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntNE, w_next, end, ""), loop, after);
        LLVMPositionBuilderAtEnd(e->builder, after);
        a = a_next;
        w = w_next;
    }
    emit_steps(e, role, step, a, w, steps % role->unroll);
}

static void emit_pass(Emission *e, const Role *role, const Pass *pass, LLVMValueRef function) {
    int lanes = e->target->lanes;
    LLVMValueRef accumulators[EMISSION_MAX_ACCUMULATORS];
    Step step = {
        .rows = pass->rows, .vectors = pass->columns / lanes, .accumulators = accumulators, .input_stride = role->input_stride};
    for (int i = 0; i < step.rows * step.vectors; i++) {
        accumulators[i] = LLVMConstNull(e->vector);
    }
    for (int v = 0; v < step.vectors; v++) {
        int column = pass->first_column + v * lanes;
        step.weight_offsets[v] = column / PANEL_COLUMNS * role->panel_bytes + column % PANEL_COLUMNS * 4;
    }
    emit_loop(e, role, &step, function, LLVMGetParam(function, 0), LLVMGetParam(function, 1));
    for (int r = 0; r < step.rows; r++) {
        for (int v = 0; v < step.vectors; v++) {
            int64_t offset = (r * TILE_STRIDE + pass->first_column + v * lanes) * 4;
            LLVMValueRef store = LLVMBuildStore(e->builder, accumulators[r * step.vectors + v],
                                                emission_address(e, LLVMGetParam(function, 2), offset));
            LLVMSetAlignment(store, (unsigned)lanes * 4);
        }
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

LLVMValueRef emit_tile(Emission *e, const Role *role, int rows, int panels) {
    char name[160];
    tile_name(e, role, rows, panels, name, sizeof name);
    LLVMValueRef function = LLVMGetNamedFunction(e->module, name);
    if (function) {
        return function;
    }
    LLVMTypeRef parameters[] = {e->pointer, e->pointer, e->pointer};
    function = LLVMAddFunction(e->module, name, LLVMFunctionType(LLVMVoidTypeInContext(e->context), parameters, 3, false));
    LLVMSetLinkage(function, LLVMInternalLinkage);
    LLVMPositionBuilderAtEnd(e->builder, LLVMAppendBasicBlockInContext(e->context, function, ""));
    int columns = panels * PANEL_COLUMNS;
    Pass pass = {.rows = rows, .columns = pass_columns(role, rows, columns)};
    for (; pass.first_column < columns; pass.first_column += pass.columns) {
        emit_pass(e, role, &pass, function);
    }
    LLVMBuildRetVoid(e->builder);
    return function;
}
