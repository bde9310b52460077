// Plain 4-wide vectors on any CPU of the architecture that catena runs on; multiply, round, add where fused multiply-add is
// missing.
#include "target.h"

const Target target_generic = {
    .name = "generic",
#ifdef __aarch64__
    .architecture = "aarch64",
    .triple = "aarch64-unknown-linux-gnu",
    .features = "+neon,+fp-armv8",
    .requires = "neon",
    .registers = 32,
    .register_class = 'w',
#else
    .architecture = "x86_64",
    .triple = "x86_64-unknown-linux-gnu",
    .features = "+sse2",
    .requires = "sse2",
    .registers = 16,
    .register_class = 'v',
#endif
    .lanes = 4,
    .fused = false,
    .usual = {.max_rows = 3, .wide_rows = 1, .tile_columns = 16, .unroll = 2, .prefetch = 1024, .prefetch_hint = 3},
    .tiles =
        {
            [PATH_FP32_FMA] =
                {.max_rows = 3, .wide_rows = 1, .tile_columns = 16, .unroll = 2, .prefetch = 1024, .prefetch_hint = 3},
            [PATH_BF16_WIDENED] =
                {.max_rows = 3, .wide_rows = 1, .tile_columns = 16, .unroll = 1, .prefetch = 1024, .prefetch_hint = 3},
        },
};
