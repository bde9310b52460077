// catena import of quantised checkpoints, fp8 above all: what the description says of each role with and without the tensors at
// hand, what published configurations lead to, and what is refused.
#include <stdlib.h>
#include <string.h>

#include "available.h"
#include "compiler/commands/command.h"
#include "shell.h"
#include "suites.h"

// Copies a folder's config.json, with keys replaced (null: removed), and its model.safetensors, with zeros as tensors. A rule is
// REGEX:DTYPE, or REGEX:- for tensors that are left out; the first that matches a name counts.
static const char retype[] =
    "import json, re, struct, sys\n"
    "folder, out, keys, *rules = sys.argv[1:]\n"
    "config = json.load(open(folder + \"/config.json\")) | json.loads(keys)\n"
    "json.dump({k: v for k, v in config.items() if v is not None}, open(out + \"/config.json\", \"w\"))\n"
    "data = open(folder + \"/model.safetensors\", \"rb\").read()\n"
    "size = struct.unpack(\"<Q\", data[:8])[0]\n"
    "header, at = json.loads(data[8 : 8 + size]), 0\n"
    "header.pop(\"__metadata__\", None)\n"
    "for name, tensor in list(header.items()):\n"
    "    dtype = next((d for r, d in (rule.split(\":\") for rule in rules) if re.search(r, name)), tensor[\"dtype\"])\n"
    "    if dtype == \"-\":\n"
    "        del header[name]\n"
    "        continue\n"
    "    tensor[\"dtype\"] = dtype\n"
    "    size = {\"F32\": 4, \"BF16\": 2, \"F16\": 2}.get(dtype, 1)\n"
    "    for length in tensor[\"shape\"]:\n"
    "        size *= length\n"
    "    tensor[\"data_offsets\"] = [at, at + size]\n"
    "    at += size\n"
    "text = json.dumps(header).encode()\n"
    "open(out + \"/model.safetensors\", \"wb\").write(struct.pack(\"<Q\", len(text)) + text + bytearray(at))\n";

static const char golden[] = "tests/golden";

// Makes $D/m of a golden folder. False: there is no Python.
static bool make(const char *folder, const char *keys, const char *rules) {
    if (!available_program("python3")) {
        return false;
    }
    shell_write_file("$D/retype.py", retype, strlen(retype));
    ck_assert_int_eq(shell_run("mkdir -p $D/m && python3 $D/retype.py %s/%s $D/m '%s' %s", golden, folder, keys, rules), 0);
    return true;
}

// --- what is imported --------------------------------------------------------------------------------------------------------

// Golden folders as they are, and their configurations alone. A line with '!' before it must not be there.
static const struct {
    const char *folder, *words;
} roles[] = {
    {"deepseek_v3_fp8", "\"weights\": \"fp8_e4m3\""},
    {"deepseek_v3_fp8", "\"shared_experts\": {\"count\": 1, \"intermediate\": 192}"},
    {"deepseek_v3_fp8", "\"router\": \"model.layers.{layer}.mlp.gate.weight\""},
    {"deepseek_v3_fp8",
     "\"down\": {\"name\": \"model.layers.{layer}.mlp.experts.{expert}.down_proj.weight\", \"encoding\": \"fp8_e4m3\"}"},
    {"deepseek_v3_fp8",
     "\"shared_up\": {\"name\": \"model.layers.{layer}.mlp.shared_experts.up_proj.weight\", \"encoding\": \"fp8_e4m3\"}"},
    {"deepseek_v3_fp8", "the checkpoint is in fp8: codes and scales are kept, and a weight is code * scale"},
    {"deepseek_v3_fp8", "!which counts"},
    {"deepseek_v3_fp8_shared_bf16", "\"weights\": \"fp8_e4m3\""},
    {"deepseek_v3_fp8_shared_bf16", "\"shared_experts\": {\"count\": 1, \"intermediate\": 72, \"weights\": \"bf16\"}"},
    {"deepseek_v3_fp8_shared_bf16", "\"shared_up\": \"model.layers.{layer}.mlp.shared_experts.up_proj.weight\""},
    {"qwen3_moe_fp8",
     "\"gate\": {\"name\": \"model.layers.{layer}.mlp.experts.{expert}.gate_proj.weight\", \"encoding\": \"fp8_e4m3\"}"},
    {"qwen3_moe_fp8", "\"router\": \"model.layers.{layer}.mlp.gate.weight\""},
    {"qwen3_moe_fp8_e8m0", "\"weights\": \"fp8_e4m3\""},
    {"minimax_m2_fp8",
     "\"up\": {\"name\": \"model.layers.{layer}.block_sparse_moe.experts.{expert}.w3.weight\", \"encoding\": \"fp8_e4m3\"}"},
    {"minimax_m2_fp8", "\"router\": \"model.layers.{layer}.block_sparse_moe.gate.weight\""},
    {"minimax_m2_fp8", "!down_weights"},
    {"olmoe", "\"weights\": \"fp16\""},
    {"olmoe", "!down_weights"},
};
enum { ROLES = sizeof roles / sizeof *roles };

