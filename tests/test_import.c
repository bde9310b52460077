// catena import: every golden checkpoint, the fields that families differ in, which layers are sparse, transformers' defaults, and
// what is said of configurations that are unknown, wrong or do not fit their checkpoint. Over 500 lines, most of them tables.
#define _GNU_SOURCE
#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "available.h"
#include "compiler/commands/command.h"
#include "compiler/description/model.h"
#include "compiler/import/read.h"
#include "importing.h"
#include "shell.h"
#include "suites.h"

static const char golden[] = "tests/golden";

// --- golden checkpoints ------------------------------------------------------------------------------------------------------

static struct dirent **folders;
static int folder_count;

static int is_checkpoint(const struct dirent *entry) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s/config.json", golden, entry->d_name);
    return *entry->d_name != '.' && !access(path, F_OK);
}

// The description is accepted by the reader of descriptions and fits every tensor.
START_TEST(imports_golden_checkpoints) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", golden, folders[_i]->d_name);
    Imported result = importing_path(path);
    ck_assert_msg(result.text, "%s", result.diagnostics.text);
    Diagnostics diagnostics = {0};
    Model *model = model_read_text(result.text, strlen(result.text), path, &diagnostics);
    ck_assert_msg(model, "%s", diagnostics.text);
    importing_words(result.summary, "every tensor is there");
    ck_assert_str_eq(model->name, folders[_i]->d_name);
    model_free(model);
    diagnostics_free(&diagnostics);
    importing_free(&result);
}
END_TEST

START_TEST(golden_checkpoints_are_there) {
    ck_assert_int_ge(folder_count, 30);
}
END_TEST

#define TENSOR(name) "layers.0.checkpoint.tensors." name
static const struct {
    const char *folder, *path, *value;
} fields[] = {
    {"coe", "layers.0.iterations", "2"},
    {"coe", "layers.0.residual", "{\"inner\": true}"},
    {"coe", "layers.0.router.per_iteration", "true"},
    {"coe", "layers.0.norm", "{\"kind\": \"rms\"}"},  // eps is the default
    {"coe", TENSOR("router"), "\"model.layers.{layer}.mlp.gate.{iteration}.weight\""},
    {"coe_inner_outer", "layers.0.residual", "{\"inner\": true, \"outer\": true}"},
    {"coe_inner_outer", "layers.0.router.normalize", "true"},
    {"coe_inner_outer", "layers.0.router.scale", "null"},  // normalised weights are not scaled
    {"coe_inner_outer", "layers.0.shared_experts", "{\"count\": 1, \"intermediate\": 40}"},
    {"coe_outer", "layers.0.router.groups", "{\"count\": 4, \"k\": 2, \"score\": \"max\", \"mask\": \"zero\"}"},
    {"coe_outer", TENSOR("router"), "\"model.layers.{layer}.mlp.gate.weight\""},
    {"coe_none", "layers.0.residual", "null"},
    {"coe_none", "layers.0.router.scale", "1.8"},
    {"coe_converted", "layers.0.residual.coe_weight", "true"},
    {"remoe", "layers.0.router", "{\"score\": \"relu\", \"select\": \"threshold\", \"expected_k\": 3}"},
    {"da_moe", "layers.0.router", "{\"score\": \"softmax\", \"k\": 6, \"k_per_token\": true}"},
    {"mixtral", "layers.0.router", "{\"score\": \"softmax\", \"k\": 2, \"normalize\": true, \"normalize_eps\": 0}"},
    {"mixtral", TENSOR("up"), "\"model.layers.{layer}.block_sparse_moe.experts.{expert}.w3.weight\""},
    {"minimax_m2", "layers.0.router.score", "\"sigmoid\""},
    {"minimax_m2", TENSOR("correction"), "\"model.layers.{layer}.block_sparse_moe.e_score_correction_bias\""},
    {"qwen2_moe", "layers.0.shared_experts.gated", "true"},
    {"qwen3_next", TENSOR("norm"), "{\"name\": \"model.layers.{layer}.post_attention_layernorm.weight\", \"add\": 1}"},
    {"deepseek_v2", "layers.0.router.groups.mask", "\"zero\""},
    {"deepseek_v3", "layers.0.router.groups.score", "\"top2_sum\""},
    {"deepseek_v3", "layers.0.router.groups.mask", "null"},  // minus infinity
    {"deepseek_v3", "layers.0.router.normalize_eps", "null"},  // 1e-20
    {"glm4_moe", "layers.0.router.correction", "true"},
    {"dots1", TENSOR("correction"), "\"model.layers.{layer}.mlp.gate.e_score_correction_bias\""},
    {"ernie4_5_moe", "layers.0.router.normalize_clamp", "true"},
    {"gpt_oss", TENSOR("up"),
     "{\"name\": \"model.layers.{layer}.mlp.experts.gate_up_proj\", \"rows\": \"odd\", \"order\": \"in_out\"}"},
    {"gpt_oss", "layers.0.router.rank", "\"logit\""},
    {"gpt_oss", "layers.0.experts.slope", "1.5"},
    {"gpt_oss", "layers.0.experts.up_offset", "1"},
    {"gpt_oss_mxfp4", TENSOR("gate"),
     "{\"name\": \"model.layers.{layer}.mlp.experts.gate_up_proj\", \"rows\": \"even\", \"encoding\": \"mxfp4\"}"},
    {"gpt_oss_mxfp4", TENSOR("down"), "{\"name\": \"model.layers.{layer}.mlp.experts.down_proj\", \"encoding\": \"mxfp4\"}"},
    {"llama4", "layers.0.router.weight_on", "\"input\""},
    {"phimoe", "layers.0.router.select", "\"sparsemixer\""},
    {"phimoe", "layers.0.norm.bias", "true"},
    {"granitemoe", TENSOR("gate"),
     "{\"name\": \"model.layers.{layer}.block_sparse_moe.input_linear.weight\", \"rows\": \"first_half\"}"},
    {"granitemoeshared", TENSOR("shared_up"),
     "{\"name\": \"model.layers.{layer}.shared_mlp.input_linear.weight\", \"rows\": \"second_half\"}"},
    {"jamba", "layers.0.router", "{\"score\": \"softmax\", \"k\": 3}"},
    {"dbrx", "layers.0.norm", "{\"kind\": \"layer\", \"eps\": 1e-5}"},
    {"dbrx", TENSOR("down"), "{\"name\": \"transformer.blocks.{layer}.ffn.experts.mlp.w2\", \"order\": \"in_out\"}"},
    {"hunyuan_v1_moe", "layers.0.router.k", "2"},  // k differs from layer to layer
    {"hunyuan_v1_moe", "layers.1.router.k", "3"},
    {"hunyuan_v1_moe", "layers.1.name", "\"moe_2\""},
    {"lfm2_moe", "layers.0.router.normalize_eps", "1e-6"},
    {"longcat_flash", "layers.0.residual", "null"},
    {"switch_transformers", "layers.0.name", "\"encoder\""},
    {"switch_transformers", "layers.1.name", "\"decoder\""},
    {"switch_transformers", "layers.0.experts.gated", "false"},
    {"cohere2_moe", TENSOR("norm"), "\"model.layers.{layer}.input_layernorm.weight\""},
    {"cohere2_moe", "layers.0.checkpoint.first_layer", "1"},
};
enum { FIELDS = sizeof fields / sizeof *fields };

START_TEST(describes_golden_checkpoints) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", golden, fields[_i].folder);
    Imported result = importing_path(path);
    importing_value(&result, fields[_i].path, fields[_i].value);
    importing_free(&result);
}
END_TEST

// --- configurations alone ----------------------------------------------------------------------------------------------------

