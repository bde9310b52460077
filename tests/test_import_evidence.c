// catena import where facts disagree or are few: two names of one setting, keys that are there twice, words that the tensors
// contradict, two layouts of one layer, one name for two layouts, and what Python writes into JSON.
#define _GNU_SOURCE
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "importing.h"
#include "shell.h"
#include "suites.h"

// --- configurations alone ----------------------------------------------------------------------------------------------------

// Which of two names counts in the classes of transformers (tests/import_aliases.py).
static json_t *aliases;

START_TEST(takes_the_name_that_transformers_takes) {
    json_t *row = json_array_get(aliases, (size_t)_i), *both = json_copy(json_object_get(row, "both"));
    json_object_set(both, "model_type", json_object_get(row, "model_type"));
    json_t *one = json_copy(both);
    const char *counts = json_string_value(json_object_get(row, "counts")), *not = json_string_value(json_object_get(row, "not"));
    json_object_del(one, not);
    char *texts[2] = {json_dumps(both, 0), json_dumps(one, 0)}, words[256];
    char *taken = json_dumps(json_object_get(both, counts), JSON_ENCODE_ANY);
    char *ignored = json_dumps(json_object_get(both, not), JSON_ENCODE_ANY);
    Imported results[2] = {importing_config(texts[0]), importing_config(texts[1])};
    ck_assert_msg(results[0].text && results[1].text, "%s", texts[0]);
    ck_assert_str_eq(results[0].text, results[1].text);
    snprintf(words, sizeof words, "%s is %s, but %s is %s: %s counts", counts, taken, not, ignored, counts);
    importing_words(results[0].remarks, words);
    ck_assert_ptr_null(strstr(results[1].remarks, " counts"));
    for (int i = 0; i < 2; i++) {
        importing_free(&results[i]);
        free(texts[i]);
    }
    free(taken);
    free(ignored);
    json_decref(both);
    json_decref(one);
}
END_TEST

#define MIXTRAL(more) "{\"model_type\": \"mixtral\", \"num_hidden_layers\": 1, \"dtype\": \"bfloat16\"" more "}"
// What is imported, a value of it and a remark ("!": there must be no such remark). Without a value: an error and its words.
static const struct {
    const char *config, *path, *value, *words;
} configs[] = {
    // Two names.
    {MIXTRAL(", \"num_local_experts\": 8, \"num_experts\": 6"), "layers.0.experts.count", "6",
     "config.json: num_experts is 6, but num_local_experts is 8: num_experts counts, as in transformers"},
    {MIXTRAL(", \"num_local_experts\": 8, \"num_experts\": 8"), "layers.0.experts.count", "8", "!counts"},
    {"{\"model_type\": \"qwen2_moe\", \"num_experts\": 8, \"num_local_experts\": 6}", "layers.0.experts.count", "8",
     "num_experts is 8, but num_local_experts is 6: num_experts counts, it is the model's own name"},
    {"{\"model_type\": \"ernie4_5_moe\", \"moe_k\": 3, \"num_experts_per_tok\": 1}", "layers.0.router.k", "1",
     "num_experts_per_tok is 1, but moe_k is 3: num_experts_per_tok counts, as in transformers"},
    {"{\"model_type\": \"longcat_flash\", \"num_layers\": 28, \"num_hidden_layers\": 56}", "layers.0.count", "28", "!counts"},
    // One name, in two places or twice.
    {"{\"model_type\": \"llama4\", \"num_experts_per_tok\": 2, \"text_config\": {\"num_experts_per_tok\": 1}}", "layers.0.router.k",
     "1", "num_experts_per_tok is 1 in text_config, but 2 outside: the one in text_config counts, as in transformers"},
    {MIXTRAL(",\n\"num_local_experts\": 8,\n\"num_local_experts\": 4"), "layers.0.experts.count", "4",
     "config.json:3: num_local_experts is there 2 times: the last one counts, as in Python"},
    {MIXTRAL(",\n\"bos_token_id\": 8,\n\"bos_token_id\": 4"), "layers.0.experts.count", "8", "!last one"},
    {MIXTRAL(", \"num_local_experts\": 2,\n\"num_local_experts\": 0.5"), NULL, NULL,
     "config.json:2:22: error: num_local_experts must be an integer from 1"},
    // What Python writes.
    {MIXTRAL(", \"rope_theta\": Infinity, \"a\": [-Infinity, NaN], \"b\": 1e999"), "layers.0.experts.count", "8", ""},
    {MIXTRAL(", \"seed\": 18446744073709551616, \"c\": -99999999999999999999999"), "layers.0.experts.count", "8", ""},
    {MIXTRAL(", \"text\": \"\\ud83d \\udc00 NaN \\u0000\", \"name\": \"\\ud83d\\ude00\""), "layers.0.experts.count", "8", ""},
    {MIXTRAL(",\n \"rms_norm_eps\": NaN"), NULL, NULL,
     "config.json:2:18: error: rms_norm_eps must be a number from 0 to 1, found \"NaN\""},
    {MIXTRAL(", \"num_local_experts\": 18446744073709551616"), NULL, NULL, "found \"18446744073709551616\""},
    {MIXTRAL(", \"a\": nan"), NULL, NULL, "config.json:1:"},
    {MIXTRAL(", \"a\": Infinityx"), NULL, NULL, "config.json:1:"},
    {MIXTRAL(", \"a\": \"NaN"), NULL, NULL, "config.json:1:"},
    {MIXTRAL(", \"a\": \"\\ud83d"), NULL, NULL, "config.json:1:"},
    // Models without experts.
    {MIXTRAL(", \"num_local_experts\": 0"), NULL, NULL,
     "num_local_experts is 0: all layers of this model are dense: there is nothing to compile"},
    {"{\"model_type\": \"deepseek_v3\", \"n_routed_experts\": null, \"num_experts_per_tok\": null}", NULL, NULL,
     "n_routed_experts is null: all layers of this model are dense"},
    {"{\"model_type\": \"llama4\", \"text_config\": {\"moe_layers\": [], \"interleave_moe_layer_step\": 0}}", NULL, NULL,
     "moe_layers is empty: all layers of this model are dense"},
    // Words that no tensor proves or contradicts.
    {MIXTRAL(", \"dtype\": \"fp8\""), NULL, NULL, "found \"fp8\"; correct it, or say the format with --weights"},
};
enum { CONFIGS = sizeof configs / sizeof *configs };

