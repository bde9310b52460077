// Formats of packed weights in plain C: what a panel's bytes mean, and how values and codes become panels. Used by the runtime's
// packing, by the plain tiles that sanitizers see and by synthetic weights; skeletons need the facts alone (layer.h).
//
// A panel is a stream of multiply-accumulate steps in ascending k. Where a format has groups, what a group carries (scales, zero
// points, minimums) stands in the same stream in front of the group's steps. Functions may be called from any number of threads on
// different columns.
#ifndef CATENA_FORMATS_H
#define CATENA_FORMATS_H

#include "plan.h"

// What is packed at once: k values [k, k + depth) of `count` of a panel's columns. k is a multiple of FORMAT_BLOCK and of the
// format's group, which the values fill (but for the last one of a panel). Column columns[c] gets row c of the source.
typedef struct FormatRun {
    int64_t k, depth;
    int count;
    const int *columns;
    const float *values;  // [count][stride]; of a format that takes codes over: the same, decoded
    int64_t stride;
    // where a checkpoint's own blocks are taken over (FormatFacts.takes): each column's codes and scale; codes NULL: zeros
    int coded;
    const uint8_t *codes[PANEL_COLUMNS];
    int64_t code_step;  // bytes between the codes of consecutive k
    int64_t filled;     // k that have codes; those up to depth are zeros
    float scales[PANEL_COLUMNS];
} FormatRun;

// One step of random weights from k on: lines[i] are 32 uniform integers of 16 bits for k + i, whose product with `scale` is a
// weight; where bit c of mask[i] is 0, column c is padding and must be zero.
typedef struct FormatRandom {
    int64_t k;
    const int16_t (*lines)[PANEL_COLUMNS];
    uint32_t mask[FORMAT_MAX_STEP];
    float scale;
} FormatRandom;

// --- numbers -----------------------------------------------------------------------------------------------------------------

static inline float format_float_from_bits(uint32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t format_float_bits(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

// To the nearest bf16, ties to even; NaN stays NaN.
static inline uint16_t format_bf16_from_float(float value) {
    uint32_t bits = format_float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40);  // quiet, and never rounded to infinity
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static inline float format_float_from_fp16(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    if (exponent == 31) {
        return format_float_from_bits(sign | 0x7f800000u | fraction << 13);
    }
    if (exponent) {
        return format_float_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    }
    return format_float_from_bits(sign | format_float_bits((float)fraction * 0x1p-24f));  // subnormal or zero: exact in fp32
}

// To the nearest fp16, ties to even; NaN stays NaN.
static inline uint16_t format_fp16_from_float(float value) {
    uint32_t bits = format_float_bits(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00);
    }
    if (magnitude >= 0x477ff000u) {  // 65520
        return (uint16_t)(sign | 0x7c00);
    }
    if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, which adding 0.5 rounds to
        return (uint16_t)(sign | (format_float_bits(format_float_from_bits(magnitude) + 0.5f) & 0xffff));
    }
    magnitude = (magnitude + 0xfffu + (magnitude >> 13 & 1)) >> 13;
    return (uint16_t)(sign | (magnitude - (112u << 10)));
}

// fp8 E4M3 as machine learning uses it ("E4M3FN"): 0x7f and 0xff are NaN, there are no infinities.
static inline float format_float_from_e4m3(uint8_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x80) << 24, exponent = bits >> 3 & 15, fraction = bits & 7;
    if ((bits & 0x7f) == 0x7f) {
        return format_float_from_bits(sign | 0x7fc00000u);
    }
    if (exponent) {
        return format_float_from_bits(sign | (exponent + 120) << 23 | fraction << 20);
    }
    return format_float_from_bits(sign | format_float_bits((float)fraction * 0x1p-9f));
}

// --- formats -----------------------------------------------------------------------------------------------------------------

#define FORMAT_CODEC
#include "templates/formats/list.h"

// Values of a format are converted in blocks of this many k, unless its groups are longer.
enum { FORMAT_BLOCK = 64 };

// The exact value of an element of a panel.
static inline double format_value(Format format, const uint8_t *panel, int64_t k, int column) {
#define FORMAT_ROW(enumerator, symbol, ...) \
    case enumerator: return format_##symbol##_value(panel, k, column);
    switch (format) {
#include "templates/formats/list.h"
    case FORMAT_COUNT: break;
    }
    return 0;
}

static inline void format_pack(Format format, uint8_t *panel, const FormatRun *run) {
#define FORMAT_ROW(enumerator, symbol, ...) \
    case enumerator: format_##symbol##_pack(panel, run); return;
    switch (format) {
#include "templates/formats/list.h"
    case FORMAT_COUNT: break;
    }
}

static inline void format_random(Format format, uint8_t *panel, const FormatRandom *random) {
#define FORMAT_ROW(enumerator, symbol, ...) \
    case enumerator: format_##symbol##_random(panel, random); return;
    switch (format) {
#include "templates/formats/list.h"
    case FORMAT_COUNT: break;
    }
}

#endif