#define MIXTRAL(more) "{\"model_type\": \"mixtral\"" more "}"
static const struct {
    const char *config, *path, *value;
} configs[] = {
    // recognised by either, in an object of a multimodal model too
    {"{\"architectures\": [\"MixtralForCausalLM\"]}", "layers.0.experts.count", "8"},
    {"{\"model_type\": \"deepseek_v32\", \"architectures\": [\"DeepseekV32ForCausalLM\"]}", "layers.0.experts.count", "256"},
    {"{\"model_type\": \"kimi_k2\", \"architectures\": [\"DeepseekV3ForCausalLM\"]}", "layers.0.router.score", "\"sigmoid\""},
    {"{\"model_type\": \"new\", \"architectures\": [\"Other\", \"OlmoeForCausalLM\"]}", "layers.0.experts.count", "64"},
    {"{\"model_type\": \"llama4\", \"text_config\": {\"model_type\": \"llama4_text\", \"hidden_size\": 96}}", "layers.0.hidden",
     "96"},
    {"{\"model_type\": \"llama4\", \"text_config\": {\"model_type\": \"llama4_text\"}}", TENSOR("router"),
     "\"language_model.model.layers.{layer}.feed_forward.router.weight\""},
    {"{\"model_type\": \"qwen3_vl_moe\", \"text_config\": {}}", TENSOR("down"),
     "{\"name\": \"model.language_model.layers.{layer}.mlp.experts.down_proj\", \"order\": \"in_out\"}"},
    {"{\"model_type\": \"qwen3_omni_moe\", \"thinker_config\": {\"text_config\": {\"hidden_size\": 96}}}", "layers.0.hidden", "96"},
    {"{\"model_type\": \"unlimited_ocr\", \"language_config\": {\"hidden_size\": 96}}", "layers.0.hidden", "96"},
    {"{\"model_type\": \"qwen3_omni_moe_thinker\", \"text_config\": {\"hidden_size\": 96}}", "layers.0.hidden", "96"},
    {"{\"model_type\": \"qwen3_omni_moe\", \"thinker_config\": {\"text_config\": {}}}", TENSOR("router"),
     "\"thinker.model.layers.{layer}.mlp.gate.weight\""},
    {"{\"model_type\": \"sarvam_moe\", \"architectures\": [\"Glm4MoeForCausalLM\"]}", TENSOR("correction"),
     "\"model.layers.{layer}.mlp.gate.expert_bias\""},
    // limits of one layer, and of its shared experts
    {"{\"model_type\": \"step3p5\", \"num_hidden_layers\": 4, \"swiglu_limits\": [null, 1, 1, 7.5]}", "layers.0.experts",
     "{\"count\": 288, \"intermediate\": 1280, \"activation\": \"silu\", \"limit\": 7.5, \"limit_place\": \"after_activation\"}"},
    {"{\"model_type\": \"step3p5\", \"num_hidden_layers\": 4, \"swiglu_limits\": [null, 1, 1, 7.5]}", "layers.0.shared_experts",
     "{\"count\": 1, \"intermediate\": 1280, \"limit\": 0}"},
    {"{\"model_type\": \"step3p5\", \"num_hidden_layers\": 4, \"swiglu_limits_shared\": [null, null, null, 3]}", "layers.0.experts",
     "{\"count\": 288, \"intermediate\": 1280, \"activation\": \"silu\", \"limit_place\": \"after_activation\"}"},
    {"{\"model_type\": \"step3p5\", \"num_hidden_layers\": 4, \"swiglu_limits\": [2, 2, 2, 0]}", "layers.0.experts",
     "{\"count\": 288, \"intermediate\": 1280, \"activation\": \"silu\"}"},
    {"{\"model_type\": \"step3p5\", \"num_hidden_layers\": 4, \"swiglu_limits\": [0, 0, 0, 7], \"swiglu_limits_shared\": [0, 0, 0, "
     "7]}",
     "layers.0.shared_experts", "{\"count\": 1, \"intermediate\": 1280}"},
    // residual factors that follow from the layer's number
    {"{\"model_type\": \"beam\", \"num_hidden_layers\": 5}", "layers.0.residual",
     "{\"outer\": true, \"alpha\": 0.9428090415820634, \"multiplier\": 0.3333333333333333}"},
    {"{\"model_type\": \"beam\"}", "layers.48.name", "\"moe_49\""},
    {"{\"model_type\": \"jetmoe\", \"rms_norm_eps\": 0.5}", "layers.0.norm", "{\"kind\": \"rms\"}"},
    // of lists for text and images the first number counts
    {"{\"model_type\": \"ernie4_5_moe_vl\", \"moe_num_experts\": [32, 16], \"moe_intermediate_size\": [24, 12]}",
     "layers.0.experts", "{\"count\": 32, \"intermediate\": 24, \"activation\": \"silu\"}"},
    {"{\"model_type\": \"ernie4_5_moe_vl\", \"moe_layer_start_index\": [2, 5]}", "layers.0.checkpoint.first_layer", "2"},
    {"{\"model_type\": \"ernie4_5_moe_vl\", \"moe_intermediate_size\": 24}", "layers.0.experts.intermediate", "24"},
    // with dense_intermediate_size, intermediate_size is the experts'
    {"{\"model_type\": \"inkling_text\", \"intermediate_size\": 48}", "layers.0.experts.intermediate", "3072"},
    {"{\"model_type\": \"inkling_text\", \"intermediate_size\": 48, \"dense_intermediate_size\": 64}",
     "layers.0.experts.intermediate", "48"},
    {"{\"model_type\": \"inkling_text\"}", "layers.0.shared_experts", "{\"count\": 2, \"gated\": true, \"joint\": true}"},
    // a key that transformers knows and replaces by the default
    {"{\"model_type\": \"step3p5\", \"num_local_experts\": 12}", "layers.0.experts.count", "288"},
    {"{\"model_type\": \"step3p5\", \"num_local_experts\": 12, \"moe_num_experts\": 20}", "layers.0.experts.count", "20"},
    // names of keys
    {"{\"model_type\": \"kimi_linear\", \"num_experts_per_token\": 5, \"moe_renormalize\": false, \"num_expert_group\": 4, "
     "\"topk_group\": 2}",
     "layers.0.router",
     "{\"score\": \"sigmoid\", \"correction\": true, \"groups\": {\"count\": 4, \"k\": 2, \"score\": \"top2_sum\"}, \"k\": 5, "
     "\"scale\": 2.446}"},
    {MIXTRAL(", \"num_experts\": 12"), "layers.0.experts.count", "12"},
    {MIXTRAL(", \"num_local_experts\": 6, \"num_experts\": 12"), "layers.0.experts.count",
     "12"},  // in transformers num_experts is an alias, which wins
    // dtype
    {MIXTRAL(", \"dtype\": \"bfloat16\""), "layers.0.weights", "\"bf16\""},
    {MIXTRAL(", \"torch_dtype\": \"float16\""), "layers.0.weights", "\"fp16\""},
    {MIXTRAL(", \"dtype\": \"float32\""), "layers.0.weights", "\"fp32\""},
    {MIXTRAL(""), "layers.0.weights", "\"bf16\""},
    {"{\"model_type\": \"llama4\", \"dtype\": \"float32\", \"text_config\": {}}", "layers.0.weights", "\"fp32\""},
    // activations
    {MIXTRAL(", \"hidden_act\": \"gelu_pytorch_tanh\""), "layers.0.experts.activation", "\"gelu_tanh\""},
    {MIXTRAL(", \"hidden_act\": \"quick_gelu\""), "layers.0.experts.slope", "1.702"},
    // groups of which all remain are none
    {"{\"model_type\": \"deepseek_v3\", \"n_group\": 1, \"topk_group\": 1}", "layers.0.router.groups", "null"},
    {"{\"model_type\": \"deepseek_v3\", \"n_group\": 8, \"topk_group\": 8}", "layers.0.router.groups", "null"},
    {"{\"model_type\": \"deepseek_v3\", \"n_group\": null}", "layers.0.router.groups", "null"},
    {"{\"model_type\": \"deepseek_v2\", \"num_experts_per_tok\": 6, \"n_group\": 8, \"topk_group\": 3}", "layers.0.router.groups",
     "null"},
    // what a family's own function makes
    {"{\"model_type\": \"minimax\", \"mlp_alpha_factor\": 3, \"mlp_beta_factor\": 2}", "layers.0.residual",
     "{\"inner\": true, \"inner_alpha\": 1.5, \"multiplier\": 2}"},
    {"{\"model_type\": \"minimax_text_01\", \"layernorm_mlp_alpha\": 3, \"postnorm\": true, \"shared_intermediate_size\": 0}",
     "layers.0.residual.inner_alpha", "3"},
    {"{\"model_type\": \"dbrx\", \"ffn_config\": {\"moe_normalize_expert_weights\": null}}", "layers.0.router",
     "{\"score\": \"softmax\", \"k\": 1}"},
    {"{\"model_type\": \"dbrx\", \"ffn_config\": {\"moe_normalize_expert_weights\": 2.0}}", "layers.0.router.normalize_p", "2"},
    {"{\"model_type\": \"cohere2_moe\", \"num_shared_experts\": 2}", "layers.0.router.scale", "0.5"},
    {"{\"model_type\": \"cohere2_moe\", \"num_shared_experts\": 2}", "layers.0.shared_experts.scale", "0.5"},
    {"{\"model_type\": \"cohere2_moe\"}", "layers.0.router.scale", "null"},
    {"{\"model_type\": \"cohere2_moe\", \"num_shared_experts\": 2, \"shared_expert_combination_strategy\": \"sum\"}",
     "layers.0.router.scale", "null"},
    {"{\"model_type\": \"cohere2_moe\", \"expert_selection_fn\": \"sigmoid\", \"norm_topk_prob\": false}", "layers.0.router",
     "{\"score\": \"sigmoid\", \"rank\": \"logit\", \"k\": 2}"},
    {"{\"model_type\": \"cohere2_moe\", \"rms_norm_eps\": 0.25}", "layers.0.norm", "{\"kind\": \"rms\", \"eps\": 0.25}"},
    {"{\"model_type\": \"longcat_flash\", \"num_hidden_layers\": 8}", "layers.0.count", "4"},
    {"{\"model_type\": \"longcat_flash\"}", "layers.0.experts.identity", "256"},
    {"{\"model_type\": \"longcat_flash\", \"router_bias\": true}", TENSOR("router_bias"),
     "\"model.layers.{layer}.mlp.router.classifier.bias\""},
    {"{\"model_type\": \"longcat_flash\", \"zero_expert_num\": null}", "layers.0.experts.identity", "null"},
    {"{\"model_type\": \"lfm2_moe\", \"use_expert_bias\": false}", "layers.0.router.correction", "null"},
    {"{\"model_type\": \"granitemoe\", \"residual_multiplier\": 0.22}", "layers.0.residual",
     "{\"outer\": true, \"multiplier\": 0.22}"},
    {"{\"model_type\": \"coe\", \"num_experts_per_tok\": 1, \"n_routed_experts\": 4, \"norm_topk_prob\": true,"
     " \"routed_scaling_factor\": 3}",
     "layers.0.router", "{\"score\": \"softmax\", \"k\": 1, \"scale\": 3, \"per_iteration\": true}"},
    {"{\"model_type\": \"gpt_oss\", \"quantization_config\": {\"quant_method\": \"mxfp4\"}}", TENSOR("down.encoding"), "\"mxfp4\""},
    {"{\"model_type\": \"dots3_note\", \"n_shared_experts\": 3, \"shared_experts_intermediate_size\": 10}",
     "layers.0.shared_experts.intermediate", "30"},
    {"{\"model_type\": \"axk2\", \"n_group\": 4, \"topk_group\": 2}", "layers.0.router.groups.mask", "\"zero\""},
    {"{\"model_type\": \"mistral4\", \"n_group\": 4, \"topk_group\": 2}", "layers.0.router.groups.mask", "\"zero\""},
    {"{\"model_type\": \"nllb-moe\"}", "layers.0.router.scale", "0.8"},
    {"{\"model_type\": \"nllb-moe\", \"moe_token_dropout\": 0}", "layers.0.router.scale", "null"},
    {"{\"model_type\": \"laguna\", \"moe_router_logit_softcapping\": 2.5}", "layers.0.router.softcap", "2.5"},
    {"{\"model_type\": \"deepseek_v4\"}", "layers.0.residual", "null"},
    {"{\"model_type\": \"deepseek_v4\"}", "layers.0.norm", "null"},
    // a norm is at least 0 anyhow
    {"{\"model_type\": \"ernie4_5_moe\", \"moe_norm_min\": 0}", "layers.0.router",
     "{\"score\": \"softmax\", \"correction\": true, \"k\": 6, \"normalize\": true, \"normalize_eps\": 0}"},
    // no shared experts
    {"{\"model_type\": \"deepseek_v2\", \"num_experts_per_tok\": 6, \"n_shared_experts\": null}", "layers.0.shared_experts",
     "null"},
    // a least sum of 0 is none
    {"{\"model_type\": \"ernie4_5_moe\", \"moe_norm_min\": 0}", "layers.0.router.normalize_clamp", "null"},
    {"{\"model_type\": \"ernie4_5_moe\", \"moe_norm_min\": 0.5}", "layers.0.router.normalize_clamp", "true"},
    {"{\"model_type\": \"deepseek_v3\", \"n_shared_experts\": null}", "layers.0.shared_experts", "null"},
    {"{\"model_type\": \"glm4_moe\", \"n_shared_experts\": null}", "layers.0.shared_experts", "null"},
};
enum { CONFIGS = sizeof configs / sizeof *configs };

