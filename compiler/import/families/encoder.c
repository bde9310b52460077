// Encoder-decoder models: two stacks of layers each.
#include "row.h"

static const ImportLayout switch_experts = {
    .tensors = {PLAIN(TENSOR_UP, "@experts.expert_{expert}.wi.weight"), PLAIN(TENSOR_DOWN, "@experts.expert_{expert}.wo.weight")}};

#define CAPACITY "expert capacity is not modelled: where the model drops a token because its expert is full, the layer computes it"

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
        const json_t *layers = import_config_get(config, "num_layers num_hidden_layers", NULL);
        import_value_set(&values[SETTING_LAYERS], layers ? (double)json_integer_value(layers) : 12);
    }
    return adjust_switch(config, values);
}

// One layer of so many is sparse; of 0 none. At inference what dropout leaves is a factor.
static bool adjust_nllb(const ImportConfig *config, ImportValue *values) {
    double step = values[SETTING_SPARSE].number, dropout = values[SETTING_ALPHA].number;
    if (dropout >= 1) {
        import_error(config, values[SETTING_ALPHA].key, "%s is %g: such a layer does not use its experts",
                     values[SETTING_ALPHA].key, dropout);
        return false;
    }
    import_value_set(step > 0 ? &values[SETTING_STEP] : &values[SETTING_LAST], step > 0 ? step : -1);
    if (dropout > 0) {
        import_value_set(&values[SETTING_SCALE], 1 - dropout);
    }
    return true;
}

#define SWITCH(sparse) \
    [SETTING_HIDDEN] = KEY("d_model hidden_size", 768), [SETTING_SPARSE] = KEY(sparse, 3), [SETTING_NORM] = WORD("rms"), \
    [SETTING_NORM_EPS] = KEY("layer_norm_epsilon", 1e-6), [SETTING_OUTER] = FIXED(1), \
    SCORE("softmax"), [SETTING_K] = FIXED(1), [SETTING_ROUTER_BIAS] = KEY("router_bias", 0), EXPERTS("num_experts", 8), \
    WIDTH("d_ff", 2048), [SETTING_GATED] = FIXED(0), [SETTING_ACTIVATION] = KEY_WORD("dense_act_fn", "relu")

static const ImportFamily switch_decoder = {
    .name = "Switch Transformers, decoder",
    .aliases = "hidden_size num_hidden_layers",
    .rules = {SWITCH("num_sparse_decoder_layers"), [SETTING_LAYERS] = NULLABLE("num_decoder_layers", 12)},
    .prefix = "decoder.",
    .stem = "block.{layer}.",
    .block = "layer.2.mlp.",
    .layouts = {&switch_experts},
    .tensors = {NORM("layer.2.layer_norm"), CLASSIFIER},
    .adjust = adjust_switch_decoder,
    .entry = "decoder",
};

const ImportFamily family_switch_encoder = {
    .name = "Switch Transformers",
    .model_types = "switch_transformers",
    .architectures = "SwitchTransformersForConditionalGeneration",
    .aliases = "hidden_size num_hidden_layers",
    .rules = {SWITCH("num_sparse_encoder_layers"), [SETTING_LAYERS] = KEY("num_layers num_hidden_layers", 12)},
    .prefix = "encoder.",
    .stem = "block.{layer}.",
    .block = "layer.1.mlp.",
    .layouts = {&switch_experts},
    .tensors = {NORM("layer.1.layer_norm"), CLASSIFIER},
    .adjust = adjust_switch,
    .entry = "encoder",
    .remark = CAPACITY,
    .also = &switch_decoder,
};

static const ImportLayout nllb_experts = {.tensors = {PLAIN(TENSOR_UP, "@experts.expert_{expert}.fc1.weight"),
                                                      PLAIN(TENSOR_DOWN, "@experts.expert_{expert}.fc2.weight"),
                                                      PLAIN(TENSOR_UP_BIAS, "@experts.expert_{expert}.fc1.bias"),
                                                      PLAIN(TENSOR_DOWN_BIAS, "@experts.expert_{expert}.fc2.bias")}};

// `half`: encoder or decoder.
#define NLLB(half, layers, step, width) \
    .aliases = "hidden_size num_hidden_layers", \
    .rules = {[SETTING_HIDDEN] = KEY("d_model hidden_size", 1024), \
              [SETTING_LAYERS] = KEY(layers, 12), \
              [SETTING_SPARSE] = KEY(step, 4), \
              [SETTING_NORM] = WORD("layer"), \
              [SETTING_NORM_EPS] = FIXED(1e-5), \
              [SETTING_NORM_BIAS] = FIXED(1), \
              OUTER, \
              SCORE("softmax"), \
              [SETTING_K] = FIXED(2), \
              NORMALIZED(0), \
              [SETTING_ROUTER_BIAS] = KEY("router_bias", 0), \
              [SETTING_ALPHA] = KEY("moe_token_dropout", 0.2), \
              EXPERTS("num_experts", 128), \
              WIDTH(width, 4096), \
              [SETTING_GATED] = FIXED(0), \
              [SETTING_ACTIVATION] = KEY_WORD("activation_function", "relu"), \
              [SETTING_EXPERT_BIAS] = FIXED(1)}, \
    .expectations = {{"second_expert_policy", "\"all\""}}, .prefix = "model." half ".", .block = "ffn.", \
    .layouts = {&nllb_experts}, .tensors = {NORM("ff_layer_norm"), PLAIN(TENSOR_NORM_BIAS, "ff_layer_norm.bias"), CLASSIFIER}, \
    .adjust = adjust_nllb, .entry = half

static const ImportFamily nllb_decoder = {.name = "NLLB-MoE, decoder",
                                          NLLB("decoder", "decoder_layers", "decoder_sparse_step", "decoder_ffn_dim")};

const ImportFamily family_nllb_encoder = {
    .name = "NLLB-MoE",
    .model_types = "nllb_moe nllb-moe",
    .architectures = "NllbMoeForConditionalGeneration",
    NLLB("encoder", "encoder_layers num_hidden_layers", "encoder_sparse_step", "encoder_ffn_dim"),
    .remark = CAPACITY,
    .also = &nllb_decoder,
};
