// AVX-512 as in x86-64-v4 (Skylake-SP, Zen 4 and later): 32 registers of 16 floats.
#include "target.h"

const Target target_avx512 = {
    .name = "avx512",
    .architecture = "x86_64",
    .triple = "x86_64-unknown-linux-gnu",
    .features = "+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl,+avx2,+fma,+bmi,+bmi2",
    .vector_width = "512",
    .requires = "avx512f avx512bw avx512cd avx512dq avx512vl avx2 fma bmi bmi2",
    .lanes = 16,
    .fused = true,
    .tiles =
        {
            [PATH_FP32_FMA] =
                {.max_rows = 14, .wide_rows = 6, .tile_columns = 32, .unroll = 4, .prefetch = 2048, .prefetch_hint = 3},
            [PATH_BF16_WIDENED] =
                {.max_rows = 14, .wide_rows = 6, .tile_columns = 32, .unroll = 2, .prefetch = 2048, .prefetch_hint = 3},
            [PATH_BF16_DOT] =
                {.max_rows = 14, .wide_rows = 6, .tile_columns = 32, .unroll = 2, .prefetch = 2048, .prefetch_hint = 3},
            [PATH_BF16_AMX] =
                {.max_rows = 32, .wide_rows = 16, .tile_columns = 32, .unroll = 1, .prefetch = 4096, .prefetch_hint = 2},
        },
    .needs =
        {
            [PATH_BF16_DOT] = {.features = "+avx512bf16",
                               .requires = "avx512bf16",
                               .intrinsic = "llvm.x86.avx512bf16.dpbf16ps.512"},
            [PATH_BF16_AMX] = {.features = "+amx-tile,+amx-bf16", .requires = "amx_tile amx_bf16"},
        },
};