START_TEST(describes_configurations) {
    Imported result = importing_config(configs[_i].config);
    importing_value(&result, configs[_i].path, configs[_i].value);
    importing_free(&result);
}
END_TEST

static void expect_activation(const char *name, int activation, double slope) {
    char config[256], wanted[64], wanted_slope[32];
    snprintf(config, sizeof config, MIXTRAL(", \"hidden_act\": \"%s\""), name);
    snprintf(wanted, sizeof wanted, "\"%s\"", activation_names[activation]);
    snprintf(wanted_slope, sizeof wanted_slope, "%.17g", slope);
    Imported result = importing_config(config);
    importing_value(&result, "layers.0.experts.activation", wanted);
    importing_value(&result, "layers.0.experts.slope", slope != 1 ? wanted_slope : "null");
    importing_free(&result);
}

// Every name that an activation's row has leads to it, and who uses another name is told all of them.
START_TEST(knows_names_of_activations) {
    const ActivationFacts *facts = &activation_facts[_i];
    Imported refused = importing_config(MIXTRAL(", \"hidden_act\": \"mish\""));
    for (int i = 0; i < ACTIVATION_CONFIGS; i++) {
        if (facts->configs[i]) {
            expect_activation(facts->configs[i], _i, 1);
            importing_words(refused.diagnostics.text, facts->configs[i]);
        }
        if (facts->sloped_configs[i].name) {
            expect_activation(facts->sloped_configs[i].name, _i, facts->sloped_configs[i].slope);
            importing_words(refused.diagnostics.text, facts->sloped_configs[i].name);
        }
    }
    importing_free(&refused);
}
END_TEST

// What the classes of transformers make of an empty configuration (tests/import_defaults.py).
static json_t *defaults;

START_TEST(has_the_defaults_of_transformers) {
    json_t *row = json_array_get(defaults, (size_t)_i), *given = json_copy(json_object_get(row, "given"));
    json_object_set(given, "model_type", json_object_get(row, "model_type"));
    json_object_set(json_object_get(row, "full"), "model_type", json_object_get(row, "model_type"));
    char *texts[2] = {json_dumps(given, 0), json_dumps(json_object_get(row, "full"), 0)};
    Imported results[2] = {importing_config(texts[0]), importing_config(texts[1])};
    ck_assert_msg(results[0].text && results[1].text, "%s%s", results[0].text ? "" : results[0].diagnostics.text,
                  results[1].text ? "" : results[1].diagnostics.text);
    ck_assert_str_eq(results[0].text, results[1].text);
    for (int i = 0; i < 2; i++) {
        importing_free(&results[i]);
        free(texts[i]);
    }
    json_decref(given);
}
END_TEST

// --- sparse layers -----------------------------------------------------------------------------------------------------------

