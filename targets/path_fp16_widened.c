// fp16 weights widened to fp32, fused multiply-add: exact products of the stored weights with fp32 activations.
#include "emission.h"

static void step(Emission *e, Step *s) {
    LLVMTypeRef halves = LLVMVectorType(LLVMInt16TypeInContext(e->context), (unsigned)e->target->lanes);
    LLVMValueRef w[EMISSION_MAX_ACCUMULATORS];
    for (int v = 0; v < s->vectors; v++) {
        w[v] = emission_half_to_float(e, emission_load(e, halves, s->w, s->weight_offsets[v], 8));
    }
    emission_keep(e, s, 0, s->vectors, w, 0);
    emission_accumulate(e, s, 0, s->vectors, w, 0);
    emission_settle(e, s, 0, s->vectors);
}

const PathEmitter path_fp16_widened = {.step = step};
