// Pieces of IR that several paths need.
#include <string.h>

#include "emission.h"

LLVMValueRef emission_address(Emission *e, LLVMValueRef base, int64_t offset) {
    LLVMValueRef index = LLVMConstInt(e->i64, (unsigned long long)offset, true);
    return LLVMBuildGEP2(e->builder, LLVMInt8TypeInContext(e->context), base, &index, 1, "");
}

LLVMValueRef emission_load(Emission *e, LLVMTypeRef type, LLVMValueRef base, int64_t offset, unsigned alignment) {
    LLVMValueRef value = LLVMBuildLoad2(e->builder, type, emission_address(e, base, offset), "");
    LLVMSetAlignment(value, alignment);
    return value;
}

void emission_prefetch(Emission *e, LLVMValueRef base, int64_t offset, int locality) {
    LLVMValueRef arguments[] = {emission_address(e, base, offset), LLVMConstInt(e->i32, 0, false),
                                LLVMConstInt(e->i32, (unsigned long long)locality, false), LLVMConstInt(e->i32, 1, false)};
    emission_intrinsic(e, "llvm.prefetch", e->pointer, arguments, 4);
}

LLVMValueRef emission_splat(Emission *e, LLVMValueRef scalar, int lanes) {
    LLVMTypeRef type = LLVMVectorType(LLVMTypeOf(scalar), (unsigned)lanes);
    LLVMValueRef zero = LLVMConstInt(e->i32, 0, false);
    LLVMValueRef one = LLVMBuildInsertElement(e->builder, LLVMGetPoison(type), scalar, zero, "");
    return LLVMBuildShuffleVector(e->builder, one, LLVMGetPoison(type), LLVMConstNull(LLVMVectorType(e->i32, (unsigned)lanes)), "");
}

LLVMValueRef emission_constant(Emission *e, LLVMTypeRef vector, uint64_t value) {
    (void)e;
    LLVMValueRef elements[64];
    unsigned lanes = LLVMGetVectorSize(vector);
    for (unsigned i = 0; i < lanes; i++) {
        elements[i] = LLVMConstInt(LLVMGetElementType(vector), value, false);
    }
    return LLVMConstVector(elements, lanes);
}

LLVMValueRef emission_intrinsic(Emission *e, const char *name, LLVMTypeRef type, LLVMValueRef *arguments, unsigned count) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    size_t overloads = type != NULL;
    LLVMValueRef function = LLVMGetIntrinsicDeclaration(e->module, id, &type, overloads);
    return LLVMBuildCall2(e->builder, LLVMIntrinsicGetType(e->context, id, &type, overloads), function, arguments, count, "");
}

LLVMValueRef emission_multiply_add(Emission *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c) {
    if (!e->target->fused) {  // llvm.fma would become a call for each lane
        return LLVMBuildFAdd(e->builder, LLVMBuildFMul(e->builder, a, b, ""), c, "");
    }
    return emission_intrinsic(e, "llvm.fma", LLVMTypeOf(a), (LLVMValueRef[]){a, b, c}, 3);
}

void emission_accumulate(Emission *e, Step *s, int first, int count, LLVMValueRef *w, int64_t a_offset) {
    for (int r = 0; r < s->rows; r++) {
        LLVMValueRef a = emission_splat(e, emission_load(e, e->f32, s->a, r * s->input_stride + a_offset, 4), e->target->lanes);
        for (int v = 0; v < count; v++) {
            LLVMValueRef *accumulator = &s->accumulators[r * s->vectors + first + v];
            *accumulator = emission_multiply_add(e, a, w[v], *accumulator);
        }
    }
}

void emission_settle(Emission *e, Step *s, int first, int count) {
    const char constraints[] = {'=', e->target->register_class, ',', '0'};
    LLVMTypeRef type = LLVMFunctionType(e->vector, &e->vector, 1, false);
    LLVMValueRef nothing =
        LLVMGetInlineAsm(type, "", 0, constraints, sizeof constraints, true, false, LLVMInlineAsmDialectATT, false);
    for (int i = 0; i < s->rows * count; i++) {
        LLVMValueRef *accumulator = &s->accumulators[i / count * s->vectors + first + i % count];
        *accumulator = LLVMBuildCall2(e->builder, type, nothing, accumulator, 1, "");
    }
}

void emission_keep(Emission *e, Step *s, int first, int count, LLVMValueRef *w, int64_t k) {
    for (int v = 0; v < count && s->decoded; v++) {
        int64_t offset = k * PANEL_COLUMNS * 4 + s->decoded_offset + (first + v) * e->target->lanes * 4;
        LLVMSetAlignment(LLVMBuildStore(e->builder, w[v], emission_address(e, s->decoded, offset)), 16);
    }
}

// Without an instruction for it: sign, exponent and fraction at fp32's places are 2^-112 of the value, subnormal numbers included.
LLVMValueRef emission_half_to_float(Emission *e, LLVMValueRef halves) {
    unsigned lanes = LLVMGetVectorSize(LLVMTypeOf(halves));
    LLVMTypeRef floats = LLVMVectorType(e->f32, lanes), words = LLVMVectorType(e->i32, lanes);
    if (e->target->halves) {
        LLVMTypeRef type = LLVMVectorType(LLVMHalfTypeInContext(e->context), lanes);
        return LLVMBuildFPExt(e->builder, LLVMBuildBitCast(e->builder, halves, type, ""), floats, "");
    }
    LLVMValueRef wide = LLVMBuildSExt(e->builder, halves, words, "");
    LLVMValueRef bits = LLVMBuildShl(e->builder, wide, emission_constant(e, words, 13), "");
    bits = LLVMBuildAnd(e->builder, bits, emission_constant(e, words, 0x8fffe000), "");
    LLVMValueRef factor = LLVMConstReal(e->f32, 0x1p112), factors[64];
    for (unsigned i = 0; i < lanes; i++) {
        factors[i] = factor;
    }
    return LLVMBuildFMul(e->builder, LLVMBuildBitCast(e->builder, bits, floats, ""), LLVMConstVector(factors, lanes), "");
}