#define QWEN(more) "{\"model_type\": \"qwen3_moe\", " more "}"
// Entries as "first+step*count" and what is said of the others.
static const struct {
    const char *config, *entries, *remark;
} layer_rules[] = {
    {"{\"model_type\": \"mixtral\", \"num_hidden_layers\": 32}", "0+1*32", ""},
    // layers of other kinds between those with experts: words, or a text of letters where there is no list of words
    {"{\"model_type\": \"nemotron_h\"}", "1+1*1", "layers 0, 2..3 are without experts: skipped"},
    {"{\"model_type\": \"nemotron_h\", \"num_hidden_layers\": 5, \"hybrid_override_pattern\": \"ME*E-\"}", "1+2*2",
     "layers 0, 2, 4 are without experts"},
    {"{\"model_type\": \"nemotron_h\", \"layers_block_type\": [\"moe\", \"mamba\", \"attention\", \"mlp\"],"
     " \"hybrid_override_pattern\": \"EEE\"}",
     "0+1*1", "layers 1..3 are without experts"},
    {"{\"model_type\": \"nemotron_h\", \"num_hidden_layers\": 5, \"hybrid_override_pattern\": \"ME\"}", "1+1*1",
     "num_hidden_layers is 5, but hybrid_override_pattern has 2 entries: these count, as in transformers"},
    {"{\"model_type\": \"deepseek_v3\"}", "3+1*58", "layers 0..2 are dense: skipped"},
    {"{\"model_type\": \"deepseek_v3\", \"num_hidden_layers\": 9, \"first_k_dense_replace\": 1, \"moe_layer_freq\": 3}", "3+3*2",
     "layers 0..2, 4..5, 7..8 are dense: skipped"},
    {QWEN("\"num_hidden_layers\": 8, \"decoder_sparse_step\": 2"), "1+2*4", "layers 0, 2, 4, 6 are dense"},
    {QWEN("\"num_hidden_layers\": 6, \"mlp_only_layers\": [0, 99]"), "1+1*5", "layer 0 is dense"},
    {QWEN("\"num_hidden_layers\": 6, \"mlp_only_layers\": null"), "0+1*6", ""},
    {QWEN("\"num_hidden_layers\": 8, \"mlp_only_layers\": [1, 2]"), "0+3*2 4+1*4", "layers 1..2 are dense"},
    {"{\"model_type\": \"ernie4_5_moe\", \"num_hidden_layers\": 9, \"moe_layer_start_index\": 3, \"moe_layer_end_index\": 7,"
     " \"moe_layer_interval\": 2}",
     "3+2*3", "layers 0..2, 4, 6, 8 are dense"},
    {"{\"model_type\": \"llama4_text\", \"num_hidden_layers\": 7, \"interleave_moe_layer_step\": 2}", "1+2*3", ""},
    {"{\"model_type\": \"llama4_text\", \"num_hidden_layers\": 7, \"interleave_moe_layer_step\": 2, \"moe_layers\": [2, 5, 4]}",
     "2+2*2 5+1*1", ""},
    {"{\"model_type\": \"jamba\", \"num_hidden_layers\": 8, \"expert_layer_period\": 3, \"expert_layer_offset\": 2}", "2+3*2", ""},
    {"{\"model_type\": \"lfm2_moe\", \"num_hidden_layers\": 4}", "2+1*2", ""},
    {"{\"model_type\": \"cohere2_moe\", \"num_hidden_layers\": 4, \"first_k_dense_replace\": 3}", "3+1*1", ""},
    {"{\"model_type\": \"cohere2_moe\", \"num_hidden_layers\": 4, \"first_k_dense_replace\": 3,"
     " \"mlp_layer_types\": [\"sparse\", \"dense\", \"sparse\", \"dense\"]}",
     "0+2*2", ""},
    {"{\"model_type\": \"cohere2_moe\", \"num_hidden_layers\": 2, \"mlp_layer_types\": [\"dense\", \"sparse\", \"sparse\"]}",
     "1+1*1", "mlp_layer_types has 3 entries, and the model 2 layers: the first entries count"},
    {"{\"model_type\": \"switch_transformers\", \"num_sparse_encoder_layers\": 6, \"num_decoder_layers\": 4}", "1+2*6 0+1*4", ""},
    {"{\"model_type\": \"switch_transformers\", \"num_layers\": 6, \"num_decoder_layers\": null}", "1+2*3 1+2*3", "of the decoder"},
    {"{\"model_type\": \"hunyuan_v1_moe\", \"num_experts\": 4, \"num_hidden_layers\": 5, \"moe_topk\": [1, 2, 1, 2, 2]}",
     "0+2*2 1+2*2 4+1*1", ""},
    // layers of one entry have the same limits; null is none, and entries beyond the layers are not read
    {"{\"model_type\": \"step3p7\", \"text_config\": {\"num_hidden_layers\": 7, \"swiglu_limits\": [1, 0, 0.0, null, 0, 7, 7, 7]}}",
     "3+1*2 5+1*2", "layers 0..2 are dense"},
    {"{\"model_type\": \"step3p5\", \"num_hidden_layers\": 6, \"moe_layers_enum\": \"1,2, 3,5\", \"swiglu_limits\": [0, 0, 7, 0, "
     "0, 7],"
     " \"swiglu_limits_shared\": [0, 0, 16, 0, 0, 7]}",
     "1+2*2 2+1*1 5+1*1", "layers 0, 4 are dense"},
    // a list of words wins over the older keys, one of numbers does not, and null is none
    {"{\"model_type\": \"deepseek_v32\", \"num_hidden_layers\": 2, \"first_k_dense_replace\": 3,"
     " \"mlp_layer_types\": [\"dense\", \"sparse\"]}",
     "1+1*1", "layer 0 is dense"},
    {"{\"model_type\": \"mimo_v2_flash\", \"num_hidden_layers\": 4, \"first_k_dense_replace\": 2, \"mlp_layer_types\": null,"
     " \"moe_layer_freq\": [0, 1, 1, 1]}",
     "2+1*2", "layers 0..1 are dense"},
    {"{\"model_type\": \"mimo_v2_flash\", \"num_hidden_layers\": 3, \"mlp_layer_types\": [\"sparse\", \"dense\", \"sparse\"],"
     " \"moe_layer_freq\": [0, 1, 1]}",
     "0+2*2", "layer 1 is dense"},
    {"{\"model_type\": \"laguna\", \"num_hidden_layers\": 4}", "1+1*3", "layer 0 is dense"},
    // a number is a step
    {"{\"model_type\": \"dots3_note\", \"num_hidden_layers\": 7, \"moe_layer_freq\": 3}", "3+3*2", "layers 0..2, 4..5 are dense"},
    {"{\"model_type\": \"deepseek_v4\", \"num_hidden_layers\": 5}", "3+1*2",
     "layers 0..2 are given experts by a table of token numbers, which no description has: skipped; to run them, route with"},
    {"{\"model_type\": \"deepseek_v4\", \"num_hidden_layers\": 3, \"mlp_layer_types\": [\"hash_moe\", \"dense\", \"moe\"]}",
     "2+1*1", "layer 1 is dense"},
    {"{\"model_type\": \"nllb-moe\"}", "3+4*3 3+4*3", "layers 0..2, 4..6, 8..10 of the decoder are dense"},
    {"{\"model_type\": \"nllb-moe\", \"encoder_sparse_step\": 0}", "3+4*3", ""},
    {"{\"model_type\": \"flint\", \"num_hidden_layers\": 5}", "2+1*3", "layers 0..1 are dense"},
    {"{\"model_type\": \"flint\", \"num_hidden_layers\": 5, \"mlp_only_layers\": [3]}", "0+1*3 4+1*1", "layer 3 is dense"},
};
enum { LAYER_RULES = sizeof layer_rules / sizeof *layer_rules };

START_TEST(finds_sparse_layers) {
    Imported result = importing_config(layer_rules[_i].config);
    ck_assert_msg(result.text, "%s", result.diagnostics.text);
    char entries[256] = "";
    size_t index, used = 0;
    json_t *entry;
    json_array_foreach(json_object_get(result.description, "layers"), index, entry) {
        const json_t *count = json_object_get(entry, "count"), *step = importing_find(entry, "checkpoint.layer_step");
        used += (size_t)snprintf(entries + used, sizeof entries - used, "%s%lld+%lld*%lld", index ? " " : "",
                                 (long long)json_integer_value(importing_find(entry, "checkpoint.first_layer")),
                                 step ? (long long)json_integer_value(step) : 1, count ? (long long)json_integer_value(count) : 1);
    }
    ck_assert_str_eq(entries, layer_rules[_i].entries);
    importing_words(result.remarks, layer_rules[_i].remark);
    importing_free(&result);
}
END_TEST

// --- refusals ----------------------------------------------------------------------------------------------------------------

