// The Mistral models after Mixtral: softmax scores, groups by the sum of their two best, and no correction.
#include "row.h"

#define MISTRAL_ROUTER \
    SCORE("softmax"), DEEPSEEK_GROUPS(1, 1), [SETTING_GROUP_MASK] = WORD("zero"), TOP_K(4), SCALE(1), \
                                             EXPERTS(ROUTED_EXPERTS, 128), \
                                             HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 1)

const ImportFamily family_mistral4 = {
    .name = "Mistral 4",
    .model_types = "mistral4",
    .architectures = "Mistral4ForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(4096, 36), RMS(1e-6), OUTER, MISTRAL_ROUTER, NORM_TOPK(1, 1e-20), WIDTH("moe_intermediate_size", 2048),
              FIRST_DENSE(0)},
    .nested_prefix = "language_model.model.",
    .block = "mlp.",
    .layouts = {&layout_stacked, &layout_projections},
    .tensors = {DEEPSEEK_TENSORS},
};

const ImportFamily family_mistral_large4 = {
    .name = "Mistral Large 4",
    .model_types = "mistral_large4 mistral_large4_text",
    .architectures = "MistralLarge4ForConditionalGeneration",
    .aliases = "num_local_experts",
    .rules = {SIZES(6144, 72), RMS(1e-5), OUTER, MISTRAL_ROUTER, NORMALIZED(1e-20), WIDTH("moe_intermediate_size", 6144),
              FIRST_DENSE(1), FREQUENCY},
    .types = "mlp_layer_types",
    .prefix = "",
    .nested_prefix = "",
    .block = "",
    .layouts = {&layout_numbered},
    .tensors = {NORM("ffn_norm"), ROUTER("@gate"), SHARED_NUMBERED},
};
