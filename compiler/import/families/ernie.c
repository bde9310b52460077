// ERNIE 4.5, of text alone and of text and images.
#include "row.h"

// -1 stands for the last layer.
static bool adjust_ernie(const ImportConfig *config, ImportValue *values) {
    (void)config;
    if (values[SETTING_LAST].number < 0) {
        values[SETTING_LAST].source = SOURCE_NONE;
    }
    return true;
}

#define ERNIE(key) \
    SIZES(2560, 28), RMS(1e-5), OUTER, SCORE("softmax"), \
        [SETTING_CORRECTION] = FIXED(1), [SETTING_K] = KEY("moe_k num_experts_per_tok", 6), [SETTING_NORMALIZE] = FIXED(1), \
        [SETTING_NORMALIZE_EPS] = KEY("moe_norm_min", 1e-12), [SETTING_NORMALIZE_CLAMP] = FIXED(1), \
        [SETTING_EXPERTS] = key("moe_num_experts num_experts", 64), [SETTING_INTERMEDIATE] = key("moe_intermediate_size", 1536), \
        HIDDEN_ACT, [SETTING_SHARED] = KEY("moe_num_shared_experts", 2), [SETTING_SHARED_BIAS] = KEY("use_bias", 0), \
        [SETTING_FIRST] = key("moe_layer_start_index", 1), [SETTING_LAST] = key("moe_layer_end_index", -1), \
        [SETTING_STEP] = KEY("moe_layer_interval", 1)
#define ERNIE_SHARED \
    SHARED("@shared_experts"), PLAIN(TENSOR_SHARED_GATE_BIAS, "@shared_experts.gate_proj.bias"), \
        PLAIN(TENSOR_SHARED_UP_BIAS, "@shared_experts.up_proj.bias"), \
        PLAIN(TENSOR_SHARED_DOWN_BIAS, "@shared_experts.down_proj.bias")

const ImportFamily family_ernie4_5_moe = {
    .name = "ERNIE-4.5-MoE",
    .model_types = "ernie4_5_moe",
    .architectures = "Ernie4_5_MoeForCausalLM Ernie4_5_MoEForCausalLM",
    .aliases = "num_experts num_experts_per_tok",
    .rules = {ERNIE(KEY)},
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate"), CORRECTION("@moe_statics.e_score_correction_bias"), ERNIE_SHARED},
    .adjust = adjust_ernie,
};

// Experts of text come before those of images, which have a router of their own. A list's first number is that of text.
const ImportFamily family_ernie4_5_vl_moe = {
    .name = "ERNIE-4.5-VL-MoE",
    .model_types = "ernie4_5_vl_moe ernie4_5_vl_moe_text ernie4_5_moe_vl",
    .architectures = "Ernie4_5_VLMoeForConditionalGeneration Ernie4_5_VL_MoeForConditionalGeneration",
    .aliases = "num_experts num_experts_per_tok",
    .rules = {ERNIE(KEY_FIRST)},
    .types = "mlp_layer_types",
    .nested_prefix = "model.",
    MLP,
    .tensors = {POST_NORM, PART(TENSOR_ROUTER, "@gate.weight", ROWS_ALL, ORDER_IN_OUT),
                PART(TENSOR_CORRECTION, "@moe_statics.e_score_correction_bias", ROWS_FIRST_HALF, ORDER_OUT_IN), ERNIE_SHARED},
    .adjust = adjust_ernie,
    .remark = "the experts of text are compiled; those of images, which such tokens choose by a router of their own, are left out",
};
