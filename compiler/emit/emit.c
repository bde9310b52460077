// What a library consists of, as modules: tiles with their dispatchers, the specialised skeleton, the exported entry points.
#include "emit.h"

#include <stdio.h>
#include <string.h>

extern const char embedded_layer_begin[], embedded_layer_end[], embedded_entry_begin[], embedded_entry_end[];

// LLVM features of all paths that a plan uses; a name may come more than once.
static void plan_features(const Target *target, const Plan *plan, char *features, size_t size) {
    features[0] = 0;
    for (int r = 0; r < ROLE_COUNT; r++) {
        const char *more = path_features(target, (Path)plan->roles[r].path);
        if (plan->roles[r].layout.matrices && *more) {
            size_t length = strlen(features);
            snprintf(features + length, size - length, "%s%s", length ? "," : "", more);
        }
    }
}

// tile_ROLE_<kind>(rows, panels, a, w, out, ahead, advance, widened): a switch over the rows and panels that the plan's tiles
// cover.
static void emit_dispatcher(Emission *e, const Role *role, TileKind kind, const char *name) {
    LLVMTypeRef parameters[] = {e->i64, e->i64, e->pointer, e->pointer, e->pointer, e->pointer, e->i64, e->pointer};
    LLVMValueRef function =
        LLVMAddFunction(e->module, name, LLVMFunctionType(LLVMVoidTypeInContext(e->context), parameters, 8, false));
    LLVMSetVisibility(function, LLVMHiddenVisibility);
    LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(e->context, function, "");
    LLVMBasicBlockRef other = LLVMAppendBasicBlockInContext(e->context, function, "");
    LLVMPositionBuilderAtEnd(e->builder, other);
    LLVMBuildUnreachable(e->builder);
    LLVMPositionBuilderAtEnd(e->builder, entry);
    LLVMValueRef tall = LLVMBuildMul(e->builder, LLVMGetParam(function, 1), LLVMConstInt(e->i64, TILE_MAX_ROWS, false), "");
    LLVMValueRef key = LLVMBuildAdd(e->builder, tall, LLVMGetParam(function, 0), "");
    LLVMValueRef choice = LLVMBuildSwitch(e->builder, key, other, TILE_MAX_ROWS * TILE_MAX_PANELS);
    for (int panels = 1; panels <= TILE_MAX_PANELS; panels++) {
        int rows_limit = panels == 1 ? role->max_rows : kind == TILE_PACKED ? role->wide_rows : 0;
        for (int rows = 1; rows <= rows_limit; rows++) {
            LLVMValueRef tile = emit_tile(e, role, kind, rows, panels);
            LLVMBasicBlockRef block = LLVMAppendBasicBlockInContext(e->context, function, "");
            LLVMPositionBuilderAtEnd(e->builder, block);
            LLVMValueRef arguments[6];
            for (unsigned i = 0; i < 6; i++) {
                arguments[i] = LLVMGetParam(function, i + 2);
            }
            LLVMSetTailCall(LLVMBuildCall2(e->builder, LLVMGlobalGetValueType(tile), tile, arguments, 6, ""), true);
            LLVMBuildRetVoid(e->builder);
            LLVMAddCase(choice, LLVMConstInt(e->i64, (unsigned long long)(panels * TILE_MAX_ROWS + rows), false), block);
        }
    }
}

// The dispatchers of one role: its packed tiles; where panels are decoded once, the two kinds for that; the tiles of blocks of k.
static void emit_role(Emission *e, const Role *role, const char *name, int64_t kind) {
    char function[96];
    snprintf(function, sizeof function, "tile_%s_%lld", name, (long long)kind);
    emit_dispatcher(e, role, TILE_PACKED, function);
    if (role->widen_tiles) {
        Role decoded = plan_decoded_role(role);
        decoded.unroll = target_tile(e->target, (Path)decoded.path)->unroll;
        snprintf(function, sizeof function, "tile_%s_widening_%lld", name, (long long)kind);
        emit_dispatcher(e, role, TILE_WIDENING, function);
        snprintf(function, sizeof function, "tile_%s_widened_%lld", name, (long long)kind);
        emit_dispatcher(e, &decoded, TILE_WIDENED, function);
    }
    if (role->k_blocks > 1) {
        Role blocked = plan_blocked_role(role);
        snprintf(function, sizeof function, "tile_%s_blocked_%lld", name, (long long)kind);
        emit_dispatcher(e, &blocked, TILE_BLOCKED, function);
    }
}