static void expect_remark(const Imported *result, const char *words) {
    if (*words == '!') {
        ck_assert_msg(!strstr(result->remarks, words + 1), "'%s' has '%s'", result->remarks, words + 1);
    } else {
        importing_words(result->remarks, words);
    }
}

START_TEST(reads_configurations) {
    Imported result = importing_config(configs[_i].config);
    if (configs[_i].value) {
        importing_value(&result, configs[_i].path, configs[_i].value);
        expect_remark(&result, configs[_i].words);
    } else {
        ck_assert_msg(!result.text, "%s", result.text);
        importing_words(result.diagnostics.text, configs[_i].words);
    }
    importing_free(&result);
}
END_TEST

// --- beside checkpoints ------------------------------------------------------------------------------------------------------

// Writes $D/model.safetensors with tensors of zeros: "NAME DTYPE LENGTHxLENGTH" each, separated by semicolons.
static void write_tensors(const char *tensors) {
    json_t *header = json_object();
    int64_t at = 0;
    char *copy = strdup(tensors), *rest = copy, *item;
    ck_assert(header && copy);
    while ((item = strsep(&rest, ";")) && *item) {
        char name[128], dtype[16], shape[64], *lengths = shape, *length;
        ck_assert_int_eq(sscanf(item, " %127s %15s %63s", name, dtype, shape), 3);
        json_t *list = json_array();
        int64_t bytes = strcmp(dtype, "F32") ? strstr(dtype, "16") ? 2 : 1 : 4;
        while ((length = strsep(&lengths, "x"))) {
            json_array_append_new(list, json_integer(atoll(length)));
            bytes *= atoll(length);
        }
        json_object_set_new(header, name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", list, "data_offsets", (json_int_t)at,
                                      (json_int_t)(at + bytes)));
        at += bytes;
    }
    char *text = json_dumps(header, 0);
    uint64_t length = strlen(text), size = sizeof length + length + (uint64_t)at;
    char *file = calloc(1, size);
    ck_assert_ptr_nonnull(file);
    memcpy(file, &length, sizeof length);
    memcpy(file + sizeof length, text, length);
    shell_write_file("$D/model.safetensors", file, size);
    free(file);
    free(text);
    free(copy);
    json_decref(header);
}

