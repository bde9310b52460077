// fp32 weights and activations, fused multiply-add.
#include "emission.h"

static void step(Emission *e, Step *s) {
    LLVMValueRef w[EMISSION_MAX_ACCUMULATORS];
    for (int v = 0; v < s->vectors; v++) {
        w[v] = emission_load(e, e->vector, s->w, s->weight_offsets[v], 16);
    }
    for (int r = 0; r < s->rows; r++) {
        LLVMValueRef a = emission_splat(e, emission_load(e, e->f32, s->a, r * s->input_stride, 4), e->target->lanes);
        for (int v = 0; v < s->vectors; v++) {
            LLVMValueRef *accumulator = &s->accumulators[r * s->vectors + v];
            *accumulator = emission_multiply_add(e, a, w[v], *accumulator);
        }
    }
}

static LLVMValueRef operation(Emission *e, LLVMValueRef accumulator, LLVMValueRef a, LLVMValueRef w) {
    return emission_multiply_add(e, a, w, accumulator);
}

static LLVMTypeRef operand(Emission *e) {
    return e->vector;
}

const PathEmitter path_fp32_fma = {
    .facts = {.path = PATH_FP32_FMA, .weights = FORMAT_FP32, .input = FORMAT_FP32, .depth = 1, .compute = {[COMPUTE_FP32] = true}},
    .step = step,
    .operation = operation,
    .operand = operand,
    .operation_depth = 1,
};
