// The Granite models, and JetMoE, whose experts lie as theirs.
#include "row.h"

static const ImportLayout granite = {.tensors = {PART(TENSOR_GATE, "@input_linear.weight", ROWS_FIRST_HALF, ORDER_OUT_IN),
                                                 PART(TENSOR_UP, "@input_linear.weight", ROWS_SECOND_HALF, ORDER_OUT_IN),
                                                 PLAIN(TENSOR_DOWN, "@output_linear.weight")}};

#define GRANITE \
    SIZES(4096, 32), RMS(1e-6), OUTER, SCORE("softmax"), [SETTING_RANK] = WORD("logit"), TOP_K(2), NORMALIZED(0), \
                                                         EXPERTS(LOCAL_EXPERTS, 8), WIDTH("intermediate_size", 11008), \
                                                         HIDDEN_ACT, [SETTING_MULTIPLIER] = KEY("residual_multiplier", 1)

// The shared expert stands beside the block.
#define GRANITE_SHARED(width) [SETTING_SHARED] = FIXED(1), [SETTING_SHARED_WIDTH] = KEY("shared_intermediate_size", width)
#define SHARED_MLP \
    PART(TENSOR_SHARED_GATE, "shared_mlp.input_linear.weight", ROWS_FIRST_HALF, ORDER_OUT_IN), \
        PART(TENSOR_SHARED_UP, "shared_mlp.input_linear.weight", ROWS_SECOND_HALF, ORDER_OUT_IN), \
        PLAIN(TENSOR_SHARED_DOWN, "shared_mlp.output_linear.weight")

const ImportFamily family_granitemoe = {
    .name = "GraniteMoE",
    .model_types = "granitemoe",
    .architectures = "GraniteMoeForCausalLM",
    .rules = {GRANITE},
    .block = "block_sparse_moe.",
    .layouts = {&granite},
    .tensors = {POST_NORM, ROUTER("@router.layer")},
};

const ImportFamily family_granitemoeshared = {
    .name = "GraniteMoE with a shared expert",
    .model_types = "granitemoeshared",
    .architectures = "GraniteMoeSharedForCausalLM",
    .rules = {GRANITE, GRANITE_SHARED(0)},
    .block = "block_sparse_moe.",
    .layouts = {&granite},
    .tensors = {POST_NORM, ROUTER("@router.layer"), SHARED_MLP},
};

const ImportFamily family_granitemoehybrid = {
    .name = "GraniteMoE hybrid",
    .model_types = "granitemoehybrid",
    .architectures = "GraniteMoeHybridForCausalLM",
    .rules = {GRANITE, GRANITE_SHARED(1024)},
    .block = "block_sparse_moe.",
    .layouts = {&granite},
    .tensors = {POST_NORM, ROUTER("@router.layer"), SHARED_MLP},
};

const ImportFamily family_granitemoe_swa = {
    .name = "GraniteMoE with a sliding window",
    .model_types = "granitemoe_swa",
    .architectures = "GraniteMoeSWAForCausalLM",
    .rules = {GRANITE, GRANITE_SHARED(0)},
    .block = "block_sparse_moe.",
    .layouts = {&layout_stacked},
    .tensors = {POST_NORM, ROUTER("@router"), SHARED_MLP},
};

// rms_norm_eps is not read: it is 1e-6, whatever the configuration says. Its attention is a mixture too, which is left out.
const ImportFamily family_jetmoe = {
    .name = "JetMoE",
    .model_types = "jetmoe",
    .architectures = "JetMoeForCausalLM",
    .rules = {SIZES(2048, 12), [SETTING_NORM] = WORD("rms"), [SETTING_NORM_EPS] = FIXED(1e-6), OUTER,
              SCORE("softmax"), [SETTING_RANK] = WORD("logit"), TOP_K(2), NORMALIZED(0), EXPERTS(LOCAL_EXPERTS, 8),
              WIDTH("intermediate_size", 5632), [SETTING_ACTIVATION] = KEY_WORD("activation_function", "silu"),
              [SETTING_OUTPUT_BIAS] = FIXED(1)},
    .block = "mlp.",
    .layouts = {&granite},
    .tensors = {POST_NORM, ROUTER("@router.layer"), PLAIN(TENSOR_OUTPUT_BIAS, "@bias")},
};
