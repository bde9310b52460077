// DeepSeek, and models whose routers descend from it: groups, sigmoid scores with a correction, scaled weights.
#include "row.h"

const ImportFamily family_deepseek_v2 = {
    .name = "DeepSeek-V2",
    .model_types = "deepseek_v2",
    .architectures = "DeepseekV2ForCausalLM",
    .aliases = "num_experts",
    .rules =
        {SIZES(4096, 32), RMS(1e-6), OUTER, SCORE("softmax"), [SETTING_K] = REQUIRED("num_experts_per_tok"),
         EXPERTS(ROUTED_EXPERTS, 64), WIDTH("moe_intermediate_size", 1407),
         HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 2),
         SCALE(1), [SETTING_METHOD] = KEY_WORD("topk_method", "greedy"), [SETTING_GROUPS] = OPTIONAL("n_group"),
         [SETTING_TOP_GROUPS] = OPTIONAL("topk_group"), [SETTING_GROUP_SCORE] = WORD("max"), [SETTING_GROUP_MASK] = WORD("zero"),
         FIRST_DENSE(0), FREQUENCY},
    // DeepSeek's code normalises where norm_topk_prob says so, transformers' does not: no released model has it.
    .expectations = {{"scoring_func", "\"softmax\""}, {"norm_topk_prob", "false"}, {"inner_iter", "1"}},
    MLP,
    .tensors = {DEEPSEEK_TENSORS},
};

const ImportFamily family_deepseek_v3 = {
    .name = "DeepSeek-V3",
    .model_types = "deepseek_v3 deepseek_v32 kimi_k2",  // V3.2 is another attention
    .architectures = "DeepseekV3ForCausalLM DeepseekV32ForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(7168, 61), RMS(1e-6), OUTER, SCORE("sigmoid"), [SETTING_CORRECTION] = FIXED(1), DEEPSEEK_GROUPS(8, 4), TOP_K(8),
              NORM_TOPK(1, 1e-20), SCALE(2.5), EXPERTS(ROUTED_EXPERTS, 256), WIDTH("moe_intermediate_size", 2048),
              HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), FIRST_DENSE(3), FREQUENCY},
    .types = "mlp_layer_types",  // of V3.2
    NOAUX_TC,
    .nested_prefix = "language_model.model.",
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

const ImportFamily family_glm4_moe = {
    .name = "GLM-4-MoE",
    .model_types = "glm4_moe",
    .architectures = "Glm4MoeForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(4096, 46), RMS(1e-5), OUTER, SCORE("sigmoid"), [SETTING_CORRECTION] = FIXED(1), DEEPSEEK_GROUPS(1, 1), TOP_K(8),
              NORM_TOPK(1, 1e-20), SCALE(1), EXPERTS(ROUTED_EXPERTS, 128), WIDTH("moe_intermediate_size", 1408),
              HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), FIRST_DENSE(1)},
    NOAUX_TC,
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

const ImportFamily family_dots1 = {
    .name = "dots.llm1",
    .model_types = "dots1",
    .architectures = "Dots1ForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(4608, 62), RMS(1e-6), OUTER, SCORE("sigmoid"), [SETTING_CORRECTION] = FIXED(1),
              DEEPSEEK_GROUPS(1, 1), [SETTING_K] = REQUIRED("num_experts_per_tok"), NORM_TOPK(0, 1e-20),
              SCALE(1), [SETTING_EXPERTS] = REQUIRED(ROUTED_EXPERTS), WIDTH("moe_intermediate_size", 1408),
              HIDDEN_ACT, [SETTING_SHARED] = REQUIRED("n_shared_experts"), FIRST_DENSE(0)},
    // scoring_func is not asked: the code computes a sigmoid whatever the word.
    .expectations = {{"topk_method", "\"noaux_tc\""}},
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

