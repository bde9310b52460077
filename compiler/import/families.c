// The models that import knows, a row each: how to recognise them, where their configurations keep the numbers, and where their
// checkpoints keep the tensors.
//
// Sources: transformers 5.23, models/*/configuration_*.py (names and defaults), modeling_*.py (what is computed) and
// conversion_mapping.py (names on disk); CoE's own code for CoE (github.com/ZihanWang314/CoE). Longer than 500 lines, as it is one
// table: cut in two, the reader would have to know which half a model is in.
#include <string.h>

#include "table.h"

// What most decoders have in common: hidden size, layers, RMS norm after attention, residual around the block.
#define SIZES(hidden, layers) [SETTING_HIDDEN] = KEY("hidden_size", hidden), [SETTING_LAYERS] = KEY("num_hidden_layers", layers)
#define NORM_KIND(kind, name, eps) [SETTING_NORM] = WORD(kind), [SETTING_NORM_EPS] = KEY(name, eps)
#define RMS(eps) NORM_KIND("rms", "rms_norm_eps", eps)
#define OUTER [SETTING_OUTER] = FIXED(1)
#define EXPERTS(names, value) [SETTING_EXPERTS] = KEY(names, value)
#define TOP_K(value) [SETTING_K] = KEY("num_experts_per_tok", value)
#define WIDTH(name, value) [SETTING_INTERMEDIATE] = KEY(name, value)
#define HIDDEN_ACT [SETTING_ACTIVATION] = KEY_WORD("hidden_act", "silu")
#define SCORE(text) [SETTING_SCORE] = WORD(text)
// Weights divided by their sum: always, or as the config says.
#define NORMALIZED(eps) [SETTING_NORMALIZE] = FIXED(1), [SETTING_NORMALIZE_EPS] = FIXED(eps)
#define NORM_TOPK(value, eps) [SETTING_NORMALIZE] = KEY("norm_topk_prob", value), [SETTING_NORMALIZE_EPS] = FIXED(eps)
#define SCALE(value) [SETTING_SCALE] = KEY("routed_scaling_factor", value)
#define FIRST_DENSE(value) [SETTING_FIRST] = NULLABLE("first_k_dense_replace", value)
// moe_layer_freq: in DeepSeek's own code; transformers has no other value than 1.
#define FREQUENCY [SETTING_STEP] = KEY("moe_layer_freq", 1), [SETTING_PHASE] = FIXED(0)

#define QWEN_EXPERTS "num_experts num_local_experts"
#define LOCAL_EXPERTS "num_local_experts num_experts"
#define ROUTED_EXPERTS "n_routed_experts num_local_experts num_experts"

// --- names of tensors ---

#define BLOCKS(tensor_, name_, rows_) {.tensor = tensor_, .name = name_, .rows = rows_, .encoding = ENCODING_MXFP4}

#define ONE_BY_ONE(gate, up, down) \
    .tensors = {PLAIN(TENSOR_GATE, "@experts.{expert}." gate ".weight"), PLAIN(TENSOR_UP, "@experts.{expert}." up ".weight"), \
                PLAIN(TENSOR_DOWN, "@experts.{expert}." down ".weight")}
#define STACKED(order) \
    .tensors = {PART(TENSOR_GATE, "@experts.gate_up_proj", ROWS_FIRST_HALF, order), \
                PART(TENSOR_UP, "@experts.gate_up_proj", ROWS_SECOND_HALF, order), \
                PART(TENSOR_DOWN, "@experts.down_proj", ROWS_ALL, order)}

static const ImportLayout projections = {ONE_BY_ONE("gate_proj", "up_proj", "down_proj")};
static const ImportLayout numbered = {ONE_BY_ONE("w1", "w3", "w2")};
static const ImportLayout stacked = {STACKED(ORDER_OUT_IN)};  // as transformers 5 holds them in memory
static const ImportLayout stacked_in_out = {STACKED(ORDER_IN_OUT)};

// gpt-oss: gate and up alternate.
#define GPT_OSS_BIASES \
    PART(TENSOR_GATE_BIAS, "@experts.gate_up_proj_bias", ROWS_EVEN, ORDER_OUT_IN), \
        PART(TENSOR_UP_BIAS, "@experts.gate_up_proj_bias", ROWS_ODD, ORDER_OUT_IN), \
        PLAIN(TENSOR_DOWN_BIAS, "@experts.down_proj_bias")
