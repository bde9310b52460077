// OLMoE and the Qwen models: softmax routers, shared experts with a gate.
#include "row.h"

#define SHARED_EXPERT(width) \
    [SETTING_SHARED] = FIXED(1), [SETTING_SHARED_WIDTH] = KEY("shared_expert_intermediate_size", width), \
    [SETTING_SHARED_GATED] = FIXED(1)
#define SHARED_WITH_GATE SHARED("@shared_expert"), PLAIN(TENSOR_SHARED_EXPERT_GATE, "@shared_expert_gate.weight")

const ImportFamily family_olmoe = {
    .name = "OLMoE",
    .model_types = "olmoe",
    .architectures = "OlmoeForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(2048, 16), RMS(1e-5), OUTER, SCORE("softmax"), TOP_K(8), NORM_TOPK(0, 0), EXPERTS(QWEN_EXPERTS, 64),
              WIDTH("intermediate_size", 2048), HIDDEN_ACT},
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate")},
};

const ImportFamily family_qwen2_moe = {
    .name = "Qwen2-MoE",
    .model_types = "qwen2_moe",
    .architectures = "Qwen2MoeForCausalLM",
    .rules = {SIZES(2048, 24), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(4), NORM_TOPK(0, 0), EXPERTS(QWEN_EXPERTS, 60),
              WIDTH("moe_intermediate_size", 1408), HIDDEN_ACT, SHARED_EXPERT(5632), SPARSE_STEP},
    .exclude = "mlp_only_layers",
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate"), SHARED_WITH_GATE},
};

const ImportFamily family_qwen3_moe = {
    .name = "Qwen3-MoE",
    .model_types = "qwen3_moe",
    .architectures = "Qwen3MoeForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(2048, 24), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(8), NORM_TOPK(0, 0), EXPERTS(QWEN_EXPERTS, 128),
              WIDTH("moe_intermediate_size", 768), HIDDEN_ACT, SPARSE_STEP},
    .exclude = "mlp_only_layers",
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate")},
};

const ImportFamily family_qwen3_vl_moe = {
    .name = "Qwen3-VL-MoE",
    .model_types = "qwen3_vl_moe qwen3_vl_moe_text",
    .architectures = "Qwen3VLMoeForConditionalGeneration",
    .aliases = "num_local_experts",
    .rules = {SIZES(2048, 24), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(4), NORMALIZED(0), EXPERTS(QWEN_EXPERTS, 60),
              WIDTH("moe_intermediate_size", 1408), HIDDEN_ACT, SPARSE_STEP},
    .exclude = "mlp_only_layers",
    .block = "mlp.",
    .layouts = {&layout_stacked_in_out, &layout_stacked, &layout_projections},
    .tensors = {POST_NORM, ROUTER("@gate")},
};

const ImportFamily family_qwen3_next = {
    .name = "Qwen3-Next",
    .model_types = "qwen3_next",
    .architectures = "Qwen3NextForCausalLM",
    .rules = {SIZES(2048, 48), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(10), NORM_TOPK(1, 0), EXPERTS(QWEN_EXPERTS, 512),
              WIDTH("moe_intermediate_size", 512), HIDDEN_ACT, SHARED_EXPERT(512), SPARSE_STEP},
    .exclude = "mlp_only_layers",
    MLP,
    .tensors = {CENTRED_NORM, ROUTER("@gate"), SHARED_WITH_GATE},
};

const ImportFamily family_qwen3_5_moe = {
    .name = "Qwen3.5-MoE",
    .model_types = "qwen3_5_moe qwen3_5_moe_text",
    .architectures = "Qwen3_5MoeForConditionalGeneration Qwen3_5MoeForCausalLM",
    .rules = {SIZES(2048, 40), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(8), NORMALIZED(0), EXPERTS(QWEN_EXPERTS, 256),
              WIDTH("moe_intermediate_size", 512), HIDDEN_ACT, SHARED_EXPERT(512)},
    .block = "mlp.",
    .layouts = {&layout_stacked, &layout_projections},
    .tensors = {CENTRED_NORM, ROUTER("@gate"), SHARED_WITH_GATE},
};

// The thinker's text model.
const ImportFamily family_qwen3_omni_moe = {
    .name = "Qwen3-Omni-MoE",
    .model_types = "qwen3_omni_moe qwen3_omni_moe_thinker qwen3_omni_moe_text",
    .architectures = "Qwen3OmniMoeForConditionalGeneration Qwen3OmniMoeThinkerForConditionalGeneration",
    .rules = {SIZES(2048, 28), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(8), NORM_TOPK(1, 0), EXPERTS(QWEN_EXPERTS, 128),
              WIDTH("moe_intermediate_size", 768), HIDDEN_ACT, SPARSE_STEP},
    .exclude = "mlp_only_layers",
    .nested_prefix = "thinker.model.",
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate")},
    .remark = "the layers are the thinker's: the talker has experts of its own, which are left out",
};

const ImportFamily family_qwen4_exp = {
    .name = "Qwen4-Exp",
    .model_types = "qwen4_exp qwen4_exp_text",
    .architectures = "Qwen4ExpForConditionalGeneration Qwen4ExpForCausalLM",
    .rules = {SIZES(2048, 40), SCORE("softmax"), TOP_K(10), NORM_TOPK(1, 0), EXPERTS(QWEN_EXPERTS, 512),
              WIDTH("moe_intermediate_size", 512), HIDDEN_ACT, SHARED_EXPERT(512)},
    MLP,
    .tensors = {ROUTER("@gate"), SHARED_WITH_GATE},
    .remark = BLOCK_ALONE "the model mixes several streams before and after them (a gated residual)",
};