static const struct {
    const char *config, *words;
} refusals[] = {
    {"", "config.json:1:1: error: "},
    {"{\"model_type\": \"mixtral\",\n \"hidden_size\": }", "config.json:2:17: error: unexpected token"},
    {"[1]", "config.json:1:1: error: a model's configuration is an object"},
    {"{}", "config.json:1:1: error: unknown model: found neither model_type nor architectures\n  known are\n    "},
    {"{}", "coe, coe_deepseekv2, "},
    {"{\n  \"model_type\": \"bert\"}", "config.json:2:17: error: unknown model: found model_type \"bert\""},
    {"{\n  \"model_type\": \"bert\"}", "or write the description by hand (docs/description.md)"},
    {"{\"architectures\": [\"BertModel\"]}",
     "config.json:1:19: error: unknown model: found model_type \"\", architecture \"BertModel\""},
    {"{\"model_type\": 7, \"architectures\": [\"MixtralForCausalLM\"]}",
     "config.json:1:16: error: model_type must be a text, found 7"},
    {"{\"model_type\": \"llama4\",\n \"text_config\": {\"model_type\": []}}",
     "config.json:2:32: error: model_type must be a text, found a list of 0"},
    {"{\"model_type\": null}", "unknown model"},
    {"{\"model_type\": \"doge\", \"is_moe\": true}", "config.json:1:16: error: Doge's router mixes tokens"},
    {"{\"model_type\": \"doge\"}", "is_moe is not true: all layers of this model are dense"},
    {"{\"architectures\": [\"ZayaForCausalLM\"]}", "config.json:1:1: error: ZAYA's router is recurrent"},
    {"{\"model_type\": \"gemma4\",\n \"text_config\": {\"model_type\": \"gemma4_text\", \"enable_moe_block\": true}}",
     "config.json:2:32: error: Gemma 4's router and experts read different tensors"},
    {"{\"model_type\": \"gemma4_text\", \"enable_moe_block\": false}", "enable_moe_block is not true: all layers"},
    {"{\"model_type\": \"minimax\",\n \"architectures\": [\"MiniMaxM2ForCausalLM\"]}",
     "config.json:2:19: error: the architecture MiniMaxM2ForCausalLM is of MiniMax-M2, but the model_type is of MiniMax"},
    {MIXTRAL(",\n \"hidden_size\": \"x\""),
     "config.json:2:17: error: hidden_size must be an integer from 1 to 1048576, found \"x\""},
    {MIXTRAL(", \"hidden_size\": -8"), "found -8"},
    {MIXTRAL(", \"hidden_size\": 8.5"), "found 8.5"},
    {MIXTRAL(", \"hidden_size\": null"), "found null"},
    {MIXTRAL(", \"hidden_size\": [4, 4]"), "found a list of 2"},
    {MIXTRAL(", \"num_hidden_layers\": 0"), "num_hidden_layers must be an integer from 1 to 4096, found 0"},
    {MIXTRAL(", \"num_hidden_layers\": 1000000000"), "found 1000000000"},
    {MIXTRAL(", \"rms_norm_eps\": -1"), "rms_norm_eps must be a number from 0 to 1, found -1"},
    {MIXTRAL(", \"hidden_act\": \"swiglu\""), "hidden_act is \"swiglu\": catena has silu, swish, "},
    {MIXTRAL(", \"num_experts_per_tok\": 9"), "router.k is 9, but the pool has only 8 experts"},
    {"{\"model_type\": \"hunyuan_v1_moe\", \"moe_topk\": [2, 2]}", "moe_topk must have a number for each of 32 layers, it has 2"},
    {"{\"model_type\": \"hunyuan_v1_moe\", \"num_hidden_layers\": 2, \"moe_topk\": [2, null]}",
     "moe_topk[1] must be an integer from 1 to 1024, found null"},
    {"{\"model_type\": \"step3p5\", \"swiglu_limits\": [0, -1]}", "swiglu_limits[1] must be a number from 0 to 1000000, found -1"},
    {"{\"model_type\": \"nemotron_h\", \"hybrid_override_pattern\": \"MEx\"}",
     "hybrid_override_pattern must have a letter for each of 3 layers, of \"EM*-\", found \"MEx\""},
    {"{\"model_type\": \"nemotron_h\", \"hybrid_override_pattern\": \"\"}",
     "hybrid_override_pattern must say something of each layer, of 1 to 4096 of them; it has 0 entries"},
    {"{\"model_type\": \"nemotron_h\", \"layers_block_type\": [\"moe\", \"rnn\"]}",
     "layers_block_type[1] must be \"sparse\" or \"dense\" (or 1 or 0), or one of the words moe linear_attention mamba "
     "full_attention "
     "attention mlp, found \"rnn\""},
    {"{\"model_type\": \"nemotron_h\", \"mlp_bias\": true}", "mlp_bias"},
    {"{\"model_type\": \"step3p5\", \"moe_layers_enum\": \"3,x\"}",
     "moe_layers_enum must be numbers of layers with commas between them, found \"3,x\""},
    {"{\"model_type\": \"step3p5\", \"moe_layers_enum\": \"3,-1\"}", "moe_layers_enum[1] must be the number of a layer, found -1"},
    // lists only where the model's code has them
    {"{\"model_type\": \"phimoe\", \"num_hidden_layers\": 2, \"num_experts_per_tok\": [1, 2]}",
     "num_experts_per_tok must be an integer from 1 to 1024, found a list of 2"},
    {"{\"model_type\": \"coe\", \"num_hidden_layers\": 2, \"n_routed_experts\": 4, \"num_experts_per_tok\": [1, 2]}",
     "num_experts_per_tok must be an integer from 1 to 1024, found a list of 2"},
    {"{\"model_type\": \"deepseek_v3\", \"routed_scaling_factor\": 0}",
     "routed_scaling_factor must be a number from 0 to 1000000, not 0, found 0"},
    {"{\"model_type\": \"cohere2_moe\", \"num_hidden_layers\": 2, \"mlp_layer_types\": [\"sparse\", \"full\"]}",
     "mlp_layer_types[1] must be \"sparse\" or \"dense\" (or 1 or 0), found \"full\""},
    {"{\"model_type\": \"nllb-moe\", \"moe_token_dropout\": 1}", "moe_token_dropout is 1: such a layer does not use its experts"},
    {"{\"model_type\": \"nllb-moe\", \"second_expert_policy\": \"random\"}", "catena knows NLLB-MoE with \"all\" only"},
    {"{\"model_type\": \"qwen3_omni_moe\",\n \"thinker_config\": {\"text_config\": {\"hidden_size\": \"x\"}}}",
     "config.json:2:52: error: hidden_size must be an integer"},
    {"{\"model_type\": \"dots3_note\", \"moe_layer_freq\": 0}", "moe_layer_freq must be a list, found 0"},
    {"{\"model_type\": \"laguna\", \"moe_apply_router_weight_on_input\": true}", "moe_apply_router_weight_on_input is true"},
    {QWEN("\"norm_topk_prob\": 1"), "norm_topk_prob must be true or false, found 1"},
    {QWEN("\"mlp_only_layers\": 3"), "mlp_only_layers must be a list, found 3"},
    {QWEN("\"mlp_only_layers\": [-1]"), "mlp_only_layers[0] must be the number of a layer, found -1"},
    {QWEN("\"decoder_sparse_step\": 0"), "decoder_sparse_step must be an integer from 1"},
    {QWEN("\"decoder_sparse_step\": 100"), "all layers of this model are dense"},
    {"{\"model_type\": \"deepseek_v2\"}",
     "config.json:1:1: error: the configuration lacks \"num_experts_per_tok\": an integer from 1"},
    {"{\"model_type\": \"deepseek_v2\", \"num_experts_per_tok\": 6, \"topk_method\": \"noaux_tc\"}",
     "topk_method is \"noaux_tc\": expected \"greedy\" or \"group_limited_greedy\""},
    {"{\"model_type\": \"deepseek_v3\", \"scoring_func\": \"softmax\"}",
     "scoring_func is \"softmax\", but catena knows DeepSeek-V3 with \"sigmoid\" only"},
    {"{\"model_type\": \"deepseek_v3\", \"topk_group\": 9}", "topk_group is 9, but n_group is 8"},
    {"{\"model_type\": \"deepseek_v3\",\n \"n_group\": 7}",
     "config.json:2:13: error: n_group is 7: expected a number that divides the 256 experts (n_routed_experts) evenly"},
    {"{\"model_type\": \"glm4_moe\", \"n_group\": 8, \"topk_group\": null}", "lacks \"topk_group\""},
    {"{\"model_type\": \"deepseek_v2\", \"num_experts_per_tok\": 6, \"topk_method\": \"group_limited_greedy\"}",
     "lacks \"n_group\""},
    {MIXTRAL(",\n \"dtype\": 5"), "config.json:2:11: error: dtype must be \"bfloat16\", \"float16\" or \"float32\", found 5"},
    {MIXTRAL(", \"torch_dtype\": \"int8\""), "torch_dtype must be \"bfloat16\", \"float16\" or \"float32\", found \"int8\""},
    {"{\"model_type\": \"llama4\", \"dtype\": [], \"text_config\": {}}", "config.json:1:35: error: dtype must be"},
    {"{\"model_type\": \"phimoe\", \"num_experts_per_tok\": 3}", "sparsemixer chooses 2"},
    {"{\"model_type\": \"minimax\", \"mlp_beta_factor\": 0}", "mlp_beta_factor is 0"},
    {"{\"model_type\": \"minimax_text_01\", \"postnorm\": false}", "postnorm is false, but catena knows MiniMax with true only"},
    {"{\"model_type\": \"jamba\", \"expert_layer_offset\": 2}", "it must be smaller than expert_layer_period"},
    {"{\"model_type\": \"cohere2_moe\", \"expert_selection_fn\": \"relu\"}", "expected \"softmax\" or \"sigmoid\""},
    {"{\"model_type\": \"cohere2_moe\", \"mlp_layer_types\": [\"sparse\"]}", "must say something of each of 40 layers"},
    {"{\"model_type\": \"dbrx\",\n \"ffn_config\": {\"moe_top_k\": \"1\"}}",
     "config.json:2:30: error: ffn_config.moe_top_k must be"},
    {"{\"model_type\": \"llama4\",\n \"text_config\": {\n \"hidden_size\": 0}}", "config.json:3:17: error: hidden_size must be"},
    {"{\"model_type\": \"beam\", \"num_hidden_layers\": 80}", "more than 64 entries of \"layers\" would be needed"},
};
enum { REFUSALS = sizeof refusals / sizeof *refusals };

