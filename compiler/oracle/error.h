// Values with error bounds: the arithmetic behind the oracle's tolerances.
//
// A Bounded (v, e) says: the exact result of the semantics is v, and every correct fp32 implementation of the same step has a
// result within [v - e, v + e]. The model (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., ch. 2 and 3):
//   fl(a op b) = (a op b)(1 + d) + t,  |d| <= u = 2^-24,  |t| <= 2^-149 (a result that is subnormal; products may underflow);
//   a chain of n multiply-adds in any order, fused or not:  |error| <= gamma_n sum |a||w|,  gamma_n = n u / (1 - n u);
//   inputs that carry errors add sum e_a |w|, and their rounding terms see |a| + e_a instead of |a|.
// Compute class bf16 rounds activations to bf16 by definition, so the oracle rounds too: rounding is monotone, hence the image
// of [v - e, v + e] is [round(v - e), round(v + e)], and only values near a rounding boundary gain an error. The dot product
// instructions have products that are exact and at most two roundings, each to odd in the worst case (2u), per pair of terms:
// gamma_2n. vdpbf16ps takes subnormal operands as zero and flushes subnormal sums: 2^-126 (2n + sum |a| + sum |w|) at most.
// Where |v| + e exceeds the largest fp32 number the value may overflow on the way: (0, infinity), anything is accepted after it.
// The two bounds. Worst case: the above; it holds always, and is far too wide for real data (it grows with n where errors grow
// with sqrt(n), and a chain multiplies that). Likely: rounding errors as independent, zero-mean variables (Higham and Mary, A new
// approach to probabilistic rounding error analysis, 2019). An error bound is then lambda times a sub-Gaussian scale, so that
// each fails with a probability below 2 exp(-lambda^2 / 2) = 3e-8 for lambda = 6 (and far below in effect, |d| being smaller
// than u mostly). Scales of independent errors add as squares:
//   a chain of n terms: step j adds s_j d_j, s_j its partial sum: lambda u sqrt(n) max |s_j|; max |s_j| is taken as the largest
//   prefix in ascending order plus sqrt(sum (a w)^2), the scale of a random walk of these terms, to serve other orders too;
//   inputs' errors: sqrt(sum (e_a w)^2);
//   a rounding to bf16 that flips by d: it is bounded by d, so that its scale is at most d: lambda d. Its variance is smaller,
//   because flips are rare, but one that happens goes on to all columns of what follows, whose products then see a walk of scale d.
// It is the sharp test, for random data only: on constant or tied data rounding errors are correlated.
// The oracle's own rounding (2^-53 per operation) is covered by the one spare step of each gamma.
#ifndef CATENA_ORACLE_ERROR_H
#define CATENA_ORACLE_ERROR_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "templates/layer.h"

typedef struct Bounded {
    double value, error;
} Bounded;

static const double unit_fp32 = 0x1p-24, unit_bf16 = 0x1p-8;
static const double tiny_fp32 = 0x1p-149;  // an fp32 result that underflows is off by at most this
static const double flushed_fp32 = 0x1p-126;  // ... or by this where an instruction flushes subnormal numbers

// The tolerance table of products: one row per compute class.
typedef struct ProductTolerance {
    double roundings;  // units of fp32 per multiply-add
    double spare;  // further steps: an unfused product, the oracle's own error
    double underflow;  // absolute, per multiply-add
    double flushed;  // absolute error of an operand that is taken as zero because it is subnormal
} ProductTolerance;

static const ProductTolerance product_tolerances[COMPUTE_COUNT] = {
    [COMPUTE_FP32] = {1, 3, 0x1p-149, 0},
    [COMPUTE_BF16] = {2, 3, 0x1p-125, 0x1p-126},
};

// How errors of many terms add up.
typedef enum ErrorModel { ERROR_WORST, ERROR_LIKELY } ErrorModel;
static const double likely_lambda = 6;

static inline double error_gamma(double steps, ErrorModel model) {
    double worst = steps * unit_fp32 / (1 - steps * unit_fp32), likely = likely_lambda * sqrt(steps) * unit_fp32;
    return model == ERROR_LIKELY && likely < worst ? likely : worst;
}

static inline Bounded bounded_exact(double value) {
    return (Bounded){value, 0};
}

// Also the place where overflow (and NaN, from 0 times an unknown value) becomes "anything".
static inline Bounded bounded_make(double value, double error) {
    return fabs(value) + error <= FLT_MAX ? (Bounded){value, error} : (Bounded){0, INFINITY};
}

// After `roundings` further fp32 roundings. A result that is zero without doubt is exact.
static inline Bounded bounded_rounded(double value, double error, double roundings) {
    if (value == 0 && error == 0) {
        return (Bounded){0, 0};
    }
    return bounded_make(value, error + roundings * (unit_fp32 * (fabs(value) + error) + tiny_fp32));
}

static inline Bounded bounded_add(Bounded a, Bounded b) {
    return bounded_rounded(a.value + b.value, a.error + b.error, 1);
}

static inline Bounded bounded_multiply(Bounded a, Bounded b) {
    double error = fabs(a.value) * b.error + fabs(b.value) * a.error + a.error * b.error;
    return bounded_rounded(a.value * b.value, error, 1);
}

// w * a + sum, fused or not.
static inline Bounded bounded_fma(Bounded w, Bounded a, Bounded sum) {
    Bounded product = bounded_multiply(w, a);
    return bounded_add(product, sum);
}

// |(a + d) / (b + g) - a / b| <= (|d| + |a / b| |g|) / (|b| - |g|).
static inline Bounded bounded_divide(Bounded a, Bounded b) {
    double least = fabs(b.value) - b.error, value = a.value / b.value;
    if (!(least > 0)) {
        return (Bounded){0, INFINITY};
    }
    return bounded_rounded(value, (a.error + fabs(value) * b.error) / least, 1);
}

// A product with a constant of the description; 1 stands for no product at all.
static inline Bounded bounded_scale(Bounded a, double factor) {
    return factor == 1 ? a : bounded_multiply(a, bounded_exact(factor));
}

// f(a) for a monotone f, given its values at a's value and at the ends of its interval.
static inline Bounded bounded_image(double value, double low, double high) {
    double above = fabs(high - value), below = fabs(value - low);
    return bounded_make(value, above > below ? above : below);
}

// To nearest even on the grid of bf16 (8 significant bits, exponent range of fp32).
static inline double bf16_nearest(double value) {
    int exponent;
    if (value == 0 || !isfinite(value)) {
        return value;
    }
    frexp(value, &exponent);  // |value| in [2^(exponent - 1), 2^exponent)
    double step = ldexp(1, (exponent < -125 ? -125 : exponent) - 8);
    return nearbyint(value / step) * step;
}

// The image of an interval under rounding to bf16; subnormal values may be flushed.
static inline Bounded bounded_round_bf16(Bounded a, ErrorModel model) {
    if (!isfinite(a.error)) {
        return a;
    }
    double value = bf16_nearest(a.value);
    double above = bf16_nearest(a.value + a.error) - value, below = value - bf16_nearest(a.value - a.error);
    double error = (above > below ? above : below) * (model == ERROR_LIKELY ? likely_lambda : 1);
    int subnormal = fabs(a.value) - a.error < flushed_fp32 && (a.value != 0 || a.error != 0);
    return bounded_make(value, error + (subnormal ? flushed_fp32 : 0));
}

#endif
