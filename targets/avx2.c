// AVX2 with FMA as in x86-64-v3 (Haswell, Zen and later): 16 registers of 8 floats.
#include "target.h"

const Target target_avx2 = {
    .name = "avx2",
    .architecture = "x86_64",
    .triple = "x86_64-unknown-linux-gnu",
    .features = "+avx2,+fma,+bmi,+bmi2",
    .vector_width = "256",
    .requires = "avx2 fma bmi bmi2",
    .lanes = 8,
    .fused = true,
    .tiles =
        {
            [PATH_FP32_FMA] = {.max_rows = 6,
                               .wide_rows = 1,
                               .tile_columns = 16,
                               .unroll = 4,
                               .prefetch = 2048,
                               .prefetch_far = 4096,
                               .prefetch_hint = 3},
            [PATH_BF16_WIDENED] = {.max_rows = 6,
                                   .wide_rows = 1,
                                   .tile_columns = 16,
                                   .unroll = 2,
                                   .prefetch = 2048,
                                   .prefetch_far = 4096,
                                   .prefetch_hint = 3},
        },
};
