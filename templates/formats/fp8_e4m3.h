// fp8 E4M3 (OCP 8-bit Floating Point Specification 1.0, section 5: bias 7, no infinities, largest 448) with scales, as DeepSeek-V3
// and its successors ship their experts: a checkpoint has one scale for 128 x 128 elements.
//
// A group is 128 k, the last one of a panel may be shorter: fp32 [32], each column's scale times 2^8; then codes, pairs of k side
// by side, [k / 2][32][2], the even k first. As 16-bit words both codes of a pair become halves by shifts and a mask: a half of
// E4M3's sign, exponent and fraction is 2^-8 of its value, which is why scales are kept times 2^8. An element is
// (2^-8 code) * (2^8 scale), rounded to fp32 once; both factors are exact, so that it equals code * scale rounded to fp32.

#ifdef FORMAT_ROW
// Packed from values, a group's scale is its largest magnitude / 448: half a unit in the last place is 2^-4 of a value, and below
// 2^-6 / 448 of the largest magnitude 2^-10 / 448 of that. The scale's own rounding, 2^-24, is far below both. Products may be
// subnormal numbers of fp32.
FORMAT_ROW(FORMAT_FP8_E4M3, fp8_e4m3, .step = 2, .step_bytes = 64, .group = 128, .group_bytes = 128, .takes = ENCODING_FP8_E4M3,
           .largest = 0x1.fffffep127, .relative_error = 0x1.001p-4, .absolute_error = 0x1p-150,
           .absolute_error_of_group = 0x1.001p-10 / 448)
#endif

#ifdef FORMAT_CODEC
enum { FORMAT_FP8_GROUP = 128, FORMAT_FP8_STRIDE = 128 + FORMAT_FP8_GROUP * PANEL_COLUMNS };

static inline float *format_fp8_scales(uint8_t *panel, int64_t k) {
    return (float *)(panel + k / FORMAT_FP8_GROUP * FORMAT_FP8_STRIDE);
}

static inline uint8_t *format_fp8_code(uint8_t *panel, int64_t k, int column) {
    int64_t within = k % FORMAT_FP8_GROUP;
    return panel + k / FORMAT_FP8_GROUP * FORMAT_FP8_STRIDE + 128 + within / 2 * PANEL_COLUMNS * 2 + column * 2 + within % 2;
}

static inline double format_fp8_e4m3_value(const uint8_t *panel, int64_t k, int column) {
    float scale = format_fp8_scales((uint8_t *)panel, k)[column];
    return (double)(format_float_from_e4m3(*format_fp8_code((uint8_t *)panel, k, column)) * 0x1p-8f * scale);
}

// The nearest code of a number; the code of 448, or of -448, where the number is beyond it.
static inline uint8_t format_e4m3_from_float(float value) {
    uint32_t bits = format_float_bits(value), sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffffu;
    if (magnitude < 0x3c800000u) {  // below 2^-6: a multiple of 2^-9, which adding 2^14 rounds to
        return (uint8_t)(sign | (format_float_bits(format_float_from_bits(magnitude) + 0x1p14f) & 0x7f));
    }
    magnitude += 0x7ffffu + (magnitude >> 20 & 1);
    magnitude = (magnitude >> 20) - ((127 - 7) << 3);
    return (uint8_t)(sign | (magnitude < 0x7f ? magnitude : 0x7e));
}

static inline void format_fp8_take(uint8_t *panel, const FormatRun *run) {
    for (int c = 0; c < run->count; c++) {
        format_fp8_scales(panel, run->k)[run->columns[c]] = run->scales[c] * 0x1p8f;
        for (int64_t i = 0; i < run->depth; i++) {
            int filled = run->codes[c] && i < run->filled;
            *format_fp8_code(panel, run->k + i, run->columns[c]) = filled ? run->codes[c][i * run->code_step] : 0;
        }
    }
}

static inline void format_fp8_e4m3_pack(uint8_t *panel, const FormatRun *run) {
    if (run->coded) {
        format_fp8_take(panel, run);
        return;
    }
    for (int c = 0; c < run->count; c++) {
        const float *values = run->values + c * run->stride;
        float largest = 0;
        for (int64_t i = 0; i < run->depth; i++) {
            float magnitude = values[i] < 0 ? -values[i] : values[i];
            largest = magnitude > largest ? magnitude : largest;
        }
        float scale = largest / 1.75f;  // 2^8 largest / 448
        scale += scale * 1.8125f < largest ? 0x1p-149f : 0;  // rounded down to a subnormal number: codes would end too early
        format_fp8_scales(panel, run->k)[run->columns[c]] = scale;
        for (int64_t i = 0; i < run->depth; i++) {
            float code = scale > 0 ? values[i] / scale * 0x1p8f : 0;
            *format_fp8_code(panel, run->k + i, run->columns[c]) = format_e4m3_from_float(code);
        }
    }
}

static inline void format_fp8_e4m3_random(uint8_t *panel, const FormatRandom *random) {
    float *scales = format_fp8_scales(panel, random->k);
    uint8_t *out = format_fp8_code(panel, random->k, 0);
    for (int c = 0; c < PANEL_COLUMNS; c++) {
        scales[c] = random->mask[0] >> c & 1 ? random->scale * (32768 * 0x1p8f / 448) : 0;
        for (int odd = 0; odd < 2; odd++) {
            float value = (float)random->lines[odd][c] * (448.0f / 32768);
            out[2 * c + odd] = random->mask[odd] >> c & 1 ? format_e4m3_from_float(value) : 0;
        }
    }
}
#endif
