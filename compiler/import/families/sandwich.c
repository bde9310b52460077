// Models with a norm behind the block: beside the norm before it, or instead of that.
#include <math.h>

#include "row.h"

const ImportFamily family_afmoe = {
    .name = "AFMoE",
    .model_types = "afmoe",
    .architectures = "AfmoeForCausalLM",
    .rules = {SIZES(2048, 32), RMS(1e-5), RMS_AFTER(1e-5), OUTER, NOAUX_SCORES, TOP_K(6),
              NORMALIZED(1e-20), [SETTING_SCALE] = KEY("route_scale", 1), EXPERTS(QWEN_EXPERTS, 64),
              WIDTH("moe_intermediate_size", 1408),
              HIDDEN_ACT, [SETTING_SHARED] = KEY("num_shared_experts", 2), [SETTING_FIRST] = KEY("num_dense_layers", 1)},
    MLP,
    .tensors = {NORM("pre_mlp_layernorm"), NORM_AFTER("post_mlp_layernorm"), ROUTER("@router.gate"), CORRECTION("@expert_bias"),
                SHARED("@shared_experts")},
};

const ImportFamily family_kolibri1 = {
    .name = "Kolibri-1",
    .model_types = "kolibri1",
    .architectures = "Kolibri1ForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(2560, 50), RMS(1e-6), RMS_AFTER(1e-6), OUTER, NOAUX_SCORES, [SETTING_RANK] = WORD("logit"), TOP_K(6),
              NORM_TOPK(0, 0), EXPERTS(QWEN_EXPERTS, 384), WIDTH("moe_intermediate_size", 512),
              HIDDEN_ACT, [SETTING_SHARED] = FIXED(1), [SETTING_SHARED_WIDTH] = KEY("shared_expert_intermediate_size", 512)},
    MLP,
    .tensors = {POST_NORM, NORM_AFTER("post_ffn_norm"), ROUTER("@gate"), CORRECTION("moe.router.expert_bias"),
                SHARED("@shared_experts")},
};

const ImportFamily family_flex_olmo = {
    .name = "FlexOlmo",
    .model_types = "flex_olmo",
    .architectures = "FlexOlmoForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(4096, 32), RMS_AFTER(1e-6), OUTER, SCORE("softmax"), TOP_K(5), NORM_TOPK(0, 0), EXPERTS(QWEN_EXPERTS, 7),
              WIDTH("intermediate_size", 11008), HIDDEN_ACT},
    MLP,
    .tensors = {NORM_AFTER("post_feedforward_layernorm"), ROUTER("@gate")},
};

// The sum over all depths stays of order 1: the layer's input and the norm of its result are weighted by its number among the
// model's additions, of which a layer has two.
static double beam_addition(int64_t layer) {
    return 2.0 * (double)(layer + 1) + 1;
}

static double beam_alpha(int64_t layer) {
    return sqrt((beam_addition(layer) - 1) / beam_addition(layer));
}

static double beam_multiplier(int64_t layer) {
    return 1 / sqrt(beam_addition(layer));
}

static bool adjust_beam(const ImportConfig *config, ImportValue *values) {
    (void)config;
    import_value_follow(&values[SETTING_OUTER_ALPHA], beam_alpha);
    import_value_follow(&values[SETTING_MULTIPLIER], beam_multiplier);
    return true;
}

const ImportFamily family_beam = {
    .name = "Beam",
    .model_types = "beam",
    .architectures = "BeamForCausalLM",
    .rules = {SIZES(5120, 52), RMS(1e-6), RMS_AFTER(1e-6), OUTER, NOAUX_SCORES, DEEPSEEK_GROUPS(8, 4), TOP_K(8),
              NORM_TOPK(1, 1e-20), SCALE(2.5), EXPERTS(QWEN_EXPERTS, 256), WIDTH("moe_intermediate_size", 2560),
              HIDDEN_ACT, [SETTING_FIRST] = FIXED(3)},
    .types = "mlp_layer_types",
    MLP,
    .tensors = {NORM("pre_feedforward_layernorm"), NORM_AFTER("post_feedforward_layernorm"), ROUTER("@gate"), DEEPSEEK_CORRECTION},
    .adjust = adjust_beam,
};