static void expect_import(const char *path, const char *words) {
    if (*words == '!') {
        shell_expect(EXIT_OK, "", "! $CATENA import %s --name g 2>&1 | grep -qF '%s'", path, words + 1);
    } else {
        shell_expect(EXIT_OK, words, "$CATENA import %s --name g", path);
    }
}

START_TEST(says_the_format_of_each_role) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", golden, roles[_i].folder);
    expect_import(path, roles[_i].words);
    ck_assert_int_eq(shell_run("cp %s/config.json $D", path), 0);
    expect_import("$D/config.json", roles[_i].words);
}
END_TEST

// The same of any mixture: what a tensor is, the file says.
static const struct {
    const char *folder, *keys, *rules, *words;
} mixtures[] = {
    {"deepseek_v3_fp8", "{}", "'experts.[0-9].down_proj.weight_scale_inv:-' 'experts.[0-9].down_proj.weight$:BF16'",
     "\"intermediate\": 96, \"activation\": \"silu\", \"down_weights\": \"bf16\"}"},
    {"deepseek_v3_fp8", "{}", "'shared_experts.down_proj.weight_scale_inv:-' 'shared_experts.down_proj.weight$:F16'",
     "\"intermediate\": 192, \"down_weights\": \"fp16\"}"},
    {"deepseek_v3_fp8", "{\"quantization_config\": null}", "", "\"weights\": \"fp8_e4m3\""},
    {"deepseek_v3_fp8", "{\"quantization_config\": null}", "", "the checkpoint is in fp8"},
    {"deepseek_v3_fp8", "{\"quantization_config\": {\"quant_method\": \"fp8\"}}", "", "\"weights\": \"fp8_e4m3\""},
    {"deepseek_v3_fp8", "{}", "_scale_inv:BF16", "\"weights\": \"fp8_e4m3\""},
    {"deepseek_v3_fp8", "{}", "_scale_inv:F8_E8M0", "\"weights\": \"fp8_e4m3\""},
    {"deepseek_v3_fp8", "{}", "mlp.gate.weight:F32", "\"weights\": \"fp8_e4m3\""},
    // quantization_config left behind
    {"deepseek_v3", "{\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}}", "",
     "quantization_config says fp8, but the experts' tensors are BF16, which counts"},
    {"deepseek_v3", "{\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}}", "",
     "!the checkpoint is in fp8"},
    {"deepseek_v3", "{\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [1, 128]}}", "",
     "\"weights\": \"bf16\""},
    {"deepseek_v3", "{\"quantization_config\": {\"quant_method\": \"gptq\"}}", "", "\"weights\": \"bf16\""},
    {"deepseek_v3", "{\"dtype\": \"float32\", \"quantization_config\": {\"quant_method\": \"fp8\"}}", "",
     "dtype is \"float32\", but the experts' tensors are BF16, which counts"},
};
enum { MIXTURES = sizeof mixtures / sizeof *mixtures };

