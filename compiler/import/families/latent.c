// Models whose routed experts work between two projections, in a narrower width than the router's.
#include <string.h>

#include "row.h"

static const ImportLayout plain_projections = {
    .tensors = {PLAIN(TENSOR_UP, "@experts.{expert}.up_proj.weight"), PLAIN(TENSOR_DOWN, "@experts.{expert}.down_proj.weight")}};
static const ImportLayout plain_stacked = {
    .tensors = {PLAIN(TENSOR_UP, "@experts.up_proj"), PLAIN(TENSOR_DOWN, "@experts.down_proj")}};

// There are as many layers as the list or the text has entries, whatever num_hidden_layers says.
static bool adjust_nemotron_h(const ImportConfig *config, ImportValue *values) {
    static const char pattern_key[] = "hybrid_override_pattern";
    char list_key[IMPORT_KEY_BYTES] = "";
    const json_t *list = import_config_get(config, "layers_block_type layer_types", list_key);
    const json_t *pattern = import_config_get(config, pattern_key, NULL),
                 *said = import_config_get(config, "num_hidden_layers", NULL);
    bool listed = json_is_array(list), written = !listed && json_is_string(pattern);
    const char *key = listed ? list_key : pattern_key;
    size_t count = listed ? json_array_size(list) : written ? strlen(json_string_value(pattern)) : 0;
    if ((listed || written) && (count < 1 || count > IMPORT_MAX_LAYERS)) {
        import_error(config, key, "%s must say something of each layer, of 1 to %d of them; it has %zu entries", key,
                     IMPORT_MAX_LAYERS, count);
        return false;
    }
    if (!listed && !written) {
        return true;
    }
    import_value_set(&values[SETTING_LAYERS], (double)count);
    if (json_is_integer(said) && json_integer_value(said) != (json_int_t)count) {
        import_remark(config, "num_hidden_layers is %lld, but %s has %zu entries: these count, as in transformers",
                      (long long)json_integer_value(said), key, count);
    }
    return true;
}

// Without a list and a text, transformers takes four layers, of which the second has experts. Of shared experts it has one,
// whatever n_shared_experts says.
const ImportFamily family_nemotron_h = {
    .name = "Nemotron-H",
    .model_types = "nemotron_h",
    .architectures = "NemotronHForCausalLM",
    .aliases = "layer_types num_local_experts",
    .rules = {[SETTING_HIDDEN] = KEY("hidden_size", 4096),
              [SETTING_LAYERS] = FIXED(4),
              NORM_KIND("rms", "layer_norm_epsilon", 1e-5),
              OUTER,
              NOAUX_SCORES,
              DEEPSEEK_GROUPS(1, 1),
              TOP_K(2),
              NORM_TOPK(1, 1e-20),
              SCALE(1),
              EXPERTS("n_routed_experts num_local_experts", 8),
              WIDTH("moe_intermediate_size", 7688),
              [SETTING_GATED] = FIXED(0),
              [SETTING_ACTIVATION] = KEY_WORD("mlp_hidden_act", "relu2"),
              [SETTING_LATENT] = OPTIONAL("moe_latent_size"),
              [SETTING_SHARED] = FIXED(1),
              [SETTING_SHARED_WIDTH] = KEY("moe_shared_expert_intermediate_size", 7688),
              [SETTING_FIRST] = FIXED(1),
              [SETTING_LAST] = FIXED(1)},
    .types = "layer_types layers_block_type hybrid_override_pattern",
    .idle = "linear_attention mamba full_attention attention mlp",
    .letters = "EM*-",
    .expectations = {{"mlp_bias", "false"}},
    .prefix = "backbone.",
    .block = "mixer.",
    .layouts = {&plain_projections, &plain_stacked},
    .tensors = {NORM("norm"), ROUTER("@gate"), DEEPSEEK_CORRECTION, PLAIN(TENSOR_SHARED_UP, "@shared_experts.up_proj.weight"),
                PLAIN(TENSOR_SHARED_DOWN, "@shared_experts.down_proj.weight"), PLAIN(TENSOR_LATENT_IN, "@fc1_latent_proj.weight"),
                PLAIN(TENSOR_LATENT_OUT, "@fc2_latent_proj.weight")},
    .adjust = adjust_nemotron_h,
};