static const ImportLayout interleaved = {.tensors = {PART(TENSOR_GATE, "@experts.gate_up_proj", ROWS_EVEN, ORDER_IN_OUT),
                                                     PART(TENSOR_UP, "@experts.gate_up_proj", ROWS_ODD, ORDER_IN_OUT),
                                                     PART(TENSOR_DOWN, "@experts.down_proj", ROWS_ALL, ORDER_IN_OUT),
                                                     GPT_OSS_BIASES}};
static const ImportLayout interleaved_blocks = {
    .quantisation = "mxfp4",
    .tensors = {BLOCKS(TENSOR_GATE, "@experts.gate_up_proj", ROWS_EVEN), BLOCKS(TENSOR_UP, "@experts.gate_up_proj", ROWS_ODD),
                BLOCKS(TENSOR_DOWN, "@experts.down_proj", ROWS_ALL), GPT_OSS_BIASES}};

static const ImportLayout granite = {.tensors = {PART(TENSOR_GATE, "@input_linear.weight", ROWS_FIRST_HALF, ORDER_OUT_IN),
                                                 PART(TENSOR_UP, "@input_linear.weight", ROWS_SECOND_HALF, ORDER_OUT_IN),
                                                 PLAIN(TENSOR_DOWN, "@output_linear.weight")}};
// [experts x intermediate, hidden] each; down is multiplied from the left.
static const ImportLayout dbrx_experts = {.tensors = {PLAIN(TENSOR_GATE, "@experts.mlp.w1"), PLAIN(TENSOR_UP, "@experts.mlp.v1"),
                                                      PART(TENSOR_DOWN, "@experts.mlp.w2", ROWS_ALL, ORDER_IN_OUT)}};
static const ImportLayout switch_experts = {
    .tensors = {PLAIN(TENSOR_UP, "@experts.expert_{expert}.wi.weight"), PLAIN(TENSOR_DOWN, "@experts.expert_{expert}.wo.weight")}};

#define NORM(name_) PLAIN(TENSOR_NORM, name_ ".weight")
#define POST_NORM NORM("post_attention_layernorm")
#define ROUTER(name_) PLAIN(TENSOR_ROUTER, name_ ".weight")
#define CORRECTION(name_) PLAIN(TENSOR_CORRECTION, name_)
#define SHARED(name_) \
    PLAIN(TENSOR_SHARED_GATE, name_ ".gate_proj.weight"), PLAIN(TENSOR_SHARED_UP, name_ ".up_proj.weight"), \
        PLAIN(TENSOR_SHARED_DOWN, name_ ".down_proj.weight")
// Norms that store their weight minus one.
#define CENTRED_NORM {.tensor = TENSOR_NORM, .name = "post_attention_layernorm.weight", .add = 1}
#define SHARED_WITH_GATE SHARED("@shared_expert"), PLAIN(TENSOR_SHARED_EXPERT_GATE, "@shared_expert_gate.weight")

#define MLP .block = "mlp.", .layouts = {&projections, &stacked}
#define BLOCK_SPARSE_MOE .block = "block_sparse_moe.", .layouts = {&numbered}

// --- what no rule can say ---

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

// An exponent of null leaves the weights as they are.
static bool adjust_dbrx(const ImportConfig *config, ImportValue *values) {
    (void)config;
    import_value_set(&values[SETTING_NORMALIZE], values[SETTING_NORMALIZE_P].source != SOURCE_NONE);
    return true;
}