START_TEST(reads_what_the_tensors_are) {
    if (!make(mixtures[_i].folder, mixtures[_i].keys, mixtures[_i].rules)) {
        return;
    }
    expect_import("$D/m", mixtures[_i].words);
}
END_TEST

// The dtype is that of the experts, whatever lies before them and whatever the configuration says.
START_TEST(takes_the_dtype_of_the_experts) {
    static const char *const rules[] = {"experts:BF16 .:F32", "experts:F32 .:BF16"};
    static const char *const wanted[] = {"\"weights\": \"bf16\"", "\"weights\": \"fp32\""};
    static const char *const said[] = {"dtype is \"float16\", but the experts' tensors are BF16, which counts",
                                       "dtype is \"float16\", but the experts' tensors are F32, which counts"};
    if (!make("mixtral", "{\"torch_dtype\": null, \"dtype\": \"auto\"}", rules[_i])) {
        return;
    }
    shell_expect(EXIT_OK, wanted[_i], "$CATENA import $D/m");
    make("mixtral", "{\"torch_dtype\": null, \"dtype\": \"float16\"}", rules[_i]);
    shell_expect(EXIT_OK, wanted[_i], "$CATENA import $D/m");
    shell_expect(EXIT_OK, said[_i], "$CATENA import $D/m");
}
END_TEST

// --- published configurations ------------------------------------------------------------------------------------------------

#define FP8(more) \
    "\"quantization_config\": {\"activation_scheme\": \"dynamic\", \"quant_method\": \"fp8\", " more \
    ", \"weight_block_size\": [128, 128]}"
// What the models' config.json say of fp8, and the ends of the lines in which `import --dry-run` names tensors of either kind.
static const struct {
    const char *model, *config, *plain[3], *eight[4];
} published[] = {
    {"DeepSeek-V3",
     "\"model_type\": \"deepseek_v3\", \"torch_dtype\": \"bfloat16\", " FP8("\"fmt\": \"e4m3\""),
     {"model.layers.{layer}.mlp.gate.weight"},
     {"mlp.experts.{expert}.gate_proj.weight", "mlp.experts.{expert}.down_proj.weight", "mlp.shared_experts.up_proj.weight"}},
    {"DeepSeek-V3.1",
     "\"model_type\": \"deepseek_v3\", \"torch_dtype\": \"bfloat16\", " FP8("\"fmt\": \"e4m3\", \"scale_fmt\": \"ue8m0\""),
     {"model.layers.{layer}.mlp.gate.weight"},
     {"mlp.experts.{expert}.gate_proj.weight", "mlp.experts.{expert}.down_proj.weight", "mlp.shared_experts.up_proj.weight"}},
    {"Qwen3-30B-A3B-FP8",
     "\"model_type\": \"qwen3_moe\", \"torch_dtype\": \"bfloat16\", " FP8(
         "\"fmt\": \"e4m3\", \"modules_to_not_convert\": [\"lm_head\", \"model.layers.0.input_layernorm\", "
         "\"model.layers.0.mlp.gate\", \"model.layers.0.post_attention_layernorm\", \"model.layers.1.input_layernorm\", "
         "\"model.layers.1.mlp.gate\", \"model.layers.1.post_attention_layernorm\"]"),
     {"model.layers.{layer}.mlp.gate.weight"},
     {"mlp.experts.{expert}.gate_proj.weight", "mlp.experts.{expert}.up_proj.weight", "mlp.experts.{expert}.down_proj.weight"}},
    {"MiniMax-M2",
     "\"model_type\": \"minimax_m2\", " FP8("\"fmt\": \"float8_e4m3fn\", \"modules_to_not_convert\": [\"gate\", "
                                            "\"e_score_correction_bias\", \"lm_head\"]"),
     {"block_sparse_moe.gate.weight"},
     {"block_sparse_moe.experts.{expert}.w1.weight", "block_sparse_moe.experts.{expert}.w2.weight",
      "block_sparse_moe.experts.{expert}.w3.weight"}},
    {"Kimi-K2-Instruct",
     "\"model_type\": \"kimi_k2\", \"architectures\": [\"DeepseekV3ForCausalLM\"], \"n_routed_experts\": 384, \"n_group\": 1, "
     "\"topk_group\": 1, \"torch_dtype\": \"bfloat16\", " FP8("\"fmt\": \"e4m3\""),
     {"model.layers.{layer}.mlp.gate.weight"},
     {"mlp.experts.{expert}.gate_proj.weight", "mlp.experts.{expert}.down_proj.weight", "mlp.shared_experts.up_proj.weight"}},
    {"shared experts kept as they are",
     "\"model_type\": \"deepseek_v3\", " FP8("\"ignored_layers\": [\"shared_experts\", \"model.layers.3.mlp.shared_experts\"]"),
     {"mlp.shared_experts.gate_proj.weight", "mlp.shared_experts.up_proj.weight", "mlp.shared_experts.down_proj.weight"},
     {"mlp.experts.{expert}.gate_proj.weight"}},
    {"a module's name is no beginning of another's, and no end of a part",
     "\"model_type\": \"deepseek_v3\", " FP8(
         "\"modules_to_not_convert\": [\"model.layers.3.mlp.shared\", \"proj.weight\", \"\", 1]"),
     {0},
     {"mlp.experts.{expert}.gate_proj.weight", "mlp.shared_experts.up_proj.weight"}},
};
enum { PUBLISHED = sizeof published / sizeof *published };

