// Models with no kin here.
#include <string.h>

#include "row.h"

// [experts x intermediate, hidden] each; down is multiplied from the left.
static const ImportLayout dbrx_experts = {.tensors = {PLAIN(TENSOR_GATE, "@experts.mlp.w1"), PLAIN(TENSOR_UP, "@experts.mlp.v1"),
                                                      PART(TENSOR_DOWN, "@experts.mlp.w2", ROWS_ALL, ORDER_IN_OUT)}};

static const ImportLayout aria_experts = {.tensors = {PART(TENSOR_GATE, "@experts.fc1.weight", ROWS_FIRST_HALF, ORDER_IN_OUT),
                                                      PART(TENSOR_UP, "@experts.fc1.weight", ROWS_SECOND_HALF, ORDER_IN_OUT),
                                                      PART(TENSOR_DOWN, "@experts.fc2.weight", ROWS_ALL, ORDER_IN_OUT)}};

// An exponent of null leaves the weights as they are.
static bool adjust_dbrx(const ImportConfig *config, ImportValue *values) {
    (void)config;
    import_value_set(&values[SETTING_NORMALIZE], values[SETTING_NORMALIZE_P].source != SOURCE_NONE);
    return true;
}

// A layer of 1 expert is dense.
static bool adjust_jamba(const ImportConfig *config, ImportValue *values) {
    if (values[SETTING_PHASE].number >= values[SETTING_STEP].number) {
        import_error(config, values[SETTING_PHASE].key, "%s is %g: it must be smaller than %s, which is %g",
                     values[SETTING_PHASE].key, values[SETTING_PHASE].number, values[SETTING_STEP].key,
                     values[SETTING_STEP].number);
        return false;
    }
    if (values[SETTING_EXPERTS].number <= 1) {
        import_value_set(&values[SETTING_LAST], -1);
    }
    return true;
}

// transformers writes num_layers and num_hidden_layers, which counts attentions, of which a layer has two.
static bool adjust_longcat(const ImportConfig *config, ImportValue *values) {
    const json_t *attentions = import_config_get(config, "num_hidden_layers", NULL);
    if (values[SETTING_LAYERS].source == SOURCE_DEFAULT && json_is_integer(attentions)) {
        import_value_set(&values[SETTING_LAYERS], (double)(json_integer_value(attentions) / 2));
    }
    return true;
}

static bool adjust_cohere2(const ImportConfig *config, ImportValue *values) {
    const json_t *eps = import_config_get(config, "rms_norm_eps", NULL);
    const char *score = values[SETTING_SCORE].word, *strategy = values[SETTING_STRATEGY].word;
    if (strcmp(score, "softmax") && strcmp(score, "sigmoid")) {
        import_error(config, values[SETTING_SCORE].key, "%s is \"%.40s\": expected \"softmax\" or \"sigmoid\"",
                     values[SETTING_SCORE].key, score);
        return false;
    }
    if (strcmp(strategy, "average") && strcmp(strategy, "sum")) {
        import_error(config, values[SETTING_STRATEGY].key, "%s is \"%.40s\": expected \"average\" or \"sum\"",
                     values[SETTING_STRATEGY].key, strategy);
        return false;
    }
    if (json_is_number(eps)) {
        import_value_word(&values[SETTING_NORM], "rms");
        import_value_set(&values[SETTING_NORM_EPS], json_number_value(eps));
    }
    if (!strcmp(score, "softmax")) {  // over the chosen ones alone
        import_value_set(&values[SETTING_NORMALIZE], 1);
    }
    if (!strcmp(strategy, "average") && values[SETTING_SHARED].source != SOURCE_NONE) {
        import_value_set(&values[SETTING_SCALE], 0.5);
        import_value_set(&values[SETTING_SHARED_SCALE], 0.5);
    }
    return true;
}

const ImportFamily family_jamba = {
    .name = "Jamba",
    .model_types = "jamba",
    .architectures = "JambaForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(4096, 32), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(2), EXPERTS(QWEN_EXPERTS, 16),
              WIDTH("intermediate_size", 14336),
              HIDDEN_ACT, [SETTING_STEP] = KEY("expert_layer_period", 2), [SETTING_PHASE] = KEY("expert_layer_offset", 1)},
    .block = "feed_forward.",
    .layouts = {&layout_projections, &layout_stacked},
    .tensors = {NORM("pre_ff_layernorm"), ROUTER("@router")},
    .adjust = adjust_jamba,
};

const ImportFamily family_dbrx = {
    .name = "DBRX",
    .model_types = "dbrx",
    .architectures = "DbrxForCausalLM",
    .aliases = "hidden_size num_hidden_layers",
    .rules = {[SETTING_HIDDEN] = KEY("d_model hidden_size", 2048),
              [SETTING_LAYERS] = KEY("n_layers num_hidden_layers", 24),
              [SETTING_NORM] = WORD("layer"),
              [SETTING_NORM_EPS] = FIXED(1e-5),
              OUTER,
              SCORE("softmax"),
              [SETTING_K] = KEY("ffn_config.moe_top_k", 1),
              [SETTING_NORMALIZE] = FIXED(1),
              [SETTING_NORMALIZE_P] = NULLABLE("ffn_config.moe_normalize_expert_weights", 1),
              [SETTING_NORMALIZE_EPS] = FIXED(0),
              EXPERTS("ffn_config.moe_num_experts", 4),
              WIDTH("ffn_config.ffn_hidden_size", 3584),
              [SETTING_ACTIVATION] = KEY_WORD("ffn_config.ffn_act_fn.name", "silu")},
    .prefix = "transformer.",
    .stem = "blocks.{layer}.",
    .block = "ffn.",
    .layouts = {&dbrx_experts},
    .tensors = {NORM("norm_attn_norm.norm_2"), ROUTER("@router.layer")},
    .adjust = adjust_dbrx,
};