// tile_leave_<kind>: what the plan's paths do after a thread's last tile.
static void emit_leave(Emission *e, const Plan *plan, int64_t kind) {
    bool used[PATH_COUNT] = {false};
    char name[64];
    for (int r = 0; r < ROLE_COUNT; r++) {
        used[plan->roles[r].path] |= plan->roles[r].layout.matrices > 0;
    }
    snprintf(name, sizeof name, "tile_leave_%lld", (long long)kind);
    LLVMValueRef function = LLVMAddFunction(e->module, name, LLVMFunctionType(LLVMVoidTypeInContext(e->context), NULL, 0, false));
    LLVMSetVisibility(function, LLVMHiddenVisibility);
    LLVMPositionBuilderAtEnd(e->builder, LLVMAppendBasicBlockInContext(e->context, function, ""));
    for (int p = 0; p < PATH_COUNT; p++) {
        if (used[p] && path_emitter((Path)p)->leave) {
            path_emitter((Path)p)->leave(e);
        }
    }
    LLVMBuildRetVoid(e->builder);
}

Object emit_tiles(const Target *target, const Plan *plan, int64_t kind, unsigned parts, const EmitTexts *texts,
                  Diagnostics *diagnostics) {
    Emission e = emission_begin(target, "tiles");
    char part[32], features[256];
    for (int r = 0; r < ROLE_COUNT; r++) {
        if (plan->roles[r].layout.matrices && parts & 1u << r) {
            emit_role(&e, &plan->roles[r], role_names[r], kind);
        }
    }
    if (parts & 1u << EMIT_LEAVE) {
        emit_leave(&e, plan, kind);
    }
    snprintf(part, sizeof part, "tiles%lld", (long long)kind);
    plan_features(target, plan, features, sizeof features);
    return emission_finish(&e, features, false, part, texts, diagnostics);
}

// A constant of bytes, at most as aligned as any C struct of ours.
static LLVMValueRef emit_bytes(Emission *e, const char *name, const void *bytes, size_t size) {
    LLVMValueRef value = LLVMConstStringInContext2(e->context, bytes, size, true);
    LLVMValueRef global = LLVMAddGlobal(e->module, LLVMTypeOf(value), name);
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, true);
    LLVMSetVisibility(global, LLVMHiddenVisibility);
    LLVMSetAlignment(global, 64);
    return global;
}

// Puts `replacement` in the place of a declared global.
static void replace_global(Emission *e, const char *name, LLVMValueRef replacement) {
    LLVMValueRef old = LLVMGetNamedGlobal(e->module, name);
    if (old) {
        LLVMReplaceAllUsesWith(old, replacement);
        LLVMDeleteGlobal(old);
    }
    LLVMSetValueName2(replacement, name, strlen(name));
}

// llvm.fma on a target without the instruction would be a call of fmaf: multiply and add instead (such a target promises no
// equality of bits with others).
static void split_fused(Emission *e) {
    for (LLVMValueRef f = LLVMGetFirstFunction(e->module); f; f = LLVMGetNextFunction(f)) {
        for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(f); block; block = LLVMGetNextBasicBlock(block)) {
            for (LLVMValueRef next, i = LLVMGetFirstInstruction(block); i; i = next) {
                next = LLVMGetNextInstruction(i);
                size_t length;
                LLVMValueRef called = LLVMGetInstructionOpcode(i) == LLVMCall ? LLVMGetCalledValue(i) : NULL;
                if (!called || strncmp(LLVMGetValueName2(called, &length), "llvm.fma.", 9)) {
                    continue;
                }
                LLVMPositionBuilderBefore(e->builder, i);
                LLVMValueRef product = LLVMBuildFMul(e->builder, LLVMGetOperand(i, 0), LLVMGetOperand(i, 1), "");
                LLVMReplaceAllUsesWith(i, LLVMBuildFAdd(e->builder, product, LLVMGetOperand(i, 2), ""));
                LLVMInstructionEraseFromParent(i);
            }
        }
    }
}

