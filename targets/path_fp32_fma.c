// fp32 weights and activations, fused multiply-add.
#include "emission.h"

static void step(Emission *e, Step *s) {
    LLVMValueRef w[EMISSION_MAX_ACCUMULATORS];
    for (int v = 0; v < s->vectors; v++) {
        w[v] = emission_load(e, e->vector, s->w, s->weight_offsets[v], 16);
    }
    emission_accumulate(e, s, 0, s->vectors, w, 0);
}

const PathEmitter path_fp32_fma = {.step = step};
