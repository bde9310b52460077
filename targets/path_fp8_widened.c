// fp8 E4M3 weights with scales, decoded to fp32, fused multiply-add: exact products of code * scale, rounded to fp32, with fp32
// activations. templates/formats/fp8_e4m3.h says how codes lie.
//
// A 32-bit word is four codes, the first k in the low byte. As two 16-bit words, shifted four bits down with their signs extended,
// the codes in the upper bytes have sign, exponent and fraction at an fp32's places: in the upper half as they are, in the lower
// half after a shift by 16. A mask clears the rest. Such a number is 2^-120 of the code, and subnormal where the code is; scales
// are stored times 2^120. Conversion by way of fp16 took 1.4 times as long at one row on Zen 3: vcvtph2ps is two operations.
//
// Two vectors of columns are decoded together, so that one load of an activation serves both. Codes and scales are loaded by
// volatile loads, so that LLVM leaves them in memory, as operands: held in registers over a whole round they spill the accumulators
// (AVX2 has 16).
#include "emission.h"

static const uint64_t float_bits = 0x87f00000;  // sign, the four low bits of the exponent, three of the fraction

static LLVMValueRef shift_left(Emission *e, LLVMValueRef bits, unsigned count) {
    return count ? LLVMBuildShl(e->builder, bits, emission_constant(e, LLVMTypeOf(bits), count), "") : bits;
}

static LLVMValueRef shift_right(Emission *e, LLVMValueRef bits) {
    return LLVMBuildAShr(e->builder, bits, emission_constant(e, LLVMTypeOf(bits), 4), "");
}

// The codes of even, or odd, k in their places in the halves of 32-bit words, but for what the mask clears.
static LLVMValueRef spread(Emission *e, LLVMValueRef codes, unsigned odd) {
    LLVMTypeRef halves = LLVMVectorType(LLVMInt16TypeInContext(e->context), 2 * (unsigned)e->target->lanes);
    LLVMValueRef bits = shift_right(e, shift_left(e, LLVMBuildBitCast(e->builder, codes, halves, ""), 8 - 8 * odd));
    return LLVMBuildBitCast(e->builder, bits, e->integers, "");
}

static LLVMValueRef load_codes(Emission *e, const Step *s, int v) {
    LLVMValueRef codes = emission_load(e, e->integers, s->w, s->weight_offsets[v], 16);
    LLVMSetVolatile(codes, true);
    return codes;
}

// One vector of weights, whose codes are in their places, but for the mask.
static LLVMValueRef weights(Emission *e, const Step *s, int v, LLVMValueRef bits) {
    bits = LLVMBuildAnd(e->builder, bits, emission_constant(e, e->integers, float_bits), "");
    int64_t offset = s->panel_offsets[v] + s->columns[v] * 4;
    LLVMValueRef scale = emission_load(e, e->vector, s->group, offset, (unsigned)e->target->lanes * 4);
    LLVMSetVolatile(scale, true);
    return LLVMBuildFMul(e->builder, LLVMBuildBitCast(e->builder, bits, e->vector, ""), scale, "");
}

// Where registers are left, codes are loaded and spread once for four k; elsewhere they are loaded again for each k.
static void step(Emission *e, Step *s) {
    // sums, four vectors of spread codes, two of weights, an activation
    bool room = s->rows * s->vectors + 4 + 2 + 1 <= e->target->registers;
    for (int v = 0, count; v < s->vectors; v += count) {
        LLVMValueRef spreads[2][2], w[2];
        count = v + 1 < s->vectors ? 2 : 1;
        for (int i = 0; i < count && room; i++) {
            LLVMValueRef codes = load_codes(e, s, v + i);
            spreads[i][0] = spread(e, codes, 0);
            spreads[i][1] = spread(e, codes, 1);
        }
        for (unsigned k = 0; k < 4; k++) {
            for (int i = 0; i < count; i++) {
                LLVMValueRef bits = room ? shift_left(e, spreads[i][k % 2], k < 2 ? 16 : 0)
                                         : shift_right(e, shift_left(e, load_codes(e, s, v + i), 24 - 8 * k));
                w[i] = weights(e, s, v + i, bits);
            }
            emission_keep(e, s, v, count, w, k);
            emission_accumulate(e, s, v, count, w, k * 4);
            emission_settle(e, s, v, count);
        }
    }
}

const PathEmitter path_fp8_widened = {.step = step};
