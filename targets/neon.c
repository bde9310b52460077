// Armv8-A with Advanced SIMD: 32 registers of 4 floats. bfdot is optional (Armv8.6-A BF16).
#include "target.h"

const Target target_neon = {
    .name = "neon",
    .architecture = "aarch64",
    .triple = "aarch64-unknown-linux-gnu",
    .features = "+neon,+fp-armv8",
    .requires = "neon",
    .lanes = 4,
    .registers = 32,
    .register_class = 'w',
    .halves = true,
    .fused = true,
    .usual = {.max_rows = 5, .wide_rows = 1, .tile_columns = 16, .unroll = 4, .prefetch = 1024, .prefetch_hint = 3},
    .tiles =
        {
            [PATH_FP32_FMA] =
                {.max_rows = 6, .wide_rows = 1, .tile_columns = 16, .unroll = 4, .prefetch = 1024, .prefetch_hint = 3},
            [PATH_BF16_WIDENED] =
                {.max_rows = 5, .wide_rows = 1, .tile_columns = 16, .unroll = 2, .prefetch = 1024, .prefetch_hint = 3},
            [PATH_BF16_DOT] =
                {.max_rows = 5, .wide_rows = 1, .tile_columns = 16, .unroll = 2, .prefetch = 1024, .prefetch_hint = 3},
        },
    .needs = {[PATH_BF16_DOT] = {.features = "+bf16", .requires = "bf16", .intrinsic = "llvm.aarch64.neon.bfdot.v4f32.v8bf16"}},
};
