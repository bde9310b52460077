// fp32: [k][32] floats.

#ifdef FORMAT_ROW
FORMAT_ROW(FORMAT_FP32, fp32, .step = 1, .step_bytes = 128, .largest = 0x1.fffffep127, .dtype = "F32", .torch = "value")
#endif

#ifdef FORMAT_CODEC
static inline double format_fp32_value(const uint8_t *panel, int64_t k, int column) {
    return (double)((const float *)panel)[k * PANEL_COLUMNS + column];
}

static inline void format_fp32_pack(uint8_t *panel, const FormatRun *run) {
    for (int64_t i = 0; i < run->depth; i++) {
        float *out = (float *)panel + (run->k + i) * PANEL_COLUMNS;
        for (int c = 0; c < run->count; c++) {
            out[run->columns[c]] = run->values[c * run->stride + i];
        }
    }
}

static inline void format_fp32_random(uint8_t *panel, const FormatRandom *random) {
    float *out = (float *)panel + random->k * PANEL_COLUMNS;
    for (int c = 0; c < PANEL_COLUMNS; c++) {
        out[c] = random->mask[0] >> c & 1 ? (float)random->lines[0][c] * random->scale : 0;
    }
}
#endif
