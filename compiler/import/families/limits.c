// Models whose routed and shared experts have limits of their own, and those that cap gate and up softly.
#include <string.h>

#include "row.h"

const ImportFamily family_step3p7;

// Gate and up are stacked, but apart.
static const ImportLayout apart = {.tensors = {PLAIN(TENSOR_GATE, "@gate_proj.weight"), PLAIN(TENSOR_UP, "@up_proj.weight"),
                                               PLAIN(TENSOR_DOWN, "@down_proj.weight")}};

// Gate and up alternate.
static const ImportLayout alternating = {.tensors = {PART(TENSOR_GATE, "@experts.w13_weight", ROWS_EVEN, ORDER_OUT_IN),
                                                     PART(TENSOR_UP, "@experts.w13_weight", ROWS_ODD, ORDER_OUT_IN),
                                                     PLAIN(TENSOR_DOWN, "@experts.w2_weight")}};

// transformers knows num_local_experts, but where it stands alone the default replaces its value.
static void settle_step3p7(const ImportConfig *config, ImportValue *experts) {
    static const char alone[] = "num_local_experts", read[] = "n_routed_experts";
    double others = family_step3p7.rules[SETTING_EXPERTS].number, own = experts->number;
    if (strcmp(experts->key, alone) != 0 || own == others) {
        return;
    }
    bool counts = import_config_turned(config, "n_routed_experts num_local_experts");
    if (!counts) {
        import_value_set(experts, others);
    }
    import_remark(config, "%s: %s is %g, but transformers takes %s = %g where it stands alone: %s counts, %s", config->path, alone,
                  own, read, others, counts ? alone : read, counts ? "it is what fits the tensors" : "as in transformers");
}

// Without a list of their own, shared experts have no limit.
static bool adjust_step3p7(const ImportConfig *config, ImportValue *values) {
    settle_step3p7(config, &values[SETTING_EXPERTS]);
    if (values[SETTING_SHARED_LIMIT].source == SOURCE_NONE && values[SETTING_SHARED].source != SOURCE_NONE) {
        import_value_set(&values[SETTING_SHARED_LIMIT], 0);
    }
    return true;
}

// hidden_act is not read: it is silu, whatever the configuration says.
const ImportFamily family_step3p7 = {
    .name = "Step 3.7",
    .model_types = "step3p7 step3p5",
    .architectures = "Step3p7ForConditionalGeneration",
    .aliases = "moe_num_experts moe_top_k share_expert_dims",
    .rules = {SIZES(4096, 45), RMS(1e-5), OUTER, NOAUX_SCORES, [SETTING_K] = KEY("num_experts_per_tok moe_top_k", 8),
              NORMALIZED(0), [SETTING_SCALE] = KEY("moe_router_scaling_factor", 1),
              EXPERTS("n_routed_experts moe_num_experts num_local_experts", 288),
              WIDTH("moe_intermediate_size", 1280), [SETTING_ACTIVATION] = WORD("silu"),
              [SETTING_LIMIT] = OPTIONAL_LISTED("swiglu_limits"), [SETTING_LIMIT_PLACE] = WORD("after_activation"),
              [SETTING_SHARED] = FIXED(1), [SETTING_SHARED_WIDTH] = KEY("share_expert_dim share_expert_dims", 1280),
              [SETTING_SHARED_LIMIT] = OPTIONAL_LISTED("swiglu_limits_shared"), [SETTING_FIRST] = FIXED(3)},
    .include = "moe_layers_enum",
    .types = "mlp_layer_types",
    .expectations = {{"mlp_bias", "false"}},
    .nested_prefix = "model.",
    .block = "moe.",
    .layouts = {&apart},
    .tensors = {CENTRED_NORM, ROUTER("@gate"), CORRECTION("@router_bias"), SHARED("share_expert")},
    .adjust = adjust_step3p7,
};

