// bf16 weights and activations, the CPU's dot product of bf16 pairs: vdpbf16ps (AVX512_BF16), bfdot (Arm BF16).
#include "emission.h"

static LLVMTypeRef pair_vector(Emission *e) {
    return LLVMVectorType(LLVMBFloatTypeInContext(e->context), (unsigned)e->target->lanes * 2);
}

static LLVMValueRef operation(Emission *e, LLVMValueRef accumulator, LLVMValueRef a, LLVMValueRef w) {
    const char *name = e->target->needs[PATH_BF16_DOT].intrinsic;
    // Arm's intrinsic is overloaded on both vector types and carries them in its name, x86's is not: both are found by full name.
    LLVMTypeRef parameters[] = {e->vector, pair_vector(e), pair_vector(e)};
    LLVMTypeRef type = LLVMFunctionType(e->vector, parameters, 3, false);
    LLVMValueRef function = LLVMGetNamedFunction(e->module, name);
    if (!function) {
        function = LLVMAddFunction(e->module, name, type);
    }
    return LLVMBuildCall2(e->builder, type, function, (LLVMValueRef[]){accumulator, a, w}, 3, "");
}

static void step(Emission *e, Step *s) {
    LLVMValueRef w[EMISSION_MAX_ACCUMULATORS];
    for (int v = 0; v < s->vectors; v++) {
        w[v] = emission_load(e, pair_vector(e), s->w, s->weight_offsets[v], 16);
    }
    for (int r = 0; r < s->rows; r++) {
        LLVMValueRef pair = emission_splat(e, emission_load(e, e->i32, s->a, r * s->input_stride, 4), e->target->lanes);
        LLVMValueRef a = LLVMBuildBitCast(e->builder, pair, pair_vector(e), "");
        for (int v = 0; v < s->vectors; v++) {
            LLVMValueRef *accumulator = &s->accumulators[r * s->vectors + v];
            *accumulator = operation(e, *accumulator, a, w[v]);
        }
    }
}

const PathEmitter path_bf16_dot = {
    .step = step,
    .operation = operation,
    .operand = pair_vector,
    .operation_depth = 2,
};
