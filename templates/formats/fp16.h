// fp16 (IEEE 754 binary16), [k][32] halves: a load of consecutive columns is what conversions to fp32 take (F16C, AVX-512, Armv8).

#ifdef FORMAT_ROW
// 65520 is the smallest number that rounds to infinity. Below 2^-14 half a unit in the last place is 2^-25.
FORMAT_ROW(FORMAT_FP16, fp16, .step = 1, .step_bytes = 64, .dtype = "F16", .torch = "value.half()", .largest = 0x1.ffdffep15,
           .relative_error = 0x1p-11, .absolute_error = 0x1p-25)
#endif

#ifdef FORMAT_CODEC
static inline double format_fp16_value(const uint8_t *panel, int64_t k, int column) {
    return (double)format_float_from_fp16(((const uint16_t *)panel)[k * PANEL_COLUMNS + column]);
}

static inline void format_fp16_pack(uint8_t *panel, const FormatRun *run) {
    for (int64_t i = 0; i < run->depth; i++) {
        uint16_t *out = (uint16_t *)panel + (run->k + i) * PANEL_COLUMNS;
        for (int c = 0; c < run->count; c++) {
            out[run->columns[c]] = format_fp16_from_float(run->values[c * run->stride + i]);
        }
    }
}

static inline void format_fp16_random(uint8_t *panel, const FormatRandom *random) {
    uint16_t *out = (uint16_t *)panel + random->k * PANEL_COLUMNS;
    for (int c = 0; c < PANEL_COLUMNS; c++) {
        out[c] = random->mask[0] >> c & 1 ? format_fp16_from_float((float)random->lines[0][c] * random->scale) : 0;
    }
}
#endif