const ImportFamily family_hunyuan = {
    .name = "HunYuan-MoE",
    .model_types = "hunyuan_v1_moe",
    .architectures = "HunYuanMoEV1ForCausalLM",
    .aliases = "num_experts_per_tok num_local_experts",
    .rules = {SIZES(4096, 32), RMS(1e-5), OUTER, SCORE("softmax"), [SETTING_K] = KEY_LISTED("moe_topk num_experts_per_tok", 1),
              NORMALIZED(0), EXPERTS(QWEN_EXPERTS, 1), WIDTH("intermediate_size", 11008),
              HIDDEN_ACT, [SETTING_SHARED] = FIXED(1), [SETTING_SHARED_WIDTH] = KEY("intermediate_size", 11008)},
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate.wg"), SHARED("@shared_mlp")},
};

const ImportFamily family_llama4 = {
    .name = "Llama 4",
    .model_types = "llama4 llama4_text",
    .architectures = "Llama4ForConditionalGeneration Llama4ForCausalLM",
    .rules = {SIZES(5120, 48), RMS(1e-5), OUTER, SCORE("sigmoid"), [SETTING_RANK] = WORD("logit"),
              TOP_K(1), [SETTING_WEIGHT_ON] = WORD("input"), EXPERTS(LOCAL_EXPERTS, 16), WIDTH("intermediate_size", 8192),
              HIDDEN_ACT, [SETTING_SHARED] = FIXED(1), [SETTING_SHARED_WIDTH] = KEY("intermediate_size", 8192),
              [SETTING_STEP] = KEY("interleave_moe_layer_step", 1)},
    .include = "moe_layers",
    .nested_prefix = "language_model.model.",
    .block = "feed_forward.",
    .layouts = {&layout_stacked_in_out},
    .tensors = {POST_NORM, ROUTER("@router"), SHARED("@shared_expert")},
};

const ImportFamily family_longcat_flash = {
    .name = "LongCat-Flash",
    .model_types = "longcat_flash",
    .architectures = "LongcatFlashForCausalLM",
    .aliases = "num_local_experts num_experts_per_tok moe_intermediate_size",
    .rules = {[SETTING_HIDDEN] = KEY("hidden_size", 6144),
              [SETTING_LAYERS] = KEY("num_layers", 28),
              RMS(1e-5),
              SCORE("softmax"),
              [SETTING_CORRECTION] = FIXED(1),
              [SETTING_K] = KEY("moe_topk num_experts_per_tok", 12),
              SCALE(6),
              EXPERTS("n_routed_experts num_local_experts", 512),
              WIDTH("expert_ffn_hidden_size moe_intermediate_size", 2048),
              HIDDEN_ACT,
              [SETTING_ROUTER_BIAS] = KEY("router_bias", 0),
              [SETTING_IDENTITY] = NULLABLE("zero_expert_num", 256)},
    .expectations = {{"zero_expert_type", "\"identity\""}, {"norm_topk_prob", "false"}},
    MLP,
    .tensors = {NORM("post_attention_layernorm.0"), CLASSIFIER, CORRECTION("@router.e_score_correction_bias")},
    .adjust = adjust_longcat,
    .remark = "the result is what the model adds after its second attention of the layer: no residual is included",
};

const ImportFamily family_cohere2_moe = {
    .name = "Cohere2-MoE",
    .model_types = "cohere2_moe",
    .architectures = "Cohere2MoeForCausalLM",
    .rules =
        {SIZES(8192, 40), [SETTING_NORM] = WORD("layer"), [SETTING_NORM_EPS] = KEY("layer_norm_eps", 1e-5),
         [SETTING_OUTER] = FIXED(1), [SETTING_SCORE] = KEY_WORD("expert_selection_fn", "softmax"), [SETTING_RANK] = WORD("logit"),
         TOP_K(2), NORM_TOPK(1, 0), EXPERTS(QWEN_EXPERTS, 8), WIDTH("intermediate_size", 22528),
         HIDDEN_ACT, [SETTING_SHARED] = KEY("num_shared_experts", 0),
         [SETTING_STRATEGY] = KEY_WORD("shared_expert_combination_strategy", "average"), FIRST_DENSE(0)},
    .types = "mlp_layer_types",
    MLP,
    .tensors = {NORM("input_layernorm"), ROUTER("@gate"), SHARED("@shared_experts")},
    .adjust = adjust_cohere2,
    .remark = "attention runs beside this block on the same normed input: the model adds its result to the layer's",
};

const ImportFamily family_aria = {
    .name = "Aria",
    .model_types = "aria aria_text",
    .architectures = "AriaForConditionalGeneration AriaTextForCausalLM",
    .rules = {SIZES(4096, 32), RMS(1e-6), OUTER, SCORE("softmax"), [SETTING_RANK] = WORD("logit"), [SETTING_K] = KEY("moe_topk", 2),
              NORMALIZED(0), EXPERTS("moe_num_experts", 8), WIDTH("intermediate_size", 4096),
              HIDDEN_ACT, [SETTING_SHARED] = KEY("moe_num_shared_experts", 2)},
    .expectations = {{"hidden_act", "\"silu\""}, {"mlp_bias", "false"}},
    .nested_prefix = "language_model.model.",
    .block = "mlp.",
    .layouts = {&aria_experts},
    .tensors = {POST_NORM, ROUTER("@router"), SHARED("@shared_experts")},
};
