// bf16, the upper half of an fp32: pairs of k side by side, [k / 2][32][2], the even k first. One 64-byte load is 16 columns of two
// k: a shift gives the even one, a mask the odd one, and dot-product instructions take it as it is.

#ifdef FORMAT_ROW
// Half a unit in the last of 8 bits; of subnormal numbers, below 2^-126, it is 2^-134.
FORMAT_ROW(FORMAT_BF16, bf16, .step = 2, .step_bytes = 128, .dtype = "BF16", .torch = "value.bfloat16()", .largest = 0x1.fefffep127,
           .relative_error = 0x1p-8, .absolute_error = 0x1p-134)
#endif

#ifdef FORMAT_CODEC
static inline int64_t format_bf16_place(int64_t k, int column) {
    return k / 2 * PANEL_COLUMNS * 2 + column * 2 + k % 2;
}

static inline double format_bf16_value(const uint8_t *panel, int64_t k, int column) {
    return (double)format_float_from_bits((uint32_t)((const uint16_t *)panel)[format_bf16_place(k, column)] << 16);
}

static inline void format_bf16_pack(uint8_t *panel, const FormatRun *run) {
    for (int64_t i = 0; i < run->depth; i++) {
        uint16_t *out = (uint16_t *)panel + format_bf16_place(run->k + i, 0);
        for (int c = 0; c < run->count; c++) {
            out[run->columns[c] * 2] = format_bf16_from_float(run->values[c * run->stride + i]);
        }
    }
}

static inline void format_bf16_random(uint8_t *panel, const FormatRandom *random) {
    uint16_t *out = (uint16_t *)panel + format_bf16_place(random->k, 0);
    for (int c = 0; c < PANEL_COLUMNS; c++) {
        for (int odd = 0; odd < 2; odd++) {
            uint32_t bits = format_float_bits((float)random->lines[odd][c] * random->scale);
            out[2 * c + odd] = (uint16_t)((random->mask[odd] >> c & 1 ? bits + 0x8000 : 0) >> 16);
        }
    }
}
#endif