START_TEST(understands_published_configurations) {
    char config[1024];
    snprintf(config, sizeof config, "{%s}", published[_i].config);
    shell_write_file("$D/config.json", config, strlen(config));
    shell_expect(EXIT_OK, "the checkpoint is in fp8: codes and scales are kept", "$CATENA import $D --dry-run");
    shell_expect(EXIT_OK, "tensors were not checked", "$CATENA import $D --dry-run");
    shell_expect(EXIT_OK, "packed as   fp8_e4m3", "$CATENA import $D --dry-run");
    for (int i = 0; i < 3 && published[_i].plain[i]; i++) {
        shell_expect(EXIT_OK, "", "$CATENA import $D --dry-run 2>&1 | grep -q '%s$'", published[_i].plain[i]);
    }
    for (int i = 0; i < 4 && published[_i].eight[i]; i++) {
        shell_expect(EXIT_OK, "", "$CATENA import $D --dry-run 2>&1 | grep -qF '%s (F8_E4M3)'", published[_i].eight[i]);
    }
}
END_TEST

// --- refusals ----------------------------------------------------------------------------------------------------------------

// Nothing reads other quantised experts; --dry-run says what the model is nevertheless.
START_TEST(refuses_quantised_checkpoints) {
    shell_run("printf '{\"model_type\": \"mixtral\",\\n \"quantization_config\": {\"quant_method\": \"fp8\"}}' > $D/config.json");
    shell_expect(EXIT_FAILED, "config.json:2:25: error: the checkpoint is quantised (fp8), weight_block_size is missing",
                 "$CATENA import $D --name g -o $D/x.json");
    shell_expect(EXIT_FAILED, "of Mixtral catena reads tensors in F32, F16, BF16, F8_E4M3 with block scales. Save it dequantised",
                 "$CATENA import $D");
    shell_expect(EXIT_OK, "the checkpoint is quantised (fp8)", "$CATENA import $D --dry-run");
    shell_expect(EXIT_OK, "the 2 best", "$CATENA import $D --dry-run");
    shell_run("printf '{\"model_type\": \"gpt_oss\", \"quantization_config\": {\"quant_method\": \"gptq\"}}' > $D/config.json");
    shell_expect(EXIT_FAILED, "block scales, and in MXFP4.", "$CATENA import $D");
    shell_run(
        "printf '{\"model_type\": \"llama4\",\\n \"quantization_config\": {\"bits\": 4},\\n \"text_config\": {}}' > "
        "$D/config.json");
    shell_expect(EXIT_FAILED, "config.json:2:25: error: the checkpoint is quantised (unknown)", "$CATENA import $D");
    ck_assert_int_eq(shell_run("test -e $D/x.json"), 1);
}
END_TEST

