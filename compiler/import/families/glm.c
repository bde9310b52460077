// The GLM models after GLM-4-MoE, whose router is DeepSeek-V3's.
#include "row.h"

const ImportFamily family_glm4_moe_lite = {
    .name = "GLM-4-MoE-Lite",
    .model_types = "glm4_moe_lite",
    .architectures = "Glm4MoeLiteForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(2048, 47), RMS(1e-5), OUTER, NOAUX_SCORES, DEEPSEEK_GROUPS(1, 1), TOP_K(4), NORM_TOPK(1, 1e-20), SCALE(1.8),
              EXPERTS(ROUTED_EXPERTS, 64), WIDTH("moe_intermediate_size", 1536),
              HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), FIRST_DENSE(1)},
    .types = "mlp_layer_types",
    NOAUX_TC,
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

const ImportFamily family_glm_moe_dsa = {
    .name = "GLM-MoE-DSA",
    .model_types = "glm_moe_dsa",
    .architectures = "GlmMoeDsaForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(6144, 78), RMS(1e-5), OUTER, NOAUX_SCORES, DEEPSEEK_GROUPS(1, 1), TOP_K(8), NORM_TOPK(1, 1e-20), SCALE(2.5),
              EXPERTS(ROUTED_EXPERTS, 256), WIDTH("moe_intermediate_size", 2048),
              HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), FIRST_DENSE(3), FREQUENCY},
    .types = "mlp_layer_types",
    NOAUX_TC,
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

const ImportFamily family_glm4v_moe = {
    .name = "GLM-4V-MoE",
    .model_types = "glm4v_moe glm4v_moe_text",
    .architectures = "Glm4vMoeForConditionalGeneration",
    .aliases = "num_local_experts",
    .rules = {SIZES(4096, 46), RMS(1e-5), OUTER, NOAUX_SCORES, DEEPSEEK_GROUPS(1, 1), TOP_K(8), NORM_TOPK(1, 1e-20), SCALE(1),
              EXPERTS(ROUTED_EXPERTS, 128), WIDTH("moe_intermediate_size", 1408),
              HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), FIRST_DENSE(1)},
    NOAUX_TC,
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

const ImportFamily family_glm5_next = {
    .name = "GLM-5-Next",
    .model_types = "glm5_next glm5_next_text",
    .architectures = "Glm5NextForConditionalGeneration",
    .aliases = "num_local_experts",
    .rules = {SIZES(4096, 45), NOAUX_SCORES, DEEPSEEK_GROUPS(1, 1), TOP_K(8), NORM_TOPK(1, 1e-20), SCALE(2.5),
              EXPERTS(ROUTED_EXPERTS, 288), WIDTH("moe_intermediate_size", 2048), HIDDEN_ACT,
              GLU_LIMIT(10), [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), FIRST_DENSE(3)},
    .types = "mlp_layer_types",
    .expectations = {{"hidden_act", "\"silu\""}},
    MLP,
    .tensors = {ROUTER("@gate"), SHARED("@shared_experts"), DEEPSEEK_CORRECTION},
    .remark = HYPER_CONNECTIONS,
};
