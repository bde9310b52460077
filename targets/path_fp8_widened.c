// fp8 E4M3 weights with scales, decoded to fp32, fused multiply-add: exact products of code * scale, rounded to fp32, with fp32
// activations. templates/formats/fp8_e4m3.h says how codes lie.
//
// A 16-bit word is a pair of codes, the even k in the low half. Shifted to the word's upper half and then, its sign extended, one
// bit down, a code's sign, exponent and fraction are at an fp16's places once a mask has cleared the rest. Such a half is 2^-8 of
// the code; scales are stored times 2^8.
#include "emission.h"

enum { HALF_BITS = 0xbf80 };  // sign, four bits of the exponent, three of the fraction

typedef struct Words {
    LLVMTypeRef type;
    LLVMValueRef values[EMISSION_MAX_ACCUMULATORS];
} Words;

static Words load(Emission *e, Step *s) {
    Words words = {.type = LLVMVectorType(LLVMInt16TypeInContext(e->context), (unsigned)e->target->lanes)};
    for (int v = 0; v < s->vectors; v++) {
        words.values[v] = emission_load(e, words.type, s->w, s->weight_offsets[v], 8);
    }
    return words;
}

// The weights of one k of the pair.
static void decode(Emission *e, Step *s, const Words *words, int odd, LLVMValueRef *w) {
    for (int v = 0; v < s->vectors; v++) {
        LLVMValueRef bits = words->values[v];
        if (!odd) {
            bits = LLVMBuildShl(e->builder, bits, emission_constant(e, words->type, 8), "");
        }
        bits = LLVMBuildAShr(e->builder, bits, emission_constant(e, words->type, 1), "");
        bits = LLVMBuildAnd(e->builder, bits, emission_constant(e, words->type, HALF_BITS), "");
        LLVMValueRef scale = emission_load(e, e->vector, s->group, s->panel_offsets[v] + s->columns[v] * 4, 16);
        w[v] = LLVMBuildFMul(e->builder, emission_half_to_float(e, bits), scale, "");
    }
}

static void step(Emission *e, Step *s) {
    LLVMValueRef w[EMISSION_MAX_ACCUMULATORS];
    Words words = load(e, s);
    for (int odd = 0; odd < 2; odd++) {
        decode(e, s, &words, odd, w);
        emission_keep(e, s, w, odd);
        emission_accumulate(e, s, w, odd * 4);
    }
}

const PathEmitter path_fp8_widened = {.step = step};
