// bf16 weights widened to fp32, fused multiply-add: exact products of the stored weights with fp32 activations.
// One load of a pair row holds even and odd k of `lanes` columns: a shift gives the even, a mask the odd one.
#include "emission.h"

// The second load of the same pairs is volatile so that LLVM does not keep the first one's registers alive across a whole row
// block: all 32 are taken by a 14 x 32 tile's sums, weights, mask and broadcast (kept pairs were spilled).
static void step(Emission *e, Step *s) {
    LLVMValueRef w[EMISSION_MAX_ACCUMULATORS];
    for (int v = 0; v < s->vectors; v++) {
        LLVMValueRef pairs = emission_load(e, e->integers, s->w, s->weight_offsets[v], 16);
        LLVMValueRef even = LLVMBuildShl(e->builder, pairs, emission_constant(e, e->integers, 16), "");
        w[v] = LLVMBuildBitCast(e->builder, even, e->vector, "");
    }
    emission_keep(e, s, 0, s->vectors, w, 0);
    emission_accumulate(e, s, 0, s->vectors, w, 0);
    for (int v = 0; v < s->vectors; v++) {
        LLVMValueRef pairs = emission_load(e, e->integers, s->w, s->weight_offsets[v], 16);
        LLVMSetVolatile(pairs, true);
        LLVMValueRef odd = LLVMBuildAnd(e->builder, pairs, emission_constant(e, e->integers, 0xffff0000), "");
        w[v] = LLVMBuildBitCast(e->builder, odd, e->vector, "");
    }
    emission_keep(e, s, 0, s->vectors, w, 1);
    emission_accumulate(e, s, 0, s->vectors, w, 4);
}

const PathEmitter path_bf16_widened = {.step = step};
