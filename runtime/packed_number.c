// Numbers of source tensors: single conversions, and runs of elements at any stride converted to fp32.
//
// MXFP4: OCP Microscaling Formats 1.0, sections 5.3.3 (E2M1), 5.4.1 (E8M0) and 6.2; 16 bytes hold 32 elements, the even one in the
// low half of its byte, as transformers' integrations/mxfp4.py reads gpt-oss's checkpoints.
#include <string.h>

#include "packed.h"

enum { BYTES_PER_BLOCK = PACKED_MXFP4_BLOCK / 2 };

static const float fp4_values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                     -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

static float float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t packed_bf16_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40);  // quiet, and never rounded to infinity
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

float packed_float_from_bf16(uint16_t bits) {
    return float_from_bits((uint32_t)bits << 16);
}

float packed_float_from_fp16(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff, wide;
    if (exponent == 31) {
        wide = sign | 0x7f800000u | fraction << 13;
    } else if (exponent) {
        wide = sign | (exponent + 112) << 23 | fraction << 13;
    } else {
        float magnitude = (float)fraction * 0x1p-24f;  // subnormal (or zero): exact in fp32
        memcpy(&wide, &magnitude, sizeof wide);
        wide |= sign;
    }
    return float_from_bits(wide);
}

float packed_float_from_e8m0(uint8_t bits) {
    return float_from_bits(bits == 255 ? 0x7fc00000u : bits ? (uint32_t)bits << 23 : 0x00400000u);
}

float packed_number_get(const void *source, int64_t index, Number number) {
    const uint8_t *bytes = (const uint8_t *)source + index * number_bytes(number);
    if (number == NUMBER_FP32) {
        float value;
        memcpy(&value, bytes, sizeof value);
        return value;
    }
    uint16_t bits;
    memcpy(&bits, bytes, sizeof bits);
    return number == NUMBER_BF16 ? packed_float_from_bf16(bits) : packed_float_from_fp16(bits);
}

float packed_source_get(const PackedSource *source, int64_t row, int64_t column) {
    int64_t index = source->first + row * source->row_step + column * source->column_step;
    float value;
    if (source->scales) {
        int code = ((const uint8_t *)source->data)[index / 2] >> index % 2 * 4 & 15;
        value = fp4_values[code] * packed_float_from_e8m0(source->scales[index / PACKED_MXFP4_BLOCK]);
    } else {
        value = packed_number_get(source->data, index, source->number);
    }
    return source->add == 0 ? value : value + source->add;  // -0 + 0 would be +0
}

// Whole blocks from element `first` on, a multiple of the block.
static void read_mxfp4(const PackedSource *source, int64_t first, int64_t count, float *out) {
    const uint8_t *bytes = (const uint8_t *)source->data + first / 2, *scales = source->scales + first / PACKED_MXFP4_BLOCK;
    for (int64_t i = 0; i < count; i += PACKED_MXFP4_BLOCK, bytes += BYTES_PER_BLOCK) {
        float scale = packed_float_from_e8m0(*scales++);
        for (int j = 0; j < BYTES_PER_BLOCK; j++) {
            out[i + 2 * j] = fp4_values[bytes[j] & 15] * scale;
            out[i + 2 * j + 1] = fp4_values[bytes[j] >> 4] * scale;
        }
    }
}

// Inlined with constant number and step, so that each loop is one conversion.
static inline __attribute__((always_inline)) void read_run(const void *data, int64_t first, int64_t step, int64_t count,
                                                           Number number, float *out) {
    for (int64_t i = 0; i < count; i++) {
        out[i] = packed_number_get(data, first + i * step, number);
    }
}

static void read_side_by_side(const void *data, int64_t first, int64_t count, Number number, float *out) {
    switch (number) {
    case NUMBER_FP32: memcpy(out, (const uint8_t *)data + first * 4, (size_t)count * 4); return;
    case NUMBER_BF16: read_run(data, first, 1, count, NUMBER_BF16, out); return;
    case NUMBER_FP16: read_run(data, first, 1, count, NUMBER_FP16, out); return;
    }
}

static void read_steps(const void *data, int64_t first, int64_t step, int64_t count, Number number, float *out) {
    switch (number) {
    case NUMBER_FP32: read_run(data, first, step, count, NUMBER_FP32, out); return;
    case NUMBER_BF16: read_run(data, first, step, count, NUMBER_BF16, out); return;
    case NUMBER_FP16: read_run(data, first, step, count, NUMBER_FP16, out); return;
    }
}

// NaN's and infinity's bits, the sign apart, are greater than those of every number. The inner loop has a fixed length, so that it
// is vectorised at -O2.
static bool is_beyond(const float *values, int64_t count, float limit) {
    enum { GROUP = 16 };
    uint32_t most, sign = 0, bits[GROUP];
    memcpy(&most, &limit, sizeof most);
    int64_t i = 0;
    for (; i + GROUP <= count; i += GROUP) {
        memcpy(bits, values + i, sizeof bits);
        for (int j = 0; j < GROUP; j++) {
            sign |= most - (bits[j] & 0x7fffffffu);
        }
    }
    for (; i < count; i++) {
        memcpy(bits, values + i, sizeof *bits);
        sign |= most - (bits[0] & 0x7fffffffu);
    }
    return sign >> 31;
}

bool packed_source_read(const PackedSource *source, int64_t first, int64_t step, int64_t count, float limit, float *out) {
    if (source->scales) {
        read_mxfp4(source, first, count, out);
    } else if (step == 1) {
        read_side_by_side(source->data, first, count, source->number, out);
    } else {
        read_steps(source->data, first, step, count, source->number, out);
    }
    for (int64_t i = 0; i < count && source->add != 0; i++) {
        out[i] += source->add;
    }
    return is_beyond(out, count, limit);
}
