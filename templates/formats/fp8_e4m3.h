// fp8 E4M3 (OCP 8-bit Floating Point Specification 1.0, section 5: bias 7, no infinities, largest 448) with scales, as DeepSeek-V3
// and its successors ship their experts: a checkpoint has one scale for 128 x 128 elements.
//
// A group is 128 k, the last one of a panel may be shorter: fp32 [32], each column's scale times 2^120; then codes, four k of a
// column side by side, [k / 4][32][4]. Four codes are a 32-bit word. Shifts and a mask bring a code's sign, exponent and fraction
// to the places of an fp32 number, which is then 2^-120 of the code: that is why scales are kept times 2^120. An element is
// (2^-120 code) * (2^120 scale), rounded to fp32 once; both factors are exact, so it equals code * scale rounded to fp32. Scales
// of 256 and more would become infinite and are refused.

// k that share a scale. A macro, for this file is included several times, and both sections need it.
#define FORMAT_FP8_GROUP 128

#ifdef FORMAT_ROW
// Packed from values, a group's scale is its largest magnitude / 448: half a unit in the last place is 2^-4 of a value, and below
// 2^-6 / 448 of the largest magnitude 2^-10 / 448 of that. The scale's own rounding, 2^-24, is far below both. Products may be
// subnormal numbers of fp32. The largest magnitude is just below 448 * 256.
FORMAT_ROW(FORMAT_FP8_E4M3, fp8_e4m3, .step = 4, .step_bytes = 128, .group = FORMAT_FP8_GROUP, .group_bytes = 128, .revision = 1,
           .takes = ENCODING_FP8_E4M3, .dtype = "F8_E4M3", .largest = 0x1.bffffep16, .relative_error = 0x1.001p-4,
           .absolute_error = 0x1p-150, .absolute_error_of_group = 0x1.001p-10 / 448,
           .torch =
               "torch.cat([(group / scale).to(torch.float8_e4m3fn).float() * scale for group in value.split(128, -1)"
               " for scale in [group.abs().amax(-1, True) / 448 + 1e-45]], -1)")
#endif

#ifdef FORMAT_CODEC
enum { FORMAT_FP8_SCALES = PANEL_COLUMNS * 4, FORMAT_FP8_STRIDE = FORMAT_FP8_SCALES + FORMAT_FP8_GROUP * PANEL_COLUMNS };

static inline float *format_fp8_scales(uint8_t *panel, int64_t k) {
    return (float *)(panel + k / FORMAT_FP8_GROUP * FORMAT_FP8_STRIDE);
}

static inline uint8_t *format_fp8_code(uint8_t *panel, int64_t k, int column) {
    uint8_t *codes = panel + k / FORMAT_FP8_GROUP * FORMAT_FP8_STRIDE + FORMAT_FP8_SCALES;
    int64_t within = k % FORMAT_FP8_GROUP;
    return codes + within / 4 * PANEL_COLUMNS * 4 + column * 4 + within % 4;
}

static inline double format_fp8_e4m3_value(const uint8_t *panel, int64_t k, int column) {
    float scale = format_fp8_scales((uint8_t *)panel, k)[column];
    return (double)(format_float_from_e4m3(*format_fp8_code((uint8_t *)panel, k, column)) * 0x1p-120f * scale);
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
        format_fp8_scales(panel, run->k)[run->columns[c]] = run->scales[c] * 0x1p120f;
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
        float scale = largest * 0x1p64f / 448 * 0x1p56f;  // in two steps, which neither overflow nor underflow
        format_fp8_scales(panel, run->k)[run->columns[c]] = scale;
        for (int64_t i = 0; i < run->depth; i++) {
            float code = scale > 0 ? values[i] * 0x1p64f / (scale * 0x1p-56f) : 0;
            *format_fp8_code(panel, run->k + i, run->columns[c]) = format_e4m3_from_float(code);
        }
    }
}

static inline void format_fp8_e4m3_random(uint8_t *panel, const FormatRandom *random) {
    float *scales = format_fp8_scales(panel, random->k);
    uint8_t *out = format_fp8_code(panel, random->k, 0);
    for (int c = 0; c < PANEL_COLUMNS; c++) {
        scales[c] = random->mask[0] >> c & 1 ? random->scale * (32768.0f / 448) * 0x1p120f : 0;
        for (int i = 0; i < 4; i++) {
            float value = (float)random->lines[i][c] * (448.0f / 32768);
            out[4 * c + i] = random->mask[i] >> c & 1 ? format_e4m3_from_float(value) : 0;
        }
    }
}
#endif