const ImportFamily family_lfm2_moe = {
    .name = "LFM2-MoE",
    .model_types = "lfm2_moe",
    .architectures = "Lfm2MoeForCausalLM",
    .rules =
        {SIZES(2048, 32), NORM_KIND("rms", "norm_eps", 1e-5), OUTER,
         SCORE("sigmoid"), [SETTING_CORRECTION] = KEY("use_expert_bias", 1), TOP_K(4), NORM_TOPK(1, 1e-6), SCALE(1),
         EXPERTS(QWEN_EXPERTS, 32),
         WIDTH("moe_intermediate_size", 1792), [SETTING_ACTIVATION] = WORD("silu"), [SETTING_FIRST] = KEY("num_dense_layers", 2)},
    .block = "feed_forward.",
    .layouts = {&layout_numbered},
    .tensors = {NORM("ffn_norm"), ROUTER("@gate"), CORRECTION("@expert_bias")},
};

// Text models of optical character recognition.
#define OCR_ROUTER \
    SCORE("softmax"), SCALE(1), EXPERTS(ROUTED_EXPERTS, 64), \
        HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 2), [SETTING_METHOD] = KEY_WORD("topk_method", "greedy"), \
                    [SETTING_GROUPS] = OPTIONAL("n_group"), [SETTING_TOP_GROUPS] = OPTIONAL("topk_group"), \
                    [SETTING_GROUP_SCORE] = WORD("max"), [SETTING_GROUP_MASK] = WORD("zero")

const ImportFamily family_deepseek_ocr2 = {
    .name = "DeepSeek-OCR 2",
    .model_types = "deepseek_ocr2 deepseek_ocr2_text",
    .architectures = "DeepseekOcr2ForConditionalGeneration",
    .aliases = "num_experts",
    .rules = {SIZES(4096, 32), RMS(1e-6), OUTER, OCR_ROUTER, [SETTING_K] = REQUIRED("num_experts_per_tok"),
              WIDTH("moe_intermediate_size", 1407), FIRST_DENSE(0)},
    .types = "mlp_layer_types",
    .expectations = {{"norm_topk_prob", "false"}},
    .nested_prefix = "model.",
    MLP,
    .tensors = {DEEPSEEK_TENSORS},
};

const ImportFamily family_unlimited_ocr = {
    .name = "Unlimited-OCR",
    .model_types = "unlimited_ocr unlimited_ocr_text",
    .architectures = "UnlimitedOcrForConditionalGeneration",
    .aliases = "num_experts",
    .rules = {SIZES(1280, 12), RMS(1e-6), OUTER, OCR_ROUTER, TOP_K(6), WIDTH("moe_intermediate_size", 896), FIRST_DENSE(1)},
    .types = "mlp_layer_types",
    .expectations = {{"norm_topk_prob", "false"}},
    .nested_prefix = "model.",
    MLP,
    .tensors = {DEEPSEEK_TENSORS},
};

const ImportFamily family_deepseek_v4 = {
    .name = "DeepSeek-V4",
    .model_types = "deepseek_v4",
    .architectures = "DeepseekV4ForCausalLM",
    .aliases = "num_local_experts intermediate_size",
    .rules = {SIZES(4096, 43), SCORE("sqrtsoftplus"), [SETTING_CORRECTION] = FIXED(1), TOP_K(6), NORMALIZED(1e-20), SCALE(1.5),
              EXPERTS(ROUTED_EXPERTS, 256), WIDTH("moe_intermediate_size intermediate_size", 2048), HIDDEN_ACT,
              GLU_LIMIT(10), [SETTING_SHARED] = FIXED(1), [SETTING_BY_TABLE] = KEY("num_hash_layers", 3)},
    .types = "mlp_layer_types",
    .expectations = {{"scoring_func", "\"sqrtsoftplus\""}, {"n_shared_experts", "1"}, {"mlp_bias", "false"}},
    .prefix = "",
    .block = "ffn.",
    .layouts = {&layout_numbered},
    .tensors = {ROUTER("@gate"), CORRECTION("@gate.bias"), SHARED_NUMBERED},
    .remark = HYPER_CONNECTIONS,
};