#define NORM "model.layers.0.post_attention_layernorm.weight BF16 4;"
#define EXPERT(e, dtype) \
    "model.layers.0.block_sparse_moe.experts." e ".w1.weight " dtype \
    " 6x4;" \
    "model.layers.0.block_sparse_moe.experts." e ".w3.weight " dtype \
    " 6x4;" \
    "model.layers.0.block_sparse_moe.experts." e ".w2.weight " dtype " 4x6;"
#define TWO_EXPERTS(dtype) NORM "model.layers.0.block_sparse_moe.gate.weight BF16 2x4;" EXPERT("0", dtype) EXPERT("1", dtype)
#define SMALL(more) "\"num_hidden_layers\": 1, \"hidden_size\": 4, \"num_experts_per_tok\": 1" more "}"
#define SMALL_MIXTRAL(more) "{\"model_type\": \"mixtral\", \"intermediate_size\": 6, " SMALL(more)
// A square layer: hidden is 2 x intermediate, so that gate_up fits in both orders.
#define STACKED_GATE_UP(shape) "model.layers.0.mlp.experts.gate_up_proj BF16 3x" shape ";"
#define STACKED_DOWN(shape) "model.layers.0.mlp.experts.down_proj BF16 3x" shape ";"
#define ROUTER "model.layers.0.mlp.gate.weight BF16 3x4;"
#define QWEN_VL "{\"model_type\": \"qwen3_vl_moe_text\", \"moe_intermediate_size\": 2, \"num_experts\": 3, " SMALL("")
#define QWEN_SHARED \
    "model.layers.0.mlp.shared_expert.gate_proj.weight BF16 2x4;model.layers.0.mlp.shared_expert.up_proj.weight BF16 2x4;" \
    "model.layers.0.mlp.shared_expert.down_proj.weight BF16 4x2;model.layers.0.mlp.shared_expert_gate.weight BF16 1x4;"
#define QWEN_3_5 \
    "{\"model_type\": \"qwen3_5_moe_text\", \"moe_intermediate_size\": 2, \"shared_expert_intermediate_size\": 2, " \
    "\"num_experts\": 3, " SMALL("")
#define QWEN_EXPERT(e) \
    "model.layers.0.mlp.experts." e ".gate_proj.weight BF16 2x4;model.layers.0.mlp.experts." e \
    ".up_proj.weight BF16 2x4;" \
    "model.layers.0.mlp.experts." e ".down_proj.weight BF16 4x2;"
#define GATE "layers.0.checkpoint.tensors.gate"