bool emit_special_tile(const Plan *plan, int index, char name[EMIT_NAME_BYTES]) {
    static const char *const kinds[] = {"widening", "widened", "blocked"};
    const Role *role = &plan->roles[index / 3];
    bool there[] = {role->widen_tiles, role->widen_tiles, role->k_blocks > 1};
    snprintf(name, EMIT_NAME_BYTES, "tile_%s_%s", role_names[index / 3], kinds[index % 3]);
    return role->layout.matrices && there[index % 3];
}

// The optimiser does not always see that what is not there is never called.
static void drop_special_tiles(Emission *e, const Plan *plan) {
    for (int i = 0; i < EMIT_SPECIAL_TILES; i++) {
        char name[EMIT_NAME_BYTES];
        bool there = emit_special_tile(plan, i, name);
        LLVMValueRef tile = LLVMGetNamedFunction(e->module, name);
        if (tile && !there) {
            LLVMReplaceAllUsesWith(tile, LLVMConstNull(e->pointer));
            LLVMDeleteFunction(tile);
        }
    }
}

// The skeleton calls tile_ROLE; this kind's are tile_ROLE_<kind>.
static void rename_tiles(Emission *e, int64_t kind) {
    for (LLVMValueRef f = LLVMGetFirstFunction(e->module); f; f = LLVMGetNextFunction(f)) {
        size_t length;
        char name[96];
        int size = snprintf(name, sizeof name, "%s_%lld", LLVMGetValueName2(f, &length), (long long)kind);
        if (!strncmp(name, "tile_", 5)) {
            LLVMSetValueName2(f, name, (size_t)size);
        }
    }
}

static Object emit_skeleton(const Target *target, const Plan *plan, bool tunable, int64_t kind, const EmitTexts *texts,
                            Diagnostics *diagnostics) {
    Emission e = emission_begin_bitcode(target, embedded_layer_begin, embedded_layer_end, diagnostics);
    if (!e.module) {
        return NULL;
    }
    char name[64], part[32];
    LLVMValueRef constant = emit_bytes(&e, "", plan, sizeof *plan);
    replace_global(&e, "layer_plan", constant);
    LLVMSetLinkage(constant, LLVMInternalLinkage);
    LLVMSetVisibility(constant, LLVMDefaultVisibility);
    if (!tunable) {
        replace_global(&e, "layer_tuned", constant);
        drop_special_tiles(&e, plan);
    }
    rename_tiles(&e, kind);
    snprintf(name, sizeof name, "layer_forward_%lld", (long long)kind);
    LLVMSetValueName2(LLVMGetNamedFunction(e.module, "layer_forward"), name, strlen(name));
    if (!target->fused) {
        split_fused(&e);
    }
    snprintf(part, sizeof part, "layer%lld", (long long)kind);
    return emission_finish(&e, "", true, part, texts, diagnostics);
}

Object emit_layer(const Target *target, const Plan *plan, int64_t kind, const EmitTexts *texts, Diagnostics *diagnostics) {
    return emit_skeleton(target, plan, false, kind, texts, diagnostics);
}

Object emit_tunable_layer(const Target *target, const Plan *plan, Diagnostics *diagnostics) {
    return emit_skeleton(target, plan, true, 0, NULL, diagnostics);
}