static const struct {
    const char *keys, *rules, *words;
} refusals[] = {
    {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [64, 128]}}", "",
     "its weight_block_size is not the expected [128, 128]"},
    {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128]}}", "",
     "its weight_block_size is not the expected [128, 128]"},
    {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": \"128\"}}", "",
     "its weight_block_size is not the expected [128, 128]"},
    {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"fmt\": \"e5m2\", \"weight_block_size\": [128, 128]}}", "",
     "its numbers are e5m2; expected e4m3"},
    {"{\"text_config\": {\"quantization_config\": [1]}}", "", "quantization_config must be an object such as"},
    {"{\"quantization_config\": \"fp8\"}", "",
     "quantization_config must be an object such as {\"quant_method\": \"fp8\"}, found \"fp8\""},
    {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"modules_to_not_convert\": 5}}", "",
     "quantization_config.modules_to_not_convert must be a list of modules' names, found 5"},
    {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"ignored_layers\": \"lm_head\"}}", "",
     "quantization_config.ignored_layers must be a list of modules' names, found \"lm_head\""},
    {"{\"quantization_config\": {\"quant_method\": \"compressed-tensors\"}}", "",
     "the checkpoint is quantised (compressed-tensors), a method that catena does not read"},
    {"{\"quantization_config\": {\"quant_method\": \"bitsandbytes\"}}", "experts:I8",
     "the checkpoint is quantised (bitsandbytes), a method that catena does not read"},
    {"{}", "experts.3.down_proj.weight_scale_inv:-", "experts.3.down_proj.weight_scale_inv' (down of layer 'moe.0') is not in"},
    {"{}", "_scale_inv:-", "gate_proj.weight_scale_inv' (gate of layer 'moe.0') is not in"},
    {"{}", "_scale_inv:F16", "has dtype F16; scales of fp8_e4m3 are F32, BF16 or F8_E8M0"},
    {"{}", "experts.2.up_proj.weight$:BF16", "experts.2.up_proj.weight' has dtype BF16; of encoding fp8_e4m3 it must be F8_E4M3"},
    {"{}", "experts.0.up_proj.weight$:BF16", "experts.1.up_proj.weight' has dtype F8_E4M3; F32, F16 and BF16 can be used"},
    {"{}", "experts:F8_E5M2", "has dtype F8_E5M2"},
    {"{}", "mlp.gate.weight:F8_E4M3", "model.layers.1.mlp.gate.weight_scale_inv' (router of layer 'moe.0') is not in"},
};
enum { REFUSALS = sizeof refusals / sizeof *refusals };

START_TEST(refuses_what_is_not_block_scaled) {
    if (make("deepseek_v3_fp8", refusals[_i].keys, refusals[_i].rules)) {
        shell_expect(EXIT_FAILED, refusals[_i].words, "$CATENA import $D/m -o $D/x.json");
        ck_assert_int_eq(shell_run("test -e $D/x.json"), 1);
    }
}
END_TEST

Suite *suite_import_quantised(void) {
    Suite *suite = suite_create("import_quantised");
    TCase *cases = tcase_create("import_quantised");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_add_loop_test(cases, says_the_format_of_each_role, 0, ROLES);
    tcase_add_loop_test(cases, reads_what_the_tensors_are, 0, MIXTURES);
    tcase_add_loop_test(cases, takes_the_dtype_of_the_experts, 0, 2);
    tcase_add_loop_test(cases, understands_published_configurations, 0, PUBLISHED);
    tcase_add_test(cases, refuses_quantised_checkpoints);
    tcase_add_loop_test(cases, refuses_what_is_not_block_scaled, 0, REFUSALS);
    suite_add_tcase(suite, cases);
    return suite;
}
