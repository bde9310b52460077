// Sixteen-wide arithmetic with one fixed order of operations on every target, and the functions built on it.
//
// A Vector is 16 floats whatever the machine's vector length is: the compiler splits or joins registers, the bits stay.
// No reassociation, no contraction: a fused multiply-add is written where it is meant.
#ifndef CATENA_MATH_H
#define CATENA_MATH_H

#include <stdint.h>

enum { LANES = 16 };
typedef float Vector __attribute__((vector_size(64)));
typedef int32_t Integers __attribute__((vector_size(64)));
typedef float HalfVector __attribute__((vector_size(32)));

#define INLINE static inline __attribute__((always_inline))

INLINE Vector vector_set(float value) {
    return (Vector){value, value, value, value, value, value, value, value, value, value, value, value, value, value, value, value};
}

INLINE Vector vector_load(const float *from) {
    Vector v;
    __builtin_memcpy(&v, from, sizeof v);
    return v;
}

INLINE void vector_store(float *to, Vector v) {
    __builtin_memcpy(to, &v, sizeof v);
}

INLINE Vector vector_fma(Vector a, Vector b, Vector c) {
#ifdef __clang__
    return __builtin_elementwise_fma(a, b, c);
#else
    Vector r;
    for (int i = 0; i < LANES; i++) {
        r[i] = __builtin_fmaf(a[i], b[i], c[i]);
    }
    return r;
#endif
}

INLINE Integers integers_set(int32_t value) {
    return (Integers){value, value, value, value, value, value, value, value,
                      value, value, value, value, value, value, value, value};
}

// first, first + 1, ..., first + 15
INLINE Integers integers_from(int64_t first) {
    const Integers lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return integers_set((int32_t)first) + lanes;
}

INLINE Integers integers_select(Integers mask, Integers yes, Integers no) {
    return (mask & yes) | (~mask & no);
}

INLINE Vector vector_select(Integers mask, Vector yes, Vector no) {
    return (Vector)integers_select(mask, (Integers)yes, (Integers)no);
}

INLINE Vector vector_max(Vector a, Vector b) {
    return vector_select(a > b, a, b);
}

INLINE Vector vector_min(Vector a, Vector b) {
    return vector_select(b < a, b, a);
}

INLINE Vector vector_absolute(Vector v) {
    return (Vector)((Integers)v & integers_set(0x7fffffff));
}

INLINE Vector vector_sqrt(Vector v) {
#ifdef __clang__
    return __builtin_elementwise_sqrt(v);
#else
    for (int i = 0; i < LANES; i++) {
        v[i] = __builtin_sqrtf(v[i]);
    }
    return v;
#endif
}

// The one lane tree: halves are added until one lane is left.
INLINE float vector_sum(Vector v) {
    HalfVector h =
        __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    float a = h[0] + h[4], b = h[1] + h[5], c = h[2] + h[6], d = h[3] + h[7];
    return (a + c) + (b + d);
}