// Entry points are compiled under the names entry_X and exported as NAME_X, entry_open... also under the name in the header.
static void export_entries(Emission *e, const char *library, const char *interface) {
    for (LLVMValueRef f = LLVMGetFirstFunction(e->module); f; f = LLVMGetNextFunction(f)) {
        size_t length;
        const char *name = LLVMGetValueName2(f, &length);
        if (!LLVMIsDeclaration(f) && !strncmp(name, "entry_", 6)) {
            char exported[256];
            bool opens = !strncmp(name, "entry_open", 10);
            snprintf(exported, sizeof exported, "%s_%s", library, name + 6);
            LLVMSetValueName2(f, exported, strlen(exported));
            LLVMSetVisibility(f, LLVMDefaultVisibility);
            if (opens) {
                size_t end = strlen(exported);
                snprintf(exported + end, sizeof exported - end, "_%s", interface);
                LLVMAddAlias2(e->module, LLVMGlobalGetValueType(f), 0, f, exported);
            }
        }
    }
}

static void emit_forwards(Emission *e, int64_t kinds) {
    LLVMValueRef functions[EMIT_MAX_KINDS];
    LLVMTypeRef parameters[] = {e->pointer, e->pointer, e->i64, e->i64};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->context), parameters, 4, false);
    for (int64_t i = 0; i < kinds; i++) {
        char name[64];
        snprintf(name, sizeof name, "layer_forward_%lld", (long long)i);
        functions[i] = LLVMAddFunction(e->module, name, type);
        LLVMSetVisibility(functions[i], LLVMHiddenVisibility);
    }
    LLVMValueRef table = LLVMConstArray2(e->pointer, functions, (uint64_t)kinds);
    LLVMValueRef global = LLVMAddGlobal(e->module, LLVMTypeOf(table), "");
    LLVMSetInitializer(global, table);
    LLVMSetGlobalConstant(global, true);
    LLVMSetVisibility(global, LLVMHiddenVisibility);
    replace_global(e, "library_forwards", global);
}

Object emit_entry(const Target *target, const Contents *contents, const Kind *kinds, const char *description, const char *interface,
                  const EmitTexts *texts, Diagnostics *diagnostics) {
    Emission e = emission_begin_bitcode(target, embedded_entry_begin, embedded_entry_end, diagnostics);
    if (!e.module) {
        return NULL;
    }
    replace_global(&e, "library_contents", emit_bytes(&e, "", contents, sizeof *contents));
    replace_global(&e, "library_kinds", emit_bytes(&e, "", kinds, (size_t)contents->kinds * sizeof *kinds));
    LLVMValueRef text = emit_bytes(&e, "", description, strlen(description) + 1);
    LLVMSetSection(text, ".catena");
    replace_global(&e, "library_description", text);
    emit_forwards(&e, contents->kinds);
    export_entries(&e, contents->name, interface);
    // Entry points run before the CPU check: baseline features only.
    Target baseline = *target;
    baseline.features = !strcmp(target_generic.architecture, target->architecture) ? target_generic.features : "";
    baseline.vector_width = NULL;
    e.target = &baseline;
    return emission_finish(&e, "", true, "entry", texts, diagnostics);
}

Object emit_nothing(const Target *target, Diagnostics *diagnostics) {
    Emission e = emission_begin(target, "nothing");
    return emission_finish(&e, "", false, "nothing", NULL, diagnostics);
}

Object emit_single_tile(const Target *target, const Role *role, TileKind kind, int rows, int panels, Diagnostics *diagnostics) {
    return emit_single_tile_with(target, path_emitter((Path)role->path), role, kind, rows, panels, diagnostics);
}

Object emit_single_tile_with(const Target *target, const PathEmitter *emitter, const Role *role, TileKind kind, int rows,
                             int panels, Diagnostics *diagnostics) {
    Emission e = emission_begin(target, "tile");
    LLVMValueRef tile = emit_tile_with(&e, emitter, role, kind, rows, panels);
    LLVMSetLinkage(tile, LLVMExternalLinkage);
    LLVMSetValueName2(tile, "tile_0", 6);
    return emission_finish(&e, path_features(target, (Path)role->path), false, "tile", NULL, diagnostics);
}

