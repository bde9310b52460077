// Numbers of source tensors: single conversions, and runs of elements at any stride converted to fp32.
//
// MXFP4: OCP Microscaling Formats 1.0, sections 5.3.3 (E2M1), 5.4.1 (E8M0) and 6.2; 16 bytes hold 32 elements, the even one in the
// low half of its byte, as transformers' integrations/mxfp4.py reads gpt-oss's checkpoints.
#include <string.h>

#include "packed.h"
#include "templates/formats.h"

enum { BYTES_PER_BLOCK = PACKED_MXFP4_BLOCK / 2 };

static const float fp4_values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                     -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

uint16_t packed_bf16_from_float(float value) {
    return format_bf16_from_float(value);
}

float packed_float_from_bf16(uint16_t bits) {
    return format_float_from_bits((uint32_t)bits << 16);
}

float packed_float_from_e8m0(uint8_t bits) {
    return format_float_from_bits(bits == 255 ? 0x7fc00000u : bits ? (uint32_t)bits << 23 : 0x00400000u);
}

float packed_number_get(const void *source, int64_t index, Number number) {
    const uint8_t *bytes = (const uint8_t *)source + index * number_bytes(number);
    float value;
    uint16_t bits;
    switch (number) {
    case NUMBER_FP32: memcpy(&value, bytes, sizeof value); return value;
    case NUMBER_BF16: memcpy(&bits, bytes, sizeof bits); return packed_float_from_bf16(bits);
    case NUMBER_FP16: memcpy(&bits, bytes, sizeof bits); return format_float_from_fp16(bits);
    case NUMBER_E4M3: return format_float_from_e4m3(*bytes);
    case NUMBER_E8M0: return packed_float_from_e8m0(*bytes);
    }
    return 0;
}

// --- sources -----------------------------------------------------------------------------------------------------------------

static int64_t index_of(const PackedSource *source, int64_t row, int64_t column) {
    return source->first + row * source->row_step + column * source->column_step;
}

float packed_source_scale(const PackedSource *source, int64_t row, int64_t column) {
    if (source->encoding != ENCODING_FP8_E4M3 || !source->scales) {
        return 1;
    }
    int64_t block_row = (source->scale_row + row * source->scale_every) / PACKED_FP8_BLOCK;
    int64_t index =
        source->scale_first + block_row * source->scale_row_step + column / PACKED_FP8_BLOCK * source->scale_column_step;
    return packed_number_get(source->scales, index, source->scale_number);
}

float packed_source_get(const PackedSource *source, int64_t row, int64_t column) {
    int64_t index = index_of(source, row, column);
    float value;
    if (source->encoding == ENCODING_MXFP4) {
        int code = ((const uint8_t *)source->data)[index / 2] >> index % 2 * 4 & 15;
        value = fp4_values[code] * packed_float_from_e8m0(source->scales[index / PACKED_MXFP4_BLOCK]);
    } else {
        value = packed_number_get(source->data, index, source->number) * packed_source_scale(source, row, column);
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
    case NUMBER_E4M3: read_run(data, first, 1, count, NUMBER_E4M3, out); return;
    case NUMBER_E8M0: break;
    }
}

static void read_steps(const void *data, int64_t first, int64_t step, int64_t count, Number number, float *out) {
    switch (number) {
    case NUMBER_FP32: read_run(data, first, step, count, NUMBER_FP32, out); return;
    case NUMBER_BF16: read_run(data, first, step, count, NUMBER_BF16, out); return;
    case NUMBER_FP16: read_run(data, first, step, count, NUMBER_FP16, out); return;
    case NUMBER_E4M3: read_run(data, first, step, count, NUMBER_E4M3, out); return;
    case NUMBER_E8M0: break;
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

// Consecutive columns of a row have one scale up to the next block.
static void apply_scales(const PackedSource *source, int64_t row, int64_t column, bool rows, int64_t count, float *out) {
    for (int64_t i = 0, end; i < count; i = end) {
        int64_t left = rows ? 1 : PACKED_FP8_BLOCK - (column + i) % PACKED_FP8_BLOCK;
        float scale = packed_source_scale(source, rows ? row + i : row, rows ? column : column + i);
        end = left < count - i ? i + left : count;
        for (int64_t j = i; j < end; j++) {
            out[j] *= scale;
        }
    }
}

bool packed_source_read(const PackedSource *source, int64_t row, int64_t column, bool rows, int64_t count, float limit,
                        float *out) {
    int64_t first = index_of(source, row, column), step = rows ? source->row_step : source->column_step;
    if (source->encoding == ENCODING_MXFP4) {
        read_mxfp4(source, first, count, out);
    } else if (step == 1) {
        read_side_by_side(source->data, first, count, source->number, out);
    } else {
        read_steps(source->data, first, step, count, source->number, out);
    }
    if (source->encoding == ENCODING_FP8_E4M3 && source->scales) {
        apply_scales(source, row, column, rows, count, out);
    }
    for (int64_t i = 0; i < count && source->add != 0; i++) {
        out[i] += source->add;
    }
    return is_beyond(out, count, limit);
}
