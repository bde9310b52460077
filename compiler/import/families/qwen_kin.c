// Models of others that resemble Qwen's: a shared expert without a gate, or none.
#include "row.h"

#define SHARED_UNGATED(width) [SETTING_SHARED] = FIXED(1), [SETTING_SHARED_WIDTH] = KEY("shared_expert_intermediate_size", width)

// The first two layers are dense unless the configuration lists others.
static bool adjust_flint(const ImportConfig *config, ImportValue *values) {
    if (!json_is_array(import_config_get(config, "mlp_only_layers", NULL))) {
        import_value_set(&values[SETTING_FIRST], 2);
    }
    return true;
}

const ImportFamily family_flint = {
    .name = "Flint",
    .model_types = "flint",
    .architectures = "FlintForCausalLM",
    .rules = {SIZES(2048, 49), RMS(1e-6), OUTER, SCORE("sigmoid"), TOP_K(6), NORM_TOPK(1, 0), EXPERTS(QWEN_EXPERTS, 256),
              WIDTH("moe_intermediate_size", 512), HIDDEN_ACT, SHARED_UNGATED(1024), SPARSE_STEP},
    .exclude = "mlp_only_layers",
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate"), SHARED("@shared_expert")},
    .adjust = adjust_flint,
};

const ImportFamily family_lara_mini = {
    .name = "Lara-mini",
    .model_types = "lara_mini",
    .architectures = "LaraMiniForCausalLM",
    .rules = {SIZES(1024, 34), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(4), NORM_TOPK(1, 0), EXPERTS(QWEN_EXPERTS, 128),
              WIDTH("moe_intermediate_size", 512), HIDDEN_ACT, SHARED_UNGATED(512)},
    .block = "mlp.",
    .layouts = {&layout_stacked, &layout_projections},
    .tensors = {POST_NORM, ROUTER("@gate"), SHARED("@shared_expert")},
};

const ImportFamily family_laguna = {
    .name = "Laguna",
    .model_types = "laguna",
    .architectures = "LagunaForCausalLM",
    .rules = {SIZES(2048, 40), RMS(1e-6), OUTER,
              SCORE("sigmoid"), [SETTING_SOFTCAP] = KEY("moe_router_logit_softcapping", 0), [SETTING_CORRECTION] = FIXED(1),
              TOP_K(8), NORMALIZED(0), [SETTING_SCALE] = KEY("moe_routed_scaling_factor", 1), EXPERTS(QWEN_EXPERTS, 256),
              WIDTH("moe_intermediate_size", 512), HIDDEN_ACT, SHARED_UNGATED(512), [SETTING_FIRST] = FIXED(1)},
    .types = "mlp_layer_types",
    .expectations = {{"moe_apply_router_weight_on_input", "false"}},
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate"), CORRECTION("@experts.e_score_correction_bias"), SHARED("@shared_expert")},
};

const ImportFamily family_mellum = {
    .name = "Mellum",
    .model_types = "mellum",
    .architectures = "MellumForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(2304, 28), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(8), NORM_TOPK(1, 0), EXPERTS(LOCAL_EXPERTS, 64),
              WIDTH("moe_intermediate_size", 896), HIDDEN_ACT},
    .types = "mlp_layer_types",
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate")},
};
