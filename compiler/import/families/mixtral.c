// Mixtral, and models that store their experts as it does.
#include "row.h"

static bool adjust_minimax(const ImportConfig *config, ImportValue *values) {
    double alpha = values[SETTING_ALPHA].number, beta = values[SETTING_BETA].number;
    if (beta == 0) {
        import_error(config, values[SETTING_BETA].key, "%s is 0: such a layer does not use its experts", values[SETTING_BETA].key);
        return false;
    }
    import_value_set(&values[SETTING_INNER_ALPHA], alpha / beta);  // alpha x + beta y = beta (alpha / beta x + y)
    import_value_set(&values[SETTING_MULTIPLIER], beta);
    return true;
}

// transformers computes two choices, whatever the config says.
static bool adjust_phimoe(const ImportConfig *config, ImportValue *values) {
    if (values[SETTING_K].number != 2) {
        import_error(config, values[SETTING_K].key, "%s is %g: sparsemixer chooses 2", values[SETTING_K].key,
                     values[SETTING_K].number);
        return false;
    }
    return true;
}

const ImportFamily family_mixtral = {
    .name = "Mixtral",
    .model_types = "mixtral",
    .architectures = "MixtralForCausalLM",
    .aliases = "num_experts",
    .rules = {SIZES(4096, 32), RMS(1e-5), OUTER, SCORE("softmax"), TOP_K(2), NORMALIZED(0), EXPERTS(LOCAL_EXPERTS, 8),
              WIDTH("intermediate_size", 14336), HIDDEN_ACT},
    BLOCK_SPARSE_MOE,
    .tensors = {POST_NORM, ROUTER("@gate")},
};

const ImportFamily family_minimax = {
    .name = "MiniMax",
    .model_types = "minimax minimax_text_01 minimax_m1",
    .architectures = "MiniMaxForCausalLM MiniMaxText01ForCausalLM MiniMaxM1ForCausalLM",
    .aliases = "num_experts",
    .rules = {SIZES(4096, 32),
              RMS(1e-5), [SETTING_INNER] = FIXED(1), [SETTING_ALPHA] = KEY("mlp_alpha_factor layernorm_mlp_alpha", 1),
              [SETTING_BETA] = KEY("mlp_beta_factor layernorm_mlp_beta", 1), SCORE("softmax"), TOP_K(2), NORMALIZED(0),
              EXPERTS(LOCAL_EXPERTS, 8), WIDTH("intermediate_size", 14336), HIDDEN_ACT},
    // Of MiniMax's own configurations, which know two more blocks than transformers' do.
    .expectations = {{"postnorm", "true"}, {"shared_intermediate_size", "0"}},
    BLOCK_SPARSE_MOE,
    .tensors = {POST_NORM, ROUTER("@gate")},
    .adjust = adjust_minimax,
};

const ImportFamily family_minimax_m2 = {
    .name = "MiniMax-M2",
    .model_types = "minimax_m2",
    .architectures = "MiniMaxM2ForCausalLM",
    .aliases = "num_experts",
    .rules = {SIZES(3072, 62), RMS(1e-6), OUTER, SCORE("sigmoid"), [SETTING_CORRECTION] = FIXED(1), TOP_K(8), NORMALIZED(0),
              EXPERTS(LOCAL_EXPERTS, 256), WIDTH("intermediate_size", 1536), HIDDEN_ACT},
    .expectations = {{"scoring_func", "\"sigmoid\""}},
    BLOCK_SPARSE_MOE,
    .tensors = {POST_NORM, ROUTER("@gate"), CORRECTION("@e_score_correction_bias")},
};

const ImportFamily family_phimoe = {
    .name = "PhiMoE",
    .model_types = "phimoe",
    .architectures = "PhimoeForCausalLM PhiMoEForCausalLM",
    .rules = {SIZES(4096, 32), NORM_KIND("layer", "rms_norm_eps", 1e-5), OUTER, [SETTING_NORM_BIAS] = FIXED(1),
              [SETTING_SELECT] = WORD("sparsemixer"), [SETTING_JITTER] = KEY("router_jitter_noise", 0.01), TOP_K(2),
              EXPERTS(LOCAL_EXPERTS, 16), WIDTH("intermediate_size", 6400), HIDDEN_ACT},
    BLOCK_SPARSE_MOE,
    .tensors = {POST_NORM, PLAIN(TENSOR_NORM_BIAS, "post_attention_layernorm.bias"), ROUTER("@gate")},
    .adjust = adjust_phimoe,
};

const ImportFamily family_minimax_m3_vl = {
    .name = "MiniMax-M3-VL",
    .model_types = "minimax_m3_vl minimax_m3_vl_text",
    .architectures = "MiniMaxM3SparseForConditionalGeneration MiniMaxM3VLForCausalLM",
    .aliases = "num_experts",
    .rules = {SIZES(6144, 60), RMS(1e-6), OUTER, NOAUX_SCORES, TOP_K(4), NORMALIZED(0), SCALE(2), EXPERTS(LOCAL_EXPERTS, 128),
              WIDTH("intermediate_size", 3072),
              CLAMPED_GLU, [SETTING_SHARED] = FIXED(1), [SETTING_SHARED_WIDTH] = KEY("shared_intermediate_size", 3072)},
    .types = "mlp_layer_types moe_layer_freq",
    .expectations = {{"scoring_func", "\"sigmoid\""}},
    .nested_prefix = "language_model.model.",
    BLOCK_SPARSE_MOE,
    .tensors = {CENTRED_NORM, ROUTER("@gate"), CORRECTION("@e_score_correction_bias"), SHARED("@shared_experts")},
};