// The peak of a path whose operations are values: as many chains as the tallest tile keeps, which hides the latency of every CPU
// we know. Returns the multiply-adds of a round.
static int64_t emit_chains(Emission *e, Path path, LLVMValueRef function) {
    const PathEmitter *emitter = path_emitter(path);
    const TileShape *shape = target_tile(e->target, path);
    int chains = shape->max_rows * shape->tile_columns / e->target->lanes;
    LLVMTypeRef operand = emitter->operand ? emitter->operand(e) : e->vector;
    enum { REPEAT = 4 };
    LLVMBasicBlockRef entry = LLVMGetInsertBlock(e->builder), loop = LLVMAppendBasicBlockInContext(e->context, function, "");
    LLVMBasicBlockRef end = LLVMAppendBasicBlockInContext(e->context, function, "");
    LLVMValueRef a = emission_load(e, operand, LLVMGetParam(function, 1), 0, 4);  // unknown to the optimiser
    LLVMValueRef w = emission_load(e, operand, LLVMGetParam(function, 1), 64, 4);
    LLVMBuildBr(e->builder, loop);
    LLVMPositionBuilderAtEnd(e->builder, loop);
    LLVMValueRef counter = LLVMBuildPhi(e->builder, e->i64, ""), phis[EMISSION_MAX_ACCUMULATORS], sums[EMISSION_MAX_ACCUMULATORS];
    LLVMValueRef zero = LLVMConstNull(e->vector), start = LLVMConstInt(e->i64, 0, false);
    for (int i = 0; i < chains; i++) {
        sums[i] = phis[i] = LLVMBuildPhi(e->builder, e->vector, "");
        LLVMAddIncoming(phis[i], &zero, &entry, 1);
    }
    for (int i = 0; i < chains * REPEAT; i++) {
        sums[i % chains] =
            emitter->operation ? emitter->operation(e, sums[i % chains], a, w) : emission_multiply_add(e, a, w, sums[i % chains]);
    }
    LLVMValueRef next = LLVMBuildAdd(e->builder, counter, LLVMConstInt(e->i64, 1, false), "");
    LLVMAddIncoming(counter, (LLVMValueRef[]){start, next}, (LLVMBasicBlockRef[]){entry, loop}, 2);
    for (int i = 0; i < chains; i++) {
        LLVMAddIncoming(phis[i], &sums[i], &loop, 1);
    }
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntULT, next, LLVMGetParam(function, 0), ""), loop, end);
    LLVMPositionBuilderAtEnd(e->builder, end);
    LLVMValueRef total = sums[0];
    for (int i = 1; i < chains; i++) {
        total = LLVMBuildFAdd(e->builder, total, sums[i], "");
    }
    LLVMSetAlignment(LLVMBuildStore(e->builder, total, LLVMGetParam(function, 1)), 4);
    return (int64_t)chains * REPEAT * e->target->lanes * (emitter->operation ? emitter->operation_depth : 1);
}

Object emit_peak(const Target *target, Path path, int64_t *operations, Diagnostics *diagnostics) {
    Emission e = emission_begin(target, "peak");
    const PathEmitter *emitter = path_emitter(path);
    LLVMTypeRef parameters[] = {e.i64, e.pointer};
    LLVMValueRef function =
        LLVMAddFunction(e.module, "peak", LLVMFunctionType(LLVMVoidTypeInContext(e.context), parameters, 2, false));
    LLVMPositionBuilderAtEnd(e.builder, LLVMAppendBasicBlockInContext(e.context, function, ""));
    *operations = emitter->peak ? emitter->peak(&e, function) : emit_chains(&e, path, function);
    LLVMBuildRetVoid(e.builder);
    return emission_finish(&e, path_features(target, path), false, "peak", NULL, diagnostics);
}