const ImportFamily family_hy_v4 = {
    .name = "HY-4",
    .model_types = "hy_v4",
    .architectures = "HYV4ForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(2816, 34), NOAUX_SCORES, DEEPSEEK_GROUPS(1, 1), TOP_K(8), NORM_TOPK(1, 1e-20), SCALE(2.827),
              EXPERTS(ROUTED_EXPERTS, 256), WIDTH("moe_intermediate_size", 768), [SETTING_ACTIVATION] = WORD("silu"), GLU_LIMIT(10),
              [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), [SETTING_SHARED_LIMIT] = FIXED(0), [SETTING_FIRST] = FIXED(1)},
    .types = "mlp_layer_types",
    .expectations = {{"hidden_act", "\"silu\""}},
    .block = "mlp.",
    .layouts = {&layout_stacked},
    .tensors = {ROUTER("@gate"), DEEPSEEK_CORRECTION, PLAIN(TENSOR_SHARED_GATE, "@shared_experts.linear_gate.weight"),
                PLAIN(TENSOR_SHARED_UP, "@shared_experts.up_proj.weight"),
                PLAIN(TENSOR_SHARED_DOWN, "@shared_experts.down_proj.weight")},
    .remark = HYPER_CONNECTIONS,
};

// With a width of its own for dense layers, intermediate_size is that of experts.
static bool adjust_inkling(const ImportConfig *config, ImportValue *values) {
    const json_t *dense = import_config_get(config, "dense_intermediate_size", NULL);
    if (!dense || json_is_null(dense)) {
        return true;
    }
    ImportRule rule = {.presence = PRESENCE_KEY, .keys = "intermediate_size", .number = 24576};
    return import_value_read(config, &rule, SETTING_INTERMEDIATE, &values[SETTING_INTERMEDIATE]);
}

const ImportFamily family_inkling = {
    .name = "Inkling",
    .model_types = "inkling_mm_model inkling_text",
    .architectures = "InklingForConditionalGeneration InklingForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(6144, 66), [SETTING_OUTPUT_SCALE] = FIXED(1), NOAUX_SCORES, TOP_K(6),
              NORMALIZED(0), [SETTING_SCALE] = KEY("route_scale", 8), EXPERTS(ROUTED_EXPERTS, 256),
              WIDTH("moe_intermediate_size", 3072), HIDDEN_ACT, [SETTING_SHARED] = KEY("n_shared_experts", 2),
              [SETTING_SHARED_GATED] = FIXED(1), [SETTING_SHARED_JOINT] = FIXED(1), [SETTING_FIRST] = KEY("dense_mlp_idx", 0)},
    .types = "mlp_layer_types",
    .expectations = {{"shared_expert_sink", "true"}},
    .prefix = "model.llm.",
    .nested_prefix = "model.llm.",
    .block = "mlp.",
    .layouts = {&alternating},
    .tensors = {PART(TENSOR_ROUTER, "@gate.weight", ROWS_CHOICES, ORDER_OUT_IN),
                PART(TENSOR_SHARED_EXPERT_GATE, "@gate.weight", ROWS_SHARED, ORDER_OUT_IN), CORRECTION("@gate.bias"),
                PART(TENSOR_OUTPUT_SCALE, "@gate.global_scale", ROWS_ONE, ORDER_OUT_IN),
                PART(TENSOR_SHARED_GATE, "@shared_experts.shared_w13_weight", ROWS_EVEN, ORDER_OUT_IN),
                PART(TENSOR_SHARED_UP, "@shared_experts.shared_w13_weight", ROWS_ODD, ORDER_OUT_IN),
                PLAIN(TENSOR_SHARED_DOWN, "@shared_experts.shared_w2_weight")},
    .adjust = adjust_inkling,
    .remark = BLOCK_ALONE "the model adds them after a convolution over time",
};

const ImportFamily family_inkling2 = {
    .name = "Inkling 2",
    .model_types = "inkling2 inkling2_text",
    .architectures = "Inkling2ForConditionalGeneration Inkling2ForCausalLM",
    .aliases = "num_local_experts intermediate_size routed_scaling_factor",
    .rules = {SIZES(4608, 48), NOAUX_SCORES, TOP_K(8),
              NORMALIZED(1e-20), [SETTING_SCALE] = KEY("route_scale routed_scaling_factor", 8), EXPERTS(ROUTED_EXPERTS, 384),
              WIDTH("moe_intermediate_size intermediate_size", 2304), [SETTING_ACTIVATION] = WORD("silu"),
              [SETTING_GATE_SOFTCAP] = KEY("mlp_gate_softcap", 4), [SETTING_UP_SOFTCAP] = KEY("mlp_up_softcap", 25)},
    .expectations = {{"scoring_func", "\"sigmoid\""}},
    .prefix = "model.llm.",
    .nested_prefix = "model.llm.",
    .block = "mlp.",
    .layouts = {&alternating},
    .tensors = {ROUTER("@gate"), CORRECTION("@gate.bias")},
    .remark = BLOCK_ALONE "the model reads them from an attention over earlier layers and adds them after a convolution",
};