START_TEST(refuses_wrong_configurations) {
    Imported result = importing_config(refusals[_i].config);
    ck_assert_ptr_null(result.text);
    importing_words(result.diagnostics.text, refusals[_i].words);
    importing_free(&result);
}
END_TEST

// A byte order mark is none of the text: columns count from behind it.
START_TEST(passes_over_a_byte_order_mark) {
    Imported result = importing_config("\xef\xbb\xbf{\"model_type\": \"mixtral\"}");
    importing_value(&result, "layers.0.experts.count", "8");
    importing_free(&result);
    result = importing_config("\xef\xbb\xbf{\"model_type\": 7}");
    importing_words(result.diagnostics.text, "config.json:1:16: error: model_type must be a text");
    importing_free(&result);
    result = importing_config("\xef\xbb\xbf");
    importing_words(result.diagnostics.text, "config.json:1:1: error: ");
    importing_free(&result);
}
END_TEST

START_TEST(refuses_what_is_no_configuration) {
    char path[SHELL_PATH_BYTES + 16];
    Imported result = importing_path(shell_folder());
    importing_words(result.diagnostics.text, "cannot open");
    importing_words(result.diagnostics.text, "/config.json'");
    importing_free(&result);
    snprintf(path, sizeof path, "%s/no", shell_folder());
    result = importing_path(path);
    importing_words(result.diagnostics.text, "cannot open");
    importing_free(&result);
}
END_TEST

// Every key of every golden configuration takes wrong values in turn: a result or a reason, and never a crash. A key takes some of
// the values, others with each configuration. The checkpoint is left out: it would refuse nearly all.
START_TEST(survives_every_wrong_value) {
    enum { STEP = 3 * ONE_CASE_IN };
    static const char *const values[] = {"null",  "true", "-1", "0",      "1",  "1.5", "1e30", "9007199254740993",
                                         "\"x\"", "[]",   "{}", "[null]", "[1]"};
    char path[512];
    snprintf(path, sizeof path, "%s/%s/config.json", golden, folders[_i]->d_name);
    json_t *config = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(config);
    for (void *at = json_object_iter(config); at; at = json_object_iter_next(config, at)) {
        json_t *kept = json_incref(json_object_iter_value(at));
        for (size_t i = (size_t)(_i % STEP); i < sizeof values / sizeof *values; i += STEP) {
            json_object_iter_set_new(config, at, json_loads(values[i], JSON_DECODE_ANY, NULL));
            char *text = json_dumps(config, 0);
            Imported result = importing_config(text);
            importing_free(&result);
            free(text);
        }
        json_object_iter_set_new(config, at, kept);
    }
    json_decref(config);
}
END_TEST

// --- a checkpoint that does not fit ------------------------------------------------------------------------------------------

// A golden folder with one number of its configuration replaced.
static const struct {
    const char *folder, *key;
    int value;
    const char *words;
} misfits[] = {
    {"mixtral", "intermediate_size", 9, "model.layers.0.block_sparse_moe.experts.0.w1.weight' has shape ["},
    {"mixtral", "intermediate_size", 9, "needs [9, 44] for its gate"},
    {"mixtral", "num_local_experts", 9, "for its router"},
    {"mixtral", "num_hidden_layers", 3,
     "tensor 'model.layers.2.post_attention_layernorm.weight' (norm of layer 'moe.2') is not in"},
    {"gpt_oss", "hidden_size", 45, "needs [45] for its norm"},
    {"deepseek_v3", "n_shared_experts", 3, "for its shared_gate"},
};
enum { MISFITS = sizeof misfits / sizeof *misfits };

START_TEST(compares_with_the_checkpoint) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s/config.json", golden, misfits[_i].folder);
    json_t *config = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(config);
    json_object_set_new(config, misfits[_i].key, json_integer(misfits[_i].value));
    char *text = json_dumps(config, 0);
    shell_write_file("$D/config.json", text, strlen(text));
    ck_assert_int_eq(shell_run("cp %s/%s/model.safetensors \"$D\"", golden, misfits[_i].folder), 0);
    Imported result = importing_path(shell_folder());
    ck_assert_ptr_null(result.text);
    importing_words(result.diagnostics.text, misfits[_i].words);
    importing_free(&result);
    free(text);
    json_decref(config);
}
END_TEST

// A chain made of an MoE by the newest code of Chain-of-Experts.
START_TEST(refuses_newer_chains) {
    static const char *const names[] = {"model.layers.0.mlp.coe_weights.0", "model.layers.0.mlp.coe_weights"};
    static const char config[] = "{\"model_type\": \"coe\", \"num_experts_per_tok\": 1, \"n_routed_experts\": 4}";
    char file[256] = "";
    int length =
        snprintf(file + 8, sizeof file - 8, "{\"%s\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", names[_i]);
    file[0] = (char)length;  // little-endian, less than 128
    shell_write_file("$D/model.safetensors", file, 8 + (size_t)length + 4);
    shell_write_file("$D/config.json", config, strlen(config));
    Imported result = importing_path(shell_folder());
    importing_words(result.diagnostics.text, names[_i]);
    importing_words(result.diagnostics.text,
                    "' is of a chain made of an MoE by x_1 = y_0, x_{t+1} = x_t + coe_weights[t - 1] * y_t");
    importing_words(result.diagnostics.text, "understood is 'coe_weight'");
    importing_free(&result);
}
END_TEST

// --- the command -------------------------------------------------------------------------------------------------------------

START_TEST(writes_a_description) {
    shell_expect(EXIT_OK, "\"name\": \"mixtral\"", "$CATENA import %s/mixtral", golden);
    shell_expect(EXIT_OK, "Mixtral: 2 sparse layers described, 0 other layers skipped\n",
                 "$CATENA import %s/mixtral -o $D/m.json --name other --weights bf16 --compute bf16", golden);
    shell_expect(EXIT_OK, "m.json\n", "$CATENA import %s/mixtral -o $D/m.json --name other --weights bf16 --compute bf16 2>&-",
                 golden);
    shell_expect(EXIT_USAGE, "OUT.json, not 'm.safetensors'", "$CATENA import %s/mixtral -o m.safetensors", golden);
    shell_expect(EXIT_USAGE, "OUT.json, not 'm.so'", "$CATENA import %s/mixtral -o m.so", golden);
    Diagnostics diagnostics = {0};
    char path[SHELL_PATH_BYTES + 16];
    snprintf(path, sizeof path, "%s/m.json", shell_folder());
    Model *model = model_read_file(path, &diagnostics);
    ck_assert_msg(model, "%s", diagnostics.text);
    ck_assert_str_eq(model->name, "other");
    ck_assert_int_eq(model->layers[0].layer.weights, FORMAT_BF16);
    ck_assert_int_eq(model->layers[0].layer.compute, COMPUTE_BF16);
    model_free(model);
    diagnostics_free(&diagnostics);
    ck_assert_int_eq(shell_run("test $(ls $D | wc -l) = 1"), 0);  // no temporary file
}
END_TEST

// A model that nobody knows, read as one that computes the same: everything that is assumed is told.
START_TEST(reads_as_another_family) {
    static const char config[] =
        "{\"model_type\": \"monday\", \"num_local_experts\": 4, \"router_temperature\": 0.5, \"vocab_size\": 7}";
    static const char *const told[] = {"by default: hidden_size = 4096, rms_norm_eps = 1e-05", "experts     4 of width 14336",
                                       "not read: router_temperature = 0.5\n", "read as Mixtral: compare",
                                       "model.layers.{layer}.block_sparse_moe.gate.weight"};
    shell_write_file("$D/config.json", config, strlen(config));
    shell_expect(EXIT_FAILED, "say --as MODEL_TYPE", "$CATENA import $D");
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        shell_expect(EXIT_OK, told[i], "$CATENA import $D --as mixtral -o $D/m.json");
    }
    shell_expect(EXIT_OK, "\"count\": 4", "cat $D/m.json");
    shell_expect(EXIT_FAILED, "--as nothing: found no such family; expected a model_type", "$CATENA import $D --as nothing");
}
END_TEST