// The largest lane, by the same tree. Lanes must not be NaN.
INLINE float vector_maximum(Vector v) {
    v = vector_max(v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    v = vector_max(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    v = vector_max(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    v = vector_max(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
    return v[0];
}

// The bits 1 << lane of the lanes whose mask is set.
INLINE uint32_t integers_bits(Integers mask) {
    const Integers one_each = {1 << 0, 1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                               1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
    Integers v = mask & one_each;
    v |= __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v |= __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    v |= __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    v |= __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return (uint32_t)v[0];
}

// The smallest lane.
INLINE int32_t integers_minimum(Integers v) {
    Integers w = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v = integers_select(v < w, v, w);
    w = __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    v = integers_select(v < w, v, w);
    w = __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    v = integers_select(v < w, v, w);
    w = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    v = integers_select(v < w, v, w);
    return v[0];
}

// --- number formats ----------------------------------------------------------------------------------------------------------

INLINE uint16_t bf16_from_float(float value) {  // to nearest, ties to even; infinities stay, NaN stays NaN
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded);
}

INLINE float bf16_to_float(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    __builtin_memcpy(&result, &bits, sizeof result);
    return result;
}

// Rounded to bf16 precision, still in fp32; NaN stays NaN.
INLINE Vector vector_round_bf16(Vector v) {
    Integers bits = (Integers)v, upper = bits * 0 + (int32_t)0xffff0000;
    Vector rounded = (Vector)((bits + 0x7fff + ((bits >> 16) & 1)) & upper);
    return vector_select(v == v, rounded, (Vector)((bits & upper) | 0x00400000));
}

INLINE void vector_store_bf16(uint16_t *to, Vector v) {
    Integers bits = (Integers)vector_round_bf16(v) >> 16;
    typedef uint16_t Shorts __attribute__((vector_size(32)));
    Shorts shorts = __builtin_convertvector(bits, Shorts);
    __builtin_memcpy(to, &shorts, sizeof shorts);
}

// --- functions ---------------------------------------------------------------------------------------------------------------

// e^x: x = n ln2 + r, |r| <= ln2 / 2 (Cody and Waite's two-part ln2), polynomial of Cephes' expf, 2^n by exponent bits.
// Relative error below 2 units in the last place for results that are normal numbers; 0 below, infinity above.
INLINE Vector vector_exp(Vector x) {
    const Vector magic = vector_set(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer held in the low bits
    Vector clamped = vector_select(x < -87.0f, vector_set(-87.0f), vector_select(x > 88.0f, vector_set(88.0f), x));
    Vector shifted = vector_fma(clamped, vector_set(1.44269504088896341f), magic);
    Vector n = shifted - magic;
    Vector r = vector_fma(n, vector_set(-0.693359375f), clamped);
    r = vector_fma(n, vector_set(2.12194440e-4f), r);
    Vector p = vector_fma(vector_set(1.9875691500e-4f), r, vector_set(1.3981999507e-3f));
    p = vector_fma(p, r, vector_set(8.3334519073e-3f));
    p = vector_fma(p, r, vector_set(4.1665795894e-2f));
    p = vector_fma(p, r, vector_set(1.6666665459e-1f));
    p = vector_fma(p, r, vector_set(5.0000001201e-1f));
    p = vector_fma(p, r * r, r) + vector_set(1.0f);
    Vector result = (Vector)((Integers)p + (((Integers)shifted - (Integers)magic) << 23));
    result = vector_select(x < -87.0f, vector_set(0.0f), result);
    return vector_select(x > 88.0f, vector_set(__builtin_inff()), result);
}

INLINE Vector vector_sigmoid(Vector x) {
    return vector_set(1.0f) / (vector_set(1.0f) + vector_exp(-x));
}

// ln x for x > 0: x = 2^n m, m in [sqrt 1/2, sqrt 2), polynomial of Cephes' logf. Relative error below 2 units in the last place;
// minus infinity for 0 and for subnormal numbers.
INLINE Vector vector_log(Vector x) {
    Integers shifted = (Integers)x - 0x3f3504f3;  // bits of sqrt 1/2
    Vector n = __builtin_convertvector(shifted >> 23, Vector);
    Vector f = (Vector)((shifted & 0x007fffff) + 0x3f3504f3) - 1.0f;
    Vector p = vector_fma(vector_set(7.0376836292e-2f), f, vector_set(-1.1514610310e-1f));
    p = vector_fma(p, f, vector_set(1.1676998740e-1f));
    p = vector_fma(p, f, vector_set(-1.2420140846e-1f));
    p = vector_fma(p, f, vector_set(1.4249322787e-1f));
    p = vector_fma(p, f, vector_set(-1.6668057665e-1f));
    p = vector_fma(p, f, vector_set(2.0000714765e-1f));
    p = vector_fma(p, f, vector_set(-2.4999993993e-1f));
    p = vector_fma(p, f, vector_set(3.3333331174e-1f));
    Vector square = f * f, tail = p * f * square;
    tail = vector_fma(n, vector_set(-2.12194440e-4f), tail);
    tail = vector_fma(square, vector_set(-0.5f), tail);
    Vector result = vector_fma(n, vector_set(0.693359375f), f + tail);
    return vector_select(x < 1.17549435e-38f, vector_set(-__builtin_inff()), result);
}

// ln(1 + e^x) = max(x, 0) + ln(1 + t), t = e^-|x|. With u = 1 + t rounded, ln(1 + t) = ln u + (t - (u - 1)) / u up to second order
// (Goldberg, 1991, theorem 4). Relative error below 4 units in the last place where the result is a normal number.
INLINE Vector vector_softplus(Vector x) {
    Vector t = vector_exp(-vector_absolute(x)), u = t + 1.0f;
    Vector logarithm = vector_log(u) + (t - (u - 1.0f)) / u;
    return vector_max(x, vector_set(0)) + logarithm;
}

// tanh x: below 0.625 the polynomial of Cephes' tanhf, above 1 - 2 / (e^2|x| + 1). Relative error below 3 units in the last place.
INLINE Vector vector_tanh(Vector x) {
    Vector size = vector_absolute(x), square = x * x;
    Vector p = vector_fma(vector_set(-5.70498872745e-3f), square, vector_set(2.06390887954e-2f));
    p = vector_fma(p, square, vector_set(-5.37397155531e-2f));
    p = vector_fma(p, square, vector_set(1.33314422036e-1f));
    p = vector_fma(p, square, vector_set(-3.33332819422e-1f));
    Vector small = vector_fma(p * square, x, x);
    Vector large = vector_set(1.0f) - vector_set(2.0f) / (vector_exp(size + size) + 1.0f);
    return vector_select(size < 0.625f, small, vector_select(x < 0.0f, -large, large));
}

// The normal distribution function, erfc(-x / sqrt 2) / 2, by the Chebyshev fit of Numerical Recipes ("erfcc", section 6.2):
// relative error of erfc below 1.2e-7 before rounding.
INLINE Vector vector_normal_cdf(Vector x) {
    Vector z = vector_select(x < 0.0f, -x, x) * 0.70710678118654752f;
    Vector t = vector_set(1.0f) / vector_fma(vector_set(0.5f), z, vector_set(1.0f));
    Vector p = vector_fma(vector_set(0.17087277f), t, vector_set(-0.82215223f));
    p = vector_fma(p, t, vector_set(1.48851587f));
    p = vector_fma(p, t, vector_set(-1.13520398f));
    p = vector_fma(p, t, vector_set(0.27886807f));
    p = vector_fma(p, t, vector_set(-0.18628806f));
    p = vector_fma(p, t, vector_set(0.09678418f));
    p = vector_fma(p, t, vector_set(0.37409196f));
    p = vector_fma(p, t, vector_set(1.00002368f));
    p = vector_fma(p, t, vector_set(-1.26551223f));
    Vector tail = t * vector_exp(vector_fma(-z, z, p)) * 0.5f;
    return vector_select(x < 0.0f, tail, vector_set(1.0f) - tail);
}

#endif
