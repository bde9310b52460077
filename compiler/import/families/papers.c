// The layers of the papers: Chain-of-Experts, ReMoE, DA-MoE.
#include "row.h"

static bool adjust_coe(const ImportConfig *config, ImportValue *values) {
    (void)config;
    bool several = values[SETTING_K].number > 1;
    if (values[SETTING_NORMALIZE].number != 0 && several) {
        values[SETTING_SCALE].source = SOURCE_NONE;  // either normalised or scaled
    } else {
        values[SETTING_NORMALIZE].source = SOURCE_NONE;
    }
    return true;
}

const ImportFamily family_coe = {
    .name = "Chain-of-Experts",
    .model_types = "coe_deepseekv2 coe",
    .architectures = "CoeForCausalLM CoeModel",
    .rules = {SIZES(4096, 30),
              RMS(1e-6),
              [SETTING_OUTER] = KEY("outer_residual", 0),
              [SETTING_INNER] = KEY("inner_residual", 1),
              [SETTING_ITERATIONS] = KEY("inner_iter", 1),
              [SETTING_PER_ITERATION] = KEY("use_igate", 1),
              SCORE("softmax"),
              [SETTING_K] = REQUIRED("num_experts_per_tok"),
              [SETTING_EXPERTS] = REQUIRED("n_routed_experts"),
              WIDTH("moe_intermediate_size", 1407),
              [SETTING_SHARED] = OPTIONAL("n_shared_experts"),
              HIDDEN_ACT,
              NORM_TOPK(0, 1e-20),
              SCALE(1),
              [SETTING_METHOD] = KEY_WORD("topk_method", "greedy"),
              [SETTING_GROUPS] = OPTIONAL("n_group"),
              [SETTING_TOP_GROUPS] = OPTIONAL("topk_group"),
              [SETTING_GROUP_SCORE] = WORD("max"),
              [SETTING_GROUP_MASK] = WORD("zero"),
              FIRST_DENSE(0),
              FREQUENCY,
              [SETTING_COE_WEIGHT] = KEY("coe_weight", 0)},
    .expectations = {{"scoring_func", "\"softmax\""}, {"residual", "\"inner\""}},
    MLP,
    .tensors = {DEEPSEEK_TENSORS, ROUTER("@gate.{iteration}"), PLAIN(TENSOR_COE_WEIGHT, "@coe_weight")},
    .adjust = adjust_coe,
};

// Our own layout: ReMoE has no official one of Hugging Face's kind, its code saves checkpoints of Megatron-LM (megatron.c).
const ImportFamily family_remoe = {
    .name = "ReMoE",
    .model_types = "remoe",
    .architectures = "ReMoEForCausalLM",
    .rules = {SIZES(4096, 32), RMS(1e-6), OUTER,
              SCORE("relu"), [SETTING_SELECT] = WORD("threshold"), [SETTING_THRESHOLD] = FIXED(0),
              [SETTING_EXPECTED_K] = REQUIRED("num_experts_per_tok"), [SETTING_EXPERTS] = REQUIRED("n_routed_experts"),
              [SETTING_INTERMEDIATE] = REQUIRED("moe_intermediate_size"), [SETTING_SHARED] = OPTIONAL("n_shared_experts"),
              HIDDEN_ACT, FIRST_DENSE(0), FREQUENCY},
    .expectations = {{"scoring_func", "\"relu\""},
                     {"norm_topk_prob", "false"},
                     {"routed_scaling_factor", "1.0"},
                     {"inner_iter", "1"}},
    MLP,
    .tensors = {DEEPSEEK_TENSORS},
};

// Our own layout: the paper's code keeps no checkpoints.
const ImportFamily family_da_moe = {
    .name = "DA-MoE",
    .model_types = "da_moe",
    .architectures = "DaMoeForCausalLM",
    .rules = {SIZES(4096, 32), RMS(1e-6), OUTER, SCORE("softmax"), [SETTING_K] = REQUIRED("k_max num_experts_per_tok"),
              [SETTING_K_PER_TOKEN] = FIXED(1), [SETTING_K_MIN] = KEY("k_min", 1), [SETTING_EXPERTS] = REQUIRED("n_routed_experts"),
              [SETTING_INTERMEDIATE] = REQUIRED("moe_intermediate_size"), [SETTING_SHARED] = OPTIONAL("n_shared_experts"),
              HIDDEN_ACT, NORM_TOPK(0, 1e-20), SCALE(1), FIRST_DENSE(0), FREQUENCY},
    .expectations = {{"scoring_func", "\"softmax\""}, {"topk_method", "\"greedy\""}, {"inner_iter", "1"}},
    MLP,
    .tensors = {DEEPSEEK_TENSORS},
};