START_TEST(dry_run_writes_nothing) {
    shell_expect(EXIT_OK, "Mixtral, by its model_type", "$CATENA import %s/mixtral --dry-run -o $D/m.json", golden);
    shell_expect(EXIT_OK, "the 2 best", "$CATENA import --dry-run %s/mixtral", golden);
    ck_assert_int_eq(shell_run("test -e $D/m.json"), 1);
    shell_run("printf '{\"model_type\": \"mixtral\"}' > $D/config.json");
    shell_expect(EXIT_OK, "not in the configuration, so by default: hidden_size = 4096", "$CATENA import --dry-run $D");
    shell_expect(EXIT_OK, "tensors were not checked", "$CATENA import --dry-run $D/config.json");
    shell_expect(EXIT_OK, "tensors were not checked", "$CATENA import $D/config.json -o $D/unchecked.json");
    shell_expect(EXIT_OK, "", "! $CATENA import %s/mixtral 2>&1 | grep 'not checked'", golden);
}
END_TEST

// What a dry run says of the layers, with everything that a family may have.
START_TEST(dry_run_tells_the_layers) {
    static const struct {
        const char *family, *line;
    } rows[] = {
        {"gpt_oss", "  experts     5 of width 20, gated silu with slope 1.5, gate and up clamped at 1.5, up + 1, with biases\n"},
        {"longcat_flash", "  experts     8 of width 20, gated silu; 4 more choices hand their input on\n"},
        {"cohere2_moe", "  shared      1 of width 40, times 0.5\n"},
        {"qwen2_moe", "  shared      1 of width 26, weighted by a sigmoid of its own\n"},
        {"mixtral", "  shared      none\n"},
        {"minimax", "  residual    inner times 2.28571, the result times 0.7\n"},
        {"granitemoe", "  residual    outer, the result times 0.6\n"},
        {"coe_converted", "  residual    inner, each result but the last times a learnt weight, outer\n"},
        {"deepseek_v3", "  weights     the scores, divided by their sum (plus 1e-20), times 1.3, on the expert's output\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell_expect(EXIT_OK, rows[i].line, "$CATENA import --dry-run %s/%s", golden, rows[i].family);
    }
}
END_TEST

START_TEST(replaces_nothing_that_is_read) {
    ck_assert_int_eq(shell_run("cp %s/mixtral/config.json $D", golden), 0);
    shell_expect(EXIT_FAILED, "would replace", "$CATENA import $D -o $D/config.json");
    shell_expect(EXIT_FAILED, "would replace", "$CATENA import $D/config.json -o $D/config.json");
    shell_expect(EXIT_OK, "", "$CATENA import $D -o $D/m.json --name again && $CATENA import $D -o $D/m.json --name again");
    ck_assert_int_eq(shell_run("cmp %s/mixtral/config.json $D/config.json", golden), 0);
    shell_expect(EXIT_FAILED, "no/such", "$CATENA import $D --name again -o $D/no/such/m.json");
    // the file was named, and what lies beside it is read too
    ck_assert_int_eq(shell_run("mkdir $D/m && cp %s/mixtral/*.* $D/m && cd $D/m && { printf '{\"weight_map\": {'; "
                               "grep -ao '\"[^\"]*\": *{\"dtype' model.safetensors | sed 's/: *{.*/: \"model.safetensors\"/' | "
                               "paste -sd,; printf '}}'; } >../index.json && cp ../index.json model.safetensors.index.json",
                               golden),
                     0);
    shell_expect(EXIT_OK, "", "$CATENA import $D/m/config.json --name again -o $D/m/m.json");
    shell_expect(EXIT_FAILED, "would replace", "$CATENA import $D/m/config.json --name again -o $D/m/model.safetensors.index.json");
    ck_assert_int_eq(shell_run("cmp $D/index.json $D/m/model.safetensors.index.json"), 0);
    static const char tracker[] = "latest_checkpointed_iteration.txt", checkpoint[] = "iter_0000100/mp_rank_00/model_optim_rng.pt";
    ck_assert_int_eq(shell_run("cp -r tests/data/torch/remoe_sequential $D/r"), 0);
    shell_expect(EXIT_FAILED, "would replace", "$CATENA import $D/r -o $D/r/%s", tracker);
    shell_expect(EXIT_FAILED, "would replace", "$CATENA import $D/r -o $D/r/%s", checkpoint);
    ck_assert_int_eq(shell_run("diff -r tests/data/torch/remoe_sequential $D/r"), 0);
}
END_TEST

START_TEST(names_the_model) {
    ck_assert_int_eq(shell_run("mkdir $D/Mixtral-8x7B.v0 $D/8x7b && cp %s/mixtral/config.json $D/Mixtral-8x7B.v0", golden), 0);
    ck_assert_int_eq(shell_run("cp %s/mixtral/config.json $D/8x7b", golden), 0);
    shell_expect(EXIT_OK, "\"name\": \"mixtral_8x7b_v0\"", "$CATENA import $D/Mixtral-8x7B.v0");
    shell_expect(EXIT_OK, "\"name\": \"mixtral_8x7b\"", "$CATENA import $D/8x7b");  // a name begins with a letter
    // what descriptions refuse is refused by the option's name, or made acceptable
    shell_expect(EXIT_FAILED, "--name int: name \"int\" is a keyword of C", "$CATENA import $D/8x7b --name int");
    shell_expect(EXIT_FAILED, "--name 8x7b: ", "$CATENA import $D/8x7b --name 8x7b");
    shell_expect(EXIT_FAILED, "--name a_very_", "$CATENA import $D/8x7b --name a_very_%080d", 1);
    shell_expect(EXIT_FAILED, "the name is no UTF-8", "$CATENA import $D/8x7b --name \"$(printf 'a\\377')\"");
    static const char *const words[] = {"int", "math", "m", "library", "stdint"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "\"name\": \"model_%s\"", words[i]);
        shell_expect(EXIT_OK, wanted, "cp -r $D/8x7b $D/%s && $CATENA import $D/%s", words[i], words[i]);
    }
}
END_TEST

// --- the summary -------------------------------------------------------------------------------------------------------------

static const struct {
    const char *layer, *experts, *words;  // keys of the layer, more keys of its pool
} summaries[] = {
    {"\"router\": {\"k\": 2}", "", "chooses     the 2 best\n"},
    {"\"router\": {\"k\": 3, \"k_per_token\": true, \"k_min\": 0}", "", "the 3 best, or as few as 0 where the caller says so\n"},
    {"\"router\": {\"select\": \"top_p\", \"top_p\": 0.5}", "", "the best that sum to 0.5\n"},
    {"\"router\": {\"select\": \"top_p\", \"top_p\": 0.5, \"k\": 2}", "", "the best that sum to 0.5, at most 2\n"},
    {"\"router\": {\"select\": \"threshold\", \"score\": \"relu\", \"k\": 3, \"expected_k\": 1}", "",
     "all above 0 (about 1), at most 3\n"},
    {"\"iterations\": 3, \"residual\": {\"inner\": true, \"inner_alpha\": 0.5, \"coe_weight\": true}, \"router\": {\"k\": 2}", "",
     "inner times 0.5, each result but the last times a learnt weight\n"},
    {"\"post_norm\": {\"kind\": \"rms\", \"eps\": 0.5}, \"router\": {\"k\": 2}", "",
     "norm        none; of the result: RMS, eps 0.5\n"},
    {"\"residual\": {\"outer\": true, \"alpha\": 0.5, \"multiplier\": 0.25}, \"router\": {\"k\": 2}", "",
     "residual    outer times 0.5, the result times 0.25\n"},
    {"\"residual\": {\"outer\": true, \"bias\": true, \"scale\": true, \"output_scale\": true}, \"router\": {\"k\": 2}", "",
     "outer, the input plus a learnt vector, the input times a learnt vector, the result times a learnt vector\n"},
    {"\"router\": {\"k\": 2, \"score\": \"sigmoid\", \"normalize\": true}, \"shared_experts\": {\"count\": 2, \"gated\": true, "
     "\"joint\": true}",
     "", "2 of width 6, weighted by sigmoids that are divided by the chosen scores' norm with them\n"},
    {"\"router\": {\"k\": 2}", ", \"output_bias\": true", ", a learnt vector added to their sum\n"},
    {"\"router\": {\"k\": 2}", ", \"limit\": 2", ", gate and up clamped at 2\n"},
    {"\"router\": {\"k\": 2}", ", \"limit\": 2, \"limit_place\": \"after_activation\"", ", act(gate) and up clamped at 2\n"},
    {"\"router\": {\"k\": 2}", ", \"gate_softcap\": 3, \"up_softcap\": 4", ", gate capped softly at 3, up capped softly at 4\n"},
    {"\"router\": {\"k\": 2}, \"shared_experts\": {\"count\": 1}", ", \"limit\": 2", "1 of width 6\n"},
    {"\"router\": {\"k\": 2}, \"shared_experts\": {\"count\": 1, \"limit\": 0}", ", \"limit\": 2", "1 of width 6, not clamped\n"},
    {"\"router\": {\"k\": 2}, \"shared_experts\": {\"count\": 1, \"limit\": 3}", "", "1 of width 6, clamped at 3\n"},
};
enum { SUMMARIES = sizeof summaries / sizeof *summaries };