// -1 stands for the last layer.
static bool adjust_ernie(const ImportConfig *config, ImportValue *values) {
    (void)config;
    if (values[SETTING_LAST].number < 0) {
        values[SETTING_LAST].source = SOURCE_NONE;
    }
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

// "num_hidden_layers" counts attentions, of which a layer has two.
static bool adjust_longcat(const ImportConfig *config, ImportValue *values) {
    (void)config;
    if (!strcmp(values[SETTING_LAYERS].key, "num_hidden_layers")) {
        import_value_set(&values[SETTING_LAYERS], (double)((int64_t)values[SETTING_LAYERS].number / 2));
    }
    return true;
}

// So many sparse layers, evenly spread.
static bool adjust_switch(const ImportConfig *config, ImportValue *values) {
    (void)config;
    int64_t layers = (int64_t)values[SETTING_LAYERS].number, sparse = (int64_t)values[SETTING_SPARSE].number;
    int64_t step = sparse > 0 ? layers / sparse : layers;
    if (step < 1) {
        import_value_set(&values[SETTING_LAST], -1);  // more sparse layers than layers: none, in transformers
    } else {
        import_value_set(&values[SETTING_STEP], (double)step);
        import_value_set(&values[SETTING_PHASE], (double)(1 % step));
    }
    return true;
}

static bool adjust_switch_decoder(const ImportConfig *config, ImportValue *values) {
    if (values[SETTING_LAYERS].source == SOURCE_NONE) {  // as many as in the encoder
        const json_t *layers = import_config_get(config, "num_layers", NULL);
        import_value_set(&values[SETTING_LAYERS], layers ? (double)json_integer_value(layers) : 12);
    }
    return adjust_switch(config, values);
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

// --- the papers' models ---

#define DEEPSEEK_TENSORS POST_NORM, ROUTER("@gate"), SHARED("@shared_experts")

static const ImportFamily coe = {
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
static const ImportFamily remoe = {
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
static const ImportFamily da_moe = {
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

// --- softmax routers ---

static const ImportFamily mixtral = {
    .name = "Mixtral",
    .model_types = "mixtral",
    .architectures = "MixtralForCausalLM",
    .rules = {SIZES(4096, 32), RMS(1e-5), OUTER, SCORE("softmax"), TOP_K(2), NORMALIZED(0), EXPERTS(LOCAL_EXPERTS, 8),
              WIDTH("intermediate_size", 14336), HIDDEN_ACT},
    BLOCK_SPARSE_MOE,
    .tensors = {POST_NORM, ROUTER("@gate")},
};

static const ImportFamily minimax = {
    .name = "MiniMax",
    .model_types = "minimax minimax_text_01 minimax_m1",
    .architectures = "MiniMaxForCausalLM MiniMaxText01ForCausalLM MiniMaxM1ForCausalLM",
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

static const ImportFamily olmoe = {
    .name = "OLMoE",
    .model_types = "olmoe",
    .architectures = "OlmoeForCausalLM",
    .rules = {SIZES(2048, 16), RMS(1e-5), OUTER, SCORE("softmax"), TOP_K(8), NORM_TOPK(0, 0), EXPERTS(QWEN_EXPERTS, 64),
              WIDTH("intermediate_size", 2048), HIDDEN_ACT},
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate")},
};

#define SPARSE_STEP [SETTING_STEP] = KEY("decoder_sparse_step", 1)
#define SHARED_EXPERT(width) \
    [SETTING_SHARED] = FIXED(1), [SETTING_SHARED_WIDTH] = KEY("shared_expert_intermediate_size", width), \
    [SETTING_SHARED_GATED] = FIXED(1)

static const ImportFamily qwen2_moe = {
    .name = "Qwen2-MoE",
    .model_types = "qwen2_moe",
    .architectures = "Qwen2MoeForCausalLM",
    .rules = {SIZES(2048, 24), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(4), NORM_TOPK(0, 0), EXPERTS(QWEN_EXPERTS, 60),
              WIDTH("moe_intermediate_size", 1408), HIDDEN_ACT, SHARED_EXPERT(5632), SPARSE_STEP},
    .exclude = "mlp_only_layers",
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate"), SHARED_WITH_GATE},
};

static const ImportFamily qwen3_moe = {
    .name = "Qwen3-MoE",
    .model_types = "qwen3_moe",
    .architectures = "Qwen3MoeForCausalLM",
    .rules = {SIZES(2048, 24), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(8), NORM_TOPK(0, 0), EXPERTS(QWEN_EXPERTS, 128),
              WIDTH("moe_intermediate_size", 768), HIDDEN_ACT, SPARSE_STEP},
    .exclude = "mlp_only_layers",
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate")},
};

static const ImportFamily qwen3_vl_moe = {
    .name = "Qwen3-VL-MoE",
    .model_types = "qwen3_vl_moe qwen3_vl_moe_text",
    .architectures = "Qwen3VLMoeForConditionalGeneration",
    .rules = {SIZES(2048, 24), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(4), NORMALIZED(0), EXPERTS(QWEN_EXPERTS, 60),
              WIDTH("moe_intermediate_size", 1408), HIDDEN_ACT, SPARSE_STEP},
    .exclude = "mlp_only_layers",
    .block = "mlp.",
    .layouts = {&stacked_in_out, &stacked, &projections},
    .tensors = {POST_NORM, ROUTER("@gate")},
};

static const ImportFamily qwen3_next = {
    .name = "Qwen3-Next",
    .model_types = "qwen3_next",
    .architectures = "Qwen3NextForCausalLM",
    .rules = {SIZES(2048, 48), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(10), NORM_TOPK(1, 0), EXPERTS(QWEN_EXPERTS, 512),
              WIDTH("moe_intermediate_size", 512), HIDDEN_ACT, SHARED_EXPERT(512), SPARSE_STEP},
    .exclude = "mlp_only_layers",
    MLP,
    .tensors = {CENTRED_NORM, ROUTER("@gate"), SHARED_WITH_GATE},
};

static const ImportFamily qwen3_5_moe = {
    .name = "Qwen3.5-MoE",
    .model_types = "qwen3_5_moe qwen3_5_moe_text",
    .architectures = "Qwen3_5MoeForConditionalGeneration Qwen3_5MoeForCausalLM",
    .rules = {SIZES(2048, 40), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(8), NORMALIZED(0), EXPERTS(QWEN_EXPERTS, 256),
              WIDTH("moe_intermediate_size", 512), HIDDEN_ACT, SHARED_EXPERT(512)},
    .block = "mlp.",
    .layouts = {&stacked, &projections},
    .tensors = {CENTRED_NORM, ROUTER("@gate"), SHARED_WITH_GATE},
};

static const ImportFamily deepseek_v2 = {
    .name = "DeepSeek-V2",
    .model_types = "deepseek_v2",
    .architectures = "DeepseekV2ForCausalLM",
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

static const ImportFamily gpt_oss = {
    .name = "gpt-oss",
    .model_types = "gpt_oss",
    .architectures = "GptOssForCausalLM",
    .rules = {SIZES(2880, 36), RMS(1e-5), OUTER,
              SCORE("softmax"), [SETTING_RANK] = WORD("logit"), [SETTING_K] = KEY("num_experts_per_tok experts_per_token", 4),
              NORMALIZED(0), [SETTING_ROUTER_BIAS] = FIXED(1), EXPERTS(LOCAL_EXPERTS, 128),
              WIDTH("intermediate_size", 2880), [SETTING_ACTIVATION] = WORD("silu"), [SETTING_SLOPE] = KEY("swiglu_alpha", 1.702),
              [SETTING_LIMIT] = KEY("swiglu_limit", 7), [SETTING_UP_OFFSET] = FIXED(1), [SETTING_EXPERT_BIAS] = FIXED(1)},
    .block = "mlp.",
    .layouts = {&interleaved, &interleaved_blocks},
    .tensors = {POST_NORM, ROUTER("@router"), PLAIN(TENSOR_ROUTER_BIAS, "@router.bias")},
};

static const ImportFamily phimoe = {
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

#define GRANITE \
    SIZES(4096, 32), RMS(1e-6), OUTER, SCORE("softmax"), [SETTING_RANK] = WORD("logit"), TOP_K(2), NORMALIZED(0), \
                                                         EXPERTS(LOCAL_EXPERTS, 8), WIDTH("intermediate_size", 11008), \
                                                         HIDDEN_ACT, [SETTING_MULTIPLIER] = KEY("residual_multiplier", 1)

static const ImportFamily granitemoe = {
    .name = "GraniteMoE",
    .model_types = "granitemoe",
    .architectures = "GraniteMoeForCausalLM",
    .rules = {GRANITE},
    .block = "block_sparse_moe.",
    .layouts = {&granite},
    .tensors = {POST_NORM, ROUTER("@router.layer")},
};

static const ImportFamily granitemoeshared = {
    .name = "GraniteMoE with a shared expert",
    .model_types = "granitemoeshared",
    .architectures = "GraniteMoeSharedForCausalLM",
    .rules = {GRANITE, [SETTING_SHARED] = FIXED(1), [SETTING_SHARED_WIDTH] = KEY("shared_intermediate_size", 0)},
    .block = "block_sparse_moe.",
    .layouts = {&granite},
    .tensors = {POST_NORM, ROUTER("@router.layer"),
                PART(TENSOR_SHARED_GATE, "shared_mlp.input_linear.weight", ROWS_FIRST_HALF, ORDER_OUT_IN),
                PART(TENSOR_SHARED_UP, "shared_mlp.input_linear.weight", ROWS_SECOND_HALF, ORDER_OUT_IN),
                PLAIN(TENSOR_SHARED_DOWN, "shared_mlp.output_linear.weight")},
};

static const ImportFamily jamba = {
    .name = "Jamba",
    .model_types = "jamba",
    .architectures = "JambaForCausalLM",
    .rules = {SIZES(4096, 32), RMS(1e-6), OUTER, SCORE("softmax"), TOP_K(2), EXPERTS(QWEN_EXPERTS, 16),
              WIDTH("intermediate_size", 14336),
              HIDDEN_ACT, [SETTING_STEP] = KEY("expert_layer_period", 2), [SETTING_PHASE] = KEY("expert_layer_offset", 1)},
    .block = "feed_forward.",
    .layouts = {&projections, &stacked},
    .tensors = {NORM("pre_ff_layernorm"), ROUTER("@router")},
    .adjust = adjust_jamba,
};

static const ImportFamily dbrx = {
    .name = "DBRX",
    .model_types = "dbrx",
    .architectures = "DbrxForCausalLM",
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

static const ImportFamily hunyuan = {
    .name = "HunYuan-MoE",
    .model_types = "hunyuan_v1_moe",
    .architectures = "HunYuanMoEV1ForCausalLM",
    .rules = {SIZES(4096, 32), RMS(1e-5), OUTER, SCORE("softmax"), [SETTING_K] = KEY_LISTED("moe_topk num_experts_per_tok", 1),
              NORMALIZED(0), EXPERTS(QWEN_EXPERTS, 1), WIDTH("intermediate_size", 11008),
              HIDDEN_ACT, [SETTING_SHARED] = FIXED(1), [SETTING_SHARED_WIDTH] = KEY("intermediate_size", 11008)},
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate.wg"), SHARED("@shared_mlp")},
};

// --- sigmoid routers, corrected ---

#define DEEPSEEK_GROUPS(groups, top) \
    [SETTING_GROUPS] = NULLABLE("n_group", groups), [SETTING_TOP_GROUPS] = NULLABLE("topk_group", top), \
    [SETTING_GROUP_SCORE] = WORD("top2_sum")
#define NOAUX_TC .expectations = {{"scoring_func", "\"sigmoid\""}, {"topk_method", "\"noaux_tc\""}}
#define DEEPSEEK_CORRECTION CORRECTION("@gate.e_score_correction_bias")

static const ImportFamily deepseek_v3 = {
    .name = "DeepSeek-V3",
    .model_types = "deepseek_v3 deepseek_v32 kimi_k2",  // V3.2 is another attention
    .architectures = "DeepseekV3ForCausalLM DeepseekV32ForCausalLM",
    .rules = {SIZES(7168, 61), RMS(1e-6), OUTER, SCORE("sigmoid"), [SETTING_CORRECTION] = FIXED(1), DEEPSEEK_GROUPS(8, 4), TOP_K(8),
              NORM_TOPK(1, 1e-20), SCALE(2.5), EXPERTS(ROUTED_EXPERTS, 256), WIDTH("moe_intermediate_size", 2048),
              HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), FIRST_DENSE(3), FREQUENCY},
    NOAUX_TC,
    .nested_prefix = "language_model.model.",
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

static const ImportFamily glm4_moe = {
    .name = "GLM-4-MoE",
    .model_types = "glm4_moe",
    .architectures = "Glm4MoeForCausalLM",
    .rules = {SIZES(4096, 46), RMS(1e-5), OUTER, SCORE("sigmoid"), [SETTING_CORRECTION] = FIXED(1), DEEPSEEK_GROUPS(1, 1), TOP_K(8),
              NORM_TOPK(1, 1e-20), SCALE(1), EXPERTS(ROUTED_EXPERTS, 128), WIDTH("moe_intermediate_size", 1408),
              HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), FIRST_DENSE(1)},
    NOAUX_TC,
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

static const ImportFamily dots1 = {
    .name = "dots.llm1",
    .model_types = "dots1",
    .architectures = "Dots1ForCausalLM",
    .rules = {SIZES(4608, 62), RMS(1e-6), OUTER, SCORE("sigmoid"), [SETTING_CORRECTION] = FIXED(1),
              DEEPSEEK_GROUPS(1, 1), [SETTING_K] = REQUIRED("num_experts_per_tok"), NORM_TOPK(0, 1e-20),
              SCALE(1), [SETTING_EXPERTS] = REQUIRED(ROUTED_EXPERTS), WIDTH("moe_intermediate_size", 1408),
              HIDDEN_ACT, [SETTING_SHARED] = REQUIRED("n_shared_experts"), FIRST_DENSE(0)},
    // scoring_func is not asked: the code computes a sigmoid whatever the word.
    .expectations = {{"topk_method", "\"noaux_tc\""}},
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

static const ImportFamily minimax_m2 = {
    .name = "MiniMax-M2",
    .model_types = "minimax_m2",
    .architectures = "MiniMaxM2ForCausalLM",
    .rules = {SIZES(3072, 62), RMS(1e-6), OUTER, SCORE("sigmoid"), [SETTING_CORRECTION] = FIXED(1), TOP_K(8), NORMALIZED(0),
              EXPERTS(LOCAL_EXPERTS, 256), WIDTH("intermediate_size", 1536), HIDDEN_ACT},
    .expectations = {{"scoring_func", "\"sigmoid\""}},
    BLOCK_SPARSE_MOE,
    .tensors = {POST_NORM, ROUTER("@gate"), CORRECTION("@e_score_correction_bias")},
};

static const ImportFamily lfm2_moe = {
    .name = "LFM2-MoE",
    .model_types = "lfm2_moe",
    .architectures = "Lfm2MoeForCausalLM",
    .rules =
        {SIZES(2048, 32), NORM_KIND("rms", "norm_eps", 1e-5), OUTER,
         SCORE("sigmoid"), [SETTING_CORRECTION] = KEY("use_expert_bias", 1), TOP_K(4), NORM_TOPK(1, 1e-6), SCALE(1),
         EXPERTS(QWEN_EXPERTS, 32),
         WIDTH("moe_intermediate_size", 1792), [SETTING_ACTIVATION] = WORD("silu"), [SETTING_FIRST] = KEY("num_dense_layers", 2)},
    .block = "feed_forward.",
    .layouts = {&numbered},
    .tensors = {NORM("ffn_norm"), ROUTER("@gate"), CORRECTION("@expert_bias")},
};

// --- others ---

static const ImportFamily ernie4_5_moe = {
    .name = "ERNIE-4.5-MoE",
    .model_types = "ernie4_5_moe",
    .architectures = "Ernie4_5_MoeForCausalLM Ernie4_5_MoEForCausalLM",
    .rules =
        {SIZES(2560, 28), RMS(1e-5), OUTER,
         SCORE("softmax"), [SETTING_CORRECTION] = FIXED(1), [SETTING_K] = KEY("moe_k num_experts_per_tok", 6),
         [SETTING_NORMALIZE] = FIXED(1), [SETTING_NORMALIZE_EPS] = KEY("moe_norm_min", 1e-12), [SETTING_NORMALIZE_CLAMP] = FIXED(1),
         EXPERTS("moe_num_experts num_experts", 64), WIDTH("moe_intermediate_size", 1536),
         HIDDEN_ACT, [SETTING_SHARED] = KEY("moe_num_shared_experts", 2), [SETTING_SHARED_BIAS] = KEY("use_bias", 0),
         [SETTING_FIRST] = KEY("moe_layer_start_index", 1), [SETTING_LAST] = KEY("moe_layer_end_index", -1),
         [SETTING_STEP] = KEY("moe_layer_interval", 1)},
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate"), CORRECTION("@moe_statics.e_score_correction_bias"), SHARED("@shared_experts"),
                PLAIN(TENSOR_SHARED_GATE_BIAS, "@shared_experts.gate_proj.bias"),
                PLAIN(TENSOR_SHARED_UP_BIAS, "@shared_experts.up_proj.bias"),
                PLAIN(TENSOR_SHARED_DOWN_BIAS, "@shared_experts.down_proj.bias")},
    .adjust = adjust_ernie,
};

static const ImportFamily llama4 = {
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
    .layouts = {&stacked_in_out},
    .tensors = {POST_NORM, ROUTER("@router"), SHARED("@shared_expert")},
};

#define CLASSIFIER ROUTER("@router.classifier"), PLAIN(TENSOR_ROUTER_BIAS, "@router.classifier.bias")

static const ImportFamily longcat_flash = {
    .name = "LongCat-Flash",
    .model_types = "longcat_flash",
    .architectures = "LongcatFlashForCausalLM",
    .rules = {[SETTING_HIDDEN] = KEY("hidden_size", 6144),
              [SETTING_LAYERS] = KEY("num_layers num_hidden_layers", 28),
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

#define SWITCH(sparse) \
    [SETTING_HIDDEN] = KEY("d_model hidden_size", 768), [SETTING_SPARSE] = KEY(sparse, 3), [SETTING_NORM] = WORD("rms"), \
    [SETTING_NORM_EPS] = KEY("layer_norm_epsilon", 1e-6), [SETTING_OUTER] = FIXED(1), \
    SCORE("softmax"), [SETTING_K] = FIXED(1), [SETTING_ROUTER_BIAS] = KEY("router_bias", 0), EXPERTS("num_experts", 8), \
    WIDTH("d_ff", 2048), [SETTING_GATED] = FIXED(0), [SETTING_ACTIVATION] = KEY_WORD("dense_act_fn", "relu")

static const ImportFamily switch_decoder = {
    .name = "Switch Transformers, decoder",
    .rules = {SWITCH("num_sparse_decoder_layers"), [SETTING_LAYERS] = NULLABLE("num_decoder_layers", 12)},
    .prefix = "decoder.",
    .stem = "block.{layer}.",
    .block = "layer.2.mlp.",
    .layouts = {&switch_experts},
    .tensors = {NORM("layer.2.layer_norm"), CLASSIFIER},
    .adjust = adjust_switch_decoder,
    .entry = "decoder",
};

static const ImportFamily switch_encoder = {
    .name = "Switch Transformers",
    .model_types = "switch_transformers",
    .architectures = "SwitchTransformersForConditionalGeneration",
    .rules = {SWITCH("num_sparse_encoder_layers"), [SETTING_LAYERS] = KEY("num_layers num_hidden_layers", 12)},
    .prefix = "encoder.",
    .stem = "block.{layer}.",
    .block = "layer.1.mlp.",
    .layouts = {&switch_experts},
    .tensors = {NORM("layer.1.layer_norm"), CLASSIFIER},
    .adjust = adjust_switch,
    .entry = "encoder",
    .remark = "expert capacity is not modelled: where the model drops a token because its expert is full, the layer computes it",
    .also = &switch_decoder,
};

static const ImportFamily cohere2_moe = {
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

const ImportFamily *const import_families[] = {
    &coe,           &remoe,
    &da_moe,        &mixtral,
    &minimax,       &minimax_m2,
    &olmoe,         &qwen2_moe,
    &qwen3_moe,     &qwen3_vl_moe,
    &qwen3_next,    &qwen3_5_moe,
    &deepseek_v2,   &deepseek_v3,
    &glm4_moe,      &dots1,
    &ernie4_5_moe,  &gpt_oss,
    &llama4,        &phimoe,
    &granitemoe,    &granitemoeshared,
    &jamba,         &dbrx,
    &hunyuan,       &lfm2_moe,
    &longcat_flash, &switch_encoder,
    &cohere2_moe,   NULL,
};