static const struct {
    const char *config, *tensors, *path, *value, *words;
} checkpoints[] = {
    // Tensors decide between two names.
    {SMALL_MIXTRAL(", \"num_local_experts\": 2, \"num_experts\": 3"), TWO_EXPERTS("BF16"), "layers.0.experts.count", "2",
     "num_local_experts is 2, but num_experts is 3: num_local_experts counts, it is what fits the tensors"},
    {SMALL_MIXTRAL(", \"num_local_experts\": 3, \"num_experts\": 2"), TWO_EXPERTS("BF16"), "layers.0.experts.count", "2",
     "num_experts is 2, but num_local_experts is 3: num_experts counts, as in transformers"},
    {SMALL_MIXTRAL(", \"num_local_experts\": 3, \"num_experts\": 4"), TWO_EXPERTS("BF16"), NULL, NULL,
     "needs [4, 4] for its router"},
    {"{\"model_type\": \"switch_transformers\", \"d_model\": 4, \"hidden_size\": 5, \"num_layers\": 2, \"num_hidden_layers\": 1, "
     "\"num_sparse_encoder_layers\": 1, \"num_decoder_layers\": 0, \"num_experts\": 1, \"d_ff\": 2}",
     "encoder.block.0.layer.1.layer_norm.weight F32 4;", NULL, NULL, "num_decoder_layers"},
    {"{\"model_type\": \"step3p5\", \"num_hidden_layers\": 1, \"mlp_layer_types\": [\"sparse\"], \"hidden_size\": 4, "
     "\"moe_intermediate_size\": 2, \"share_expert_dim\": 2, \"num_local_experts\": 2, \"num_experts_per_tok\": 1}",
     NORM
     "model.layers.0.moe.gate.weight F32 2x4;model.layers.0.moe.router_bias F32 2;model.layers.0.moe.gate_proj.weight F32 2x2x4;"
     "model.layers.0.moe.up_proj.weight F32 2x2x4;model.layers.0.moe.down_proj.weight F32 2x4x2;"
     "model.layers.0.share_expert.gate_proj.weight F32 2x4;model.layers.0.share_expert.up_proj.weight F32 2x4;"
     "model.layers.0.share_expert.down_proj.weight F32 4x2;",
     "layers.0.experts.count", "2",
     "num_local_experts is 2, but transformers takes n_routed_experts = 288 where it stands alone: num_local_experts counts, it is "
     "what fits the tensors"},
    // Words that the tensors contradict.
    {SMALL_MIXTRAL(", \"num_local_experts\": 2, \"dtype\": \"fp8\""), TWO_EXPERTS("BF16"), "layers.0.weights", "\"bf16\"",
     "dtype is \"fp8\", but the experts' tensors are BF16, which counts"},
    {SMALL_MIXTRAL(", \"num_local_experts\": 2, \"torch_dtype\": 7"), TWO_EXPERTS("F16"), "layers.0.weights", "\"fp16\"",
     "torch_dtype is 7, but the experts' tensors are F16, which counts"},
    {SMALL_MIXTRAL(", \"num_local_experts\": 2, \"dtype\": \"float32\""), TWO_EXPERTS("BF16"), "layers.0.weights", "\"bf16\"",
     "dtype is \"float32\", but the experts' tensors are BF16, which counts"},
    {SMALL_MIXTRAL(", \"num_local_experts\": 2, \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4}"),
     TWO_EXPERTS("BF16"), "layers.0.weights", "\"bf16\"",
     "quantization_config says gptq, but the experts' tensors are BF16, which counts"},
    {SMALL_MIXTRAL(", \"num_local_experts\": 2, \"quantization_config\": \"awq\""), TWO_EXPERTS("BF16"), "layers.0.weights",
     "\"bf16\"", "quantization_config says \"awq\", but the experts' tensors are BF16, which counts"},
    {SMALL_MIXTRAL(", \"num_local_experts\": 2, \"quantization_config\": {\"quant_method\": \"fp8\", \"ignored_layers\": \"x\"}"),
     TWO_EXPERTS("BF16"), "layers.0.weights", "\"bf16\"", "quantization_config says fp8"},
    // One layer in two layouts.
    {QWEN_3_5, NORM ROUTER QWEN_SHARED STACKED_GATE_UP("4x4") STACKED_DOWN("4x2") QWEN_EXPERT("0"), NULL, NULL,
     "layer 0 has its experts twice, as tensor 'model.layers.0.mlp.experts.gate_up_proj' and as tensor "
     "'model.layers.0.mlp.experts.0.up_proj.weight': remove one of the two"},
    {QWEN_3_5, NORM ROUTER QWEN_SHARED QWEN_EXPERT("0") QWEN_EXPERT("1") QWEN_EXPERT("2"), GATE,
     "\"model.layers.{layer}.mlp.experts.{expert}.gate_proj.weight\"", ""},
    // One name, two layouts: all tensors must fit; where both do, the family's order decides (in_out for Qwen3-VL).
    {QWEN_VL, NORM ROUTER STACKED_GATE_UP("4x4") STACKED_DOWN("4x2"), GATE,
     "{\"name\": \"model.layers.{layer}.mlp.experts.gate_up_proj\", \"rows\": \"first_half\"}", ""},
    {QWEN_VL, NORM ROUTER STACKED_GATE_UP("4x4") STACKED_DOWN("2x4"), GATE,
     "{\"name\": \"model.layers.{layer}.mlp.experts.gate_up_proj\", \"rows\": \"first_half\", \"order\": \"in_out\"}", ""},
    {QWEN_VL, NORM ROUTER STACKED_GATE_UP("4x4") STACKED_DOWN("3x4"), NULL, NULL, "down_proj' has shape [3, 3, 4]"},
    {"{\"model_type\": \"qwen3_vl_moe_text\", \"moe_intermediate_size\": 4, \"num_experts\": 3, " SMALL(""),
     NORM ROUTER STACKED_GATE_UP("4x8") STACKED_DOWN("4x4"), GATE,
     "{\"name\": \"model.layers.{layer}.mlp.experts.gate_up_proj\", \"rows\": \"first_half\", \"order\": \"in_out\"}", ""},
    {"{\"model_type\": \"qwen3_vl_moe_text\", \"moe_intermediate_size\": 4, \"num_experts\": 3, " SMALL(""),
     NORM ROUTER STACKED_GATE_UP("8x4") STACKED_DOWN("4x4"), GATE,
     "{\"name\": \"model.layers.{layer}.mlp.experts.gate_up_proj\", \"rows\": \"first_half\"}", ""},
};
enum { CHECKPOINTS = sizeof checkpoints / sizeof *checkpoints };

