// bf16 weights widened to fp32, fused multiply-add: exact products of the stored weights with fp32 activations.
// One load of a pair row holds even and odd k of `lanes` columns: a shift gives the even, a mask the odd one.
#include "emission.h"

static void accumulate(Emission *e, Step *s, LLVMValueRef *w, int64_t a_offset) {
    for (int r = 0; r < s->rows; r++) {
        LLVMValueRef a = emission_splat(e, emission_load(e, e->f32, s->a, r * s->input_stride + a_offset, 4), e->target->lanes);
        for (int v = 0; v < s->vectors; v++) {
            LLVMValueRef *accumulator = &s->accumulators[r * s->vectors + v];
            *accumulator = emission_multiply_add(e, a, w[v], *accumulator);
        }
    }
}

// The widened weights of one k, for the tiles that come after this one on the same panel.
static void keep(Emission *e, Step *s, LLVMValueRef *w, int64_t k) {
    for (int v = 0; v < s->vectors && s->widened; v++) {
        int64_t offset = k * PANEL_COLUMNS * 4 + s->widened_offset + v * e->target->lanes * 4;
        LLVMSetAlignment(LLVMBuildStore(e->builder, w[v], emission_address(e, s->widened, offset)), 16);
    }
}

// The second load of the same pairs is volatile so that LLVM does not keep the first one's registers alive across a whole row
// block: all 32 are taken by a 14 x 32 tile's sums, weights, mask and broadcast (kept pairs were spilled).
static void step(Emission *e, Step *s) {
    LLVMValueRef w[EMISSION_MAX_ACCUMULATORS];
    for (int v = 0; v < s->vectors; v++) {
        LLVMValueRef pairs = emission_load(e, e->integers, s->w, s->weight_offsets[v], 16);
        LLVMValueRef even = LLVMBuildShl(e->builder, pairs, emission_constant(e, e->integers, 16), "");
        w[v] = LLVMBuildBitCast(e->builder, even, e->vector, "");
    }
    keep(e, s, w, 0);
    accumulate(e, s, w, 0);
    for (int v = 0; v < s->vectors; v++) {
        LLVMValueRef pairs = emission_load(e, e->integers, s->w, s->weight_offsets[v], 16);
        LLVMSetVolatile(pairs, true);
        LLVMValueRef odd = LLVMBuildAnd(e->builder, pairs, emission_constant(e, e->integers, 0xffff0000), "");
        w[v] = LLVMBuildBitCast(e->builder, odd, e->vector, "");
    }
    keep(e, s, w, 1);
    accumulate(e, s, w, 4);
}

static LLVMValueRef operation(Emission *e, LLVMValueRef accumulator, LLVMValueRef a, LLVMValueRef w) {
    return emission_multiply_add(e, a, w, accumulator);
}

static LLVMTypeRef operand(Emission *e) {
    return e->vector;
}

const PathEmitter path_bf16_widened = {
    .facts = {.path = PATH_BF16_WIDENED,
              .weights = FORMAT_BF16,
              .input = FORMAT_FP32,
              .depth = 2,
              .compute = {[COMPUTE_FP32] = true, [COMPUTE_BF16] = true}},
    .step = step,
    .operation = operation,
    .operand = operand,
    .operation_depth = 1,
};
