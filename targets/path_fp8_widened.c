// fp8 E4M3 weights with scales, decoded to fp32, fused multiply-add: exact products of code * scale, rounded to fp32, with fp32
// activations. templates/formats/fp8_e4m3.h says how codes lie.
//
// A 16-bit word is a pair of codes, the even k in the low half. Shifted to the word's upper half and then, its sign extended, one
// bit down, a code's sign, exponent and fraction are at an fp16's places once a mask has cleared the rest. Such a half is 2^-8 of
// the code; scales are stored times 2^8.
//
// Two vectors of columns are decoded together, as far as 16-bit words go. Loads are volatile so that LLVM does not keep scales and
// codes in registers over a whole round, which spills the accumulators (AVX2 has 16): scales are operands in memory, codes are read
// again.
#include "emission.h"

enum { HALF_BITS = 0xbf80 };  // sign, four bits of the exponent, three of the fraction

static LLVMValueRef load_volatile(Emission *e, LLVMTypeRef type, LLVMValueRef base, int64_t offset, unsigned alignment) {
    LLVMValueRef value = emission_load(e, type, base, offset, alignment);
    LLVMSetVolatile(value, true);
    return value;
}

// The weights of one k of the pair: `count` vectors from `first` on, whose codes lie side by side.
static void decode(Emission *e, Step *s, int first, int count, int odd, LLVMValueRef *w) {
    int lanes = e->target->lanes;
    LLVMTypeRef words = LLVMVectorType(LLVMInt16TypeInContext(e->context), (unsigned)(count * lanes));
    LLVMValueRef bits = load_volatile(e, words, s->w, s->weight_offsets[first], 8);
    if (!odd) {
        bits = LLVMBuildShl(e->builder, bits, emission_constant(e, words, 8), "");
    }
    bits = LLVMBuildAShr(e->builder, bits, emission_constant(e, words, 1), "");
    bits = LLVMBuildAnd(e->builder, bits, emission_constant(e, words, HALF_BITS), "");
    for (int v = 0; v < count; v++) {
        LLVMValueRef half = count > 1 ? emission_part(e, bits, v, lanes) : bits;
        LLVMValueRef scale =
            load_volatile(e, e->vector, s->group, s->panel_offsets[first + v] + s->columns[first + v] * 4, (unsigned)lanes * 4);
        w[v] = LLVMBuildFMul(e->builder, emission_half_to_float(e, half), scale, "");
    }
}

static void step(Emission *e, Step *s) {
    for (int v = 0, count; v < s->vectors; v += count) {
        LLVMValueRef w[2];
        count = v + 1 < s->vectors && s->panel_offsets[v] == s->panel_offsets[v + 1] ? 2 : 1;
        for (int odd = 0; odd < 2; odd++) {
            decode(e, s, v, count, odd, w);
            emission_keep(e, s, v, count, w, odd);
            emission_accumulate(e, s, v, count, w, odd * 4);
        }
    }
}

const PathEmitter path_fp8_widened = {.step = step};