START_TEST(asks_the_tensors) {
    write_tensors(checkpoints[_i].tensors);
    shell_write_file("$D/config.json", checkpoints[_i].config, strlen(checkpoints[_i].config));
    Imported result = importing_path(shell_folder());
    if (checkpoints[_i].value) {
        importing_value(&result, checkpoints[_i].path, checkpoints[_i].value);
        importing_words(result.summary, "every tensor is there, in the right shape");
        expect_remark(&result, checkpoints[_i].words);
    } else {
        ck_assert_msg(!result.text, "%s", result.text);
        importing_words(result.diagnostics.text, checkpoints[_i].words);
    }
    importing_free(&result);
}
END_TEST

// --- defaults ----------------------------------------------------------------------------------------------------------------

// What an empty configuration of a class of transformers has (tests/import_defaults.py).
static json_t *defaults;

// A member of an object, or NULL; a dot goes into an object.
static const json_t *member(const json_t *object, const char *key) {
    char copy[64], *rest = copy, *step;
    snprintf(copy, sizeof copy, "%s", key);
    while (object && (step = strsep(&rest, "."))) {
        object = json_object_get(object, step);
    }
    return object;
}

// Every "KEY = VALUE" that an import says to be a default is one in transformers, and is said once.
START_TEST(tells_the_defaults_of_transformers) {
    json_t *row = json_array_get(defaults, (size_t)_i), *given = json_copy(json_object_get(row, "given"));
    json_object_set(given, "model_type", json_object_get(row, "model_type"));
    char *text = json_dumps(given, 0), *save;
    Imported result = importing_config(text);
    ck_assert_msg(result.text, "%s", result.diagnostics.text);
    char *line = strstr(result.summary, "by default: ");
    ck_assert_msg(line, "%s", result.summary);
    line[strcspn(line, "\n")] = 0;
    int told = 0;
    json_t *said = json_object();
    for (char *item = strtok_r(line + strlen("by default: "), ",", &save); item; item = strtok_r(NULL, ",", &save)) {
        char key[64], value[64], found[64] = "";
        ck_assert_msg(sscanf(item, " %63s = %63s", key, value) == 2, "%s", item);
        ck_assert_msg(!json_object_get(said, key), "%s is said twice", key);
        json_object_set_new(said, key, json_true());
        const json_t *full = member(json_object_get(row, "full"), key);
        const json_t *wanted = json_is_array(full) ? json_array_get(full, 0) : full;  // of text and images: that of text
        if (json_is_string(wanted)) {
            snprintf(found, sizeof found, "%s", json_string_value(wanted));
        } else if (json_is_boolean(wanted)) {
            snprintf(found, sizeof found, "%s", json_is_true(wanted) ? "true" : "false");
        } else if (json_is_number(wanted)) {
            snprintf(found, sizeof found, "%g", json_number_value(wanted));
        }
        ck_assert_msg(!wanted || !strcmp(found, value), "%s: transformers has %s, import says '%s'",
                      json_string_value(json_object_get(row, "model_type")), found, item);
        told += wanted != NULL;
    }
    ck_assert_int_ge(told, 4);
    json_decref(said);
    importing_free(&result);
    free(text);
    json_decref(given);
}
END_TEST

Suite *suite_import_evidence(void) {
    Suite *suite = suite_create("import_evidence");
    TCase *tests = tcase_create("evidence");
    aliases = json_load_file("tests/data/import/aliases.json", 0, NULL);
    defaults = json_load_file("tests/data/import/defaults.json", 0, NULL);
    tcase_set_timeout(tests, TEST_TIMEOUT);
    tcase_add_checked_fixture(tests, shell_begin, shell_end);
    tcase_add_loop_test(tests, takes_the_name_that_transformers_takes, 0, (int)json_array_size(aliases) + !aliases);
    tcase_add_loop_test(tests, reads_configurations, 0, CONFIGS);
    tcase_add_loop_test(tests, asks_the_tensors, 0, CHECKPOINTS);
    tcase_add_loop_test(tests, tells_the_defaults_of_transformers, 0, (int)json_array_size(defaults) + !defaults);
    suite_add_tcase(suite, tests);
    return suite;
}