START_TEST(says_what_a_layer_does) {
    char text[512], *words = NULL;
    size_t size;
    snprintf(text, sizeof text,
             "{\"name\": \"q\", \"layers\": [{\"name\": \"a\", \"hidden\": 8, \"experts\": {\"count\": 4, \"intermediate\": 6%s}, "
             "%s}]}",
             summaries[_i].experts, summaries[_i].layer);
    Diagnostics diagnostics = {0};
    Model *model = model_read_text(text, strlen(text), "q", &diagnostics);
    ck_assert_msg(model, "%s", diagnostics.text);
    FILE *stream = open_memstream(&words, &size);
    import_summary_layer(&model->layers[0], stream);
    fclose(stream);
    importing_words(words, summaries[_i].words);
    free(words);
    model_free(model);
}
END_TEST

// --- ReMoE's checkpoints of Megatron-LM (tests/data/torch) -------------------------------------------------------------------

static const char torch_data[] = "tests/data/torch";

static const struct {
    const char *folder, *gate;
} megatron[] = {
    {"remoe_sequential", "decoder.layers.{layer}.mlp.experts.local_experts.{expert}.linear_fc1.weight"},
    {"remoe_te_grouped", "decoder.layers.{layer}.mlp.experts.linear_fc1.weight{expert}"},
    {"remoe_grouped", "decoder.layers.{layer}.mlp.experts.weight1"},
};
enum { MEGATRON = sizeof megatron / sizeof *megatron };

// The description fits the tensors that are written beside it, or neither would be there.
START_TEST(imports_megatron) {
    shell_expect(EXIT_OK, "", "$CATENA import %s/%s -o $D/r.json", torch_data, megatron[_i].folder);
    size_t size;
    char *text = shell_read_file("$D/r.json", &size);
    json_t *root = json_loads(text, 0, NULL);
    Imported result = {.text = text, .description = root};
    importing_value(&result, "layers.0.count", "2");
    importing_value(&result, "layers.0.router", "{\"score\": \"relu\", \"select\": \"threshold\", \"expected_k\": 1}");
    importing_value(&result, "layers.0.experts", "{\"count\": 5, \"intermediate\": 20, \"activation\": \"silu\"}");
    importing_value(&result, "layers.0.shared_experts", "null");
    importing_value(&result, TENSOR("gate.rows"), "\"first_half\"");
    ck_assert_str_eq(json_string_value(importing_find(root, TENSOR("gate.name"))), megatron[_i].gate);
    ck_assert_int_eq(shell_run("test $(ls $D | wc -l) = 2 && test -s $D/r.safetensors"), 0);
    importing_free(&result);
    // what exists under the tensors' name is somebody's, and neither file is written
    shell_expect(EXIT_FAILED,
                 "r.safetensors: error: ", "printf mine >$D/r.safetensors; rm $D/r.json; $CATENA import %s/%s -o $D/r.json",
                 torch_data, megatron[_i].folder);
    ck_assert_int_eq(shell_run("test \"$(cat $D/r.safetensors)\" = mine && test $(ls $D | wc -l) = 1"), 0);
    shell_expect(EXIT_FAILED, "not a regular file", "mkdir $D/folder.json; $CATENA import %s/%s -o $D/folder.json", torch_data,
                 megatron[_i].folder);
    ck_assert_int_eq(shell_run("test $(ls $D | wc -l) = 2 && rmdir $D/folder.json"), 0);
    shell_expect(EXIT_FAILED, "-o OUT.json is needed", "$CATENA import %s/%s", torch_data, megatron[_i].folder);
    shell_expect(EXIT_OK, "ReMoE (Megatron-LM), by its arguments", "rm $D/* && $CATENA import %s/%s --dry-run -o $D/r.json",
                 torch_data, megatron[_i].folder);
    ck_assert_int_eq(shell_run("test -z \"$(ls $D)\""), 0);
}
END_TEST

// Experts of another name are not taken for those of GroupedMLP.
START_TEST(stacks_routed_experts_only) {
    static const char program[] =
        "import sys, zipfile\n"
        "with zipfile.ZipFile(sys.argv[1]) as old, zipfile.ZipFile(sys.argv[2], \"w\") as new:\n"
        "    for name in old.namelist():\n"
        "        data = old.read(name)\n"
        "        new.writestr(name, data.replace(b\"mlp.experts.weight1\", b\"mlp_experts.weight1\"))\n";
    if (!available_program("python3")) {
        return;
    }
    shell_write_file("$D/program.py", program, strlen(program));
    ck_assert_int_eq(
        shell_run("python3 $D/program.py %s/remoe_grouped/iter_0000100/mp_rank_00/model_optim_rng.pt $D/m.pt", torch_data), 0);
    shell_expect(EXIT_FAILED, "is not in", "$CATENA import $D/m.pt -o $D/r.json");
}
END_TEST

START_TEST(refuses_other_megatrons) {
    shell_expect(EXIT_FAILED, "no arguments", "$CATENA import %s/plain.pt -o $D/r.json", torch_data);
    ck_assert_int_eq(shell_run("mkdir -p $D/m/iter_0000007 && printf 7 > $D/m/latest_checkpointed_iteration.txt"), 0);
    shell_expect(EXIT_FAILED, "there is no such file", "$CATENA import $D/m -o $D/r.json");
    ck_assert_int_eq(shell_run("printf '{}' > $D/m/iter_0000007/metadata.json"), 0);
    shell_expect(EXIT_FAILED, "a distributed checkpoint", "$CATENA import $D/m -o $D/r.json");
    ck_assert_int_eq(shell_run("printf x7 > $D/m/latest_checkpointed_iteration.txt"), 0);
    shell_expect(EXIT_FAILED, "latest_checkpointed_iteration.txt:1:1: error: expected the number",
                 "$CATENA import $D/m -o $D/r.json");
    ck_assert_int_eq(shell_run("test -e $D/r.json || test -e $D/r.safetensors"), 1);
}
END_TEST

Suite *suite_import(void) {
    Suite *suite = suite_create("import");
    int found = scandir(golden, &folders, is_checkpoint, alphasort);
    folder_count = found > 0 ? found : 0;
    defaults = json_load_file("tests/data/import/defaults.json", 0, NULL);
    TCase *checkpoints = tcase_create("checkpoints");
    tcase_set_timeout(checkpoints, TEST_TIMEOUT);
    tcase_add_test(checkpoints, golden_checkpoints_are_there);
    tcase_add_loop_test(checkpoints, imports_golden_checkpoints, 0, folder_count);
    tcase_add_loop_test(checkpoints, describes_golden_checkpoints, 0, FIELDS);
    suite_add_tcase(suite, checkpoints);
    TCase *files = tcase_create("configurations");
    tcase_set_timeout(files, TEST_TIMEOUT);
    tcase_add_checked_fixture(files, shell_begin, shell_end);
    tcase_add_loop_test(files, describes_configurations, 0, CONFIGS);
    tcase_add_loop_test(files, knows_names_of_activations, 0, ACTIVATION_COUNT);
    tcase_add_loop_test(files, has_the_defaults_of_transformers, 0, (int)json_array_size(defaults) + !defaults);
    tcase_add_loop_test(files, finds_sparse_layers, 0, LAYER_RULES);
    tcase_add_loop_test(files, refuses_wrong_configurations, 0, REFUSALS);
    tcase_add_test(files, passes_over_a_byte_order_mark);
    tcase_add_test(files, refuses_what_is_no_configuration);
    tcase_add_loop_test(files, survives_every_wrong_value, 0, folder_count);
    tcase_add_loop_test(files, compares_with_the_checkpoint, 0, MISFITS);
    tcase_add_loop_test(files, refuses_newer_chains, 0, 2);
    tcase_add_test(files, writes_a_description);
    tcase_add_test(files, reads_as_another_family);
    tcase_add_test(files, dry_run_writes_nothing);
    tcase_add_test(files, dry_run_tells_the_layers);
    tcase_add_test(files, replaces_nothing_that_is_read);
    tcase_add_test(files, names_the_model);
    tcase_add_loop_test(files, says_what_a_layer_does, 0, SUMMARIES);
    tcase_add_loop_test(files, imports_megatron, 0, MEGATRON);
    tcase_add_test(files, stacks_routed_experts_only);
    tcase_add_test(files, refuses_other_megatrons);
    suite_add_tcase(suite, files);
    return suite;
}
