// ReMoE's own checkpoints, as its fork of Megatron-LM saves them with --ckpt-format torch (github.com/thu-ml/ReMoE): one file of
// torch.save per rank, with the program's arguments as the configuration. Their tensors cannot be read where they lie: those of the
// sparse layers are written as safetensors, under the same names.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/file.h"
#include "table.h"

enum { PATH_BYTES = 4096, NAME_BYTES = 1024 };

static const char tracker_name[] = "latest_checkpointed_iteration.txt", rank_file[] = "mp_rank_00/model_optim_rng.pt";

// --- where the file is ---

static bool is_file(const char *path) {
    struct stat facts;
    return !stat(path, &facts) && S_ISREG(facts.st_mode);
}

// The folder of the iteration that the tracker names: "iter_0000100" or "release".
static bool read_tracker(const char *path, char folder[64], Diagnostics *diagnostics) {
    FILE *file = fopen(path, "r");
    char text[32] = "", *end = text;
    if (file) {
        text[fread(text, 1, sizeof text - 1, file)] = 0;
        fclose(file);
    }
    text[strcspn(text, " \r\n")] = 0;
    long iteration = strtol(text, &end, 10);
    if (!strcmp(text, "release")) {
        snprintf(folder, 64, "release");
    } else if (end != text && !*end && iteration >= 0) {
        snprintf(folder, 64, "iter_%07ld", iteration);
    } else {
        diagnostics_add(diagnostics, path, 1, 1, "expected the number of an iteration or \"release\", found '%s'", text);
        return false;
    }
    return true;
}

bool import_megatron_find(const char *path, char *file, size_t size, Diagnostics *diagnostics) {
    char tracker[PATH_BYTES], folder[64], metadata[PATH_BYTES];
    size_t length = strlen(path);
    snprintf(file, size, "%s", path);
    if (is_file(file)) {
        return length > 3 && !strcmp(path + length - 3, ".pt");
    }
    snprintf(file, size, "%.*s/%s", file_folder_length(path), path, rank_file);
    snprintf(tracker, sizeof tracker, "%.*s/%s", file_folder_length(path), path, tracker_name);
    if (is_file(file) || !is_file(tracker) || !read_tracker(tracker, folder, diagnostics)) {
        return is_file(file);
    }
    snprintf(file, size, "%.*s/%s/%s", file_folder_length(path), path, folder, rank_file);
    snprintf(metadata, sizeof metadata, "%.*s/%s/metadata.json", file_folder_length(path), path, folder);
    if (is_file(metadata)) {
        diagnostics_add(diagnostics, metadata, 0, 0,
                        "a distributed checkpoint (torch_dist): save it again with Megatron's --ckpt-convert-format torch "
                        "--ckpt-convert-save DIR");
        return false;
    }
    if (!is_file(file)) {
        diagnostics_add(diagnostics, file, 0, 0, "there is no such file: checkpoints of one rank can be read");
        return false;
    }
    return true;
}

// --- the row of the table ---

// Arguments count experts, choices and widths before they are cut into finer ones.
static bool adjust_granularity(const ImportConfig *config, ImportValue *values) {
    static const char key[] = "moe_granularity";
    const json_t *granularity = import_config_get(config, key, NULL);
    bool given = granularity && !json_is_null(granularity);
    json_int_t parts = given ? json_integer_value(granularity) : 1, width = (json_int_t)values[SETTING_INTERMEDIATE].number;
    if (parts < 1 || width % parts) {  // what is no integer counts as 0
        import_error(config, key, "%s must be an integer that divides the experts' width %lld", key, (long long)width);
        return false;
    }
    import_value_set(&values[SETTING_INTERMEDIATE], (double)(width / parts));
    import_value_set(&values[SETTING_EXPERTS], values[SETTING_EXPERTS].number * (double)parts);
    import_value_set(&values[SETTING_EXPECTED_K], values[SETTING_EXPECTED_K].number * (double)parts);
    return true;
}

static bool adjust_megatron(const ImportConfig *config, ImportValue *values) {
    const char *norm = values[SETTING_NORM].word;
    if (!json_is_true(import_config_get(config, "moe_relu_routing", NULL))) {
        import_error(config, NULL, "moe_relu_routing is not true: of Megatron's routers catena imports ReMoE's only");
        return false;
    }
    if (strcmp(norm, "RMSNorm") && strcmp(norm, "LayerNorm")) {
        import_error(config, NULL, "normalization is \"%.40s\": expected \"RMSNorm\" or \"LayerNorm\"", norm);
        return false;
    }
    import_value_set(&values[SETTING_NORM_BIAS], !strcmp(norm, "LayerNorm"));
    import_value_word(&values[SETTING_NORM], !strcmp(norm, "LayerNorm") ? "layer" : "rms");
    bool squared = json_is_true(import_config_get(config, "squared_relu", NULL));
    import_value_word(&values[SETTING_ACTIVATION], values[SETTING_GATED].number != 0 ? "silu" : squared ? "relu2" : "gelu");
    if (values[SETTING_SHARED].source != SOURCE_NONE) {
        import_value_set(&values[SETTING_SHARED_BIAS], values[SETTING_EXPERT_BIAS].number);
    }
    return adjust_granularity(config, values);
}

// Gate and up are the halves of one matrix; without a gate it is all up.
#define HALVES(part, shared, name) \
    PART(TENSOR_##shared##GATE##part, name, ROWS_FIRST_HALF, ORDER_OUT_IN), \
        PART(TENSOR_##shared##UP##part, name, ROWS_SECOND_HALF, ORDER_OUT_IN)

static const ImportLayout sequential = {.tensors = {HALVES(, , "@experts.local_experts.{expert}.linear_fc1.weight"),
                                                    PLAIN(TENSOR_DOWN, "@experts.local_experts.{expert}.linear_fc2.weight"),
                                                    HALVES(_BIAS, , "@experts.local_experts.{expert}.linear_fc1.bias"),
                                                    PLAIN(TENSOR_DOWN_BIAS, "@experts.local_experts.{expert}.linear_fc2.bias")}};
static const ImportLayout sequential_plain = {
    .tensors = {PLAIN(TENSOR_UP, "@experts.local_experts.{expert}.linear_fc1.weight"),
                PLAIN(TENSOR_DOWN, "@experts.local_experts.{expert}.linear_fc2.weight"),
                PLAIN(TENSOR_UP_BIAS, "@experts.local_experts.{expert}.linear_fc1.bias"),
                PLAIN(TENSOR_DOWN_BIAS, "@experts.local_experts.{expert}.linear_fc2.bias")}};
// TEGroupedMLP; the number follows without a dot.
static const ImportLayout grouped = {
    .tensors = {HALVES(, , "@experts.linear_fc1.weight{expert}"), PLAIN(TENSOR_DOWN, "@experts.linear_fc2.weight{expert}"),
                HALVES(_BIAS, , "@experts.linear_fc1.bias{expert}"), PLAIN(TENSOR_DOWN_BIAS, "@experts.linear_fc2.bias{expert}")}};
static const ImportLayout grouped_plain = {.tensors = {PLAIN(TENSOR_UP, "@experts.linear_fc1.weight{expert}"),
                                                       PLAIN(TENSOR_DOWN, "@experts.linear_fc2.weight{expert}"),
                                                       PLAIN(TENSOR_UP_BIAS, "@experts.linear_fc1.bias{expert}"),
                                                       PLAIN(TENSOR_DOWN_BIAS, "@experts.linear_fc2.bias{expert}")}};

// GroupedMLP: all experts side by side, once import_megatron_stack has told them apart.
static const ImportLayout merged = {.tensors = {PART(TENSOR_GATE, "@experts.weight1", ROWS_FIRST_HALF, ORDER_IN_OUT),
                                                PART(TENSOR_UP, "@experts.weight1", ROWS_SECOND_HALF, ORDER_IN_OUT),
                                                PART(TENSOR_DOWN, "@experts.weight2", ROWS_ALL, ORDER_IN_OUT)}};
static const ImportLayout merged_plain = {.tensors = {PART(TENSOR_UP, "@experts.weight1", ROWS_ALL, ORDER_IN_OUT),
                                                      PART(TENSOR_DOWN, "@experts.weight2", ROWS_ALL, ORDER_IN_OUT)}};

const ImportFamily import_megatron = {
    .name = "ReMoE (Megatron-LM)",
    .model_types = "remoe",
    .rules = {[SETTING_HIDDEN] = REQUIRED("hidden_size"),
              [SETTING_LAYERS] = REQUIRED("num_layers"),
              [SETTING_NORM] = KEY_WORD("normalization", "LayerNorm"),
              [SETTING_NORM_EPS] = KEY("norm_epsilon", 1e-5),
              [SETTING_OUTER] = FIXED(1),
              [SETTING_SCORE] = WORD("relu"),
              [SETTING_SELECT] = WORD("threshold"),
              [SETTING_THRESHOLD] = FIXED(0),
              [SETTING_EXPECTED_K] = REQUIRED("moe_router_topk"),
              [SETTING_EXPERTS] = REQUIRED("num_experts"),
              [SETTING_INTERMEDIATE] = REQUIRED("moe_ffn_hidden_size"),
              [SETTING_GATED] = KEY("swiglu", 0),
              [SETTING_EXPERT_BIAS] = KEY("add_bias_linear", 1),
              [SETTING_SHARED] = FIXED(1),
              [SETTING_SHARED_WIDTH] = NULLABLE("moe_shared_expert_intermediate_size", 0),
              [SETTING_STEP] = KEY("moe_layer_freq", 1),
              [SETTING_PHASE] = FIXED(0)},
    .types = "moe_layer_freq",
    .expectations = {{"tensor_model_parallel_size", "1"},
                     {"pipeline_model_parallel_size", "1"},
                     {"expert_model_parallel_size", "1"},
                     {"apply_layernorm_1p", "false"},
                     {"apply_residual_connection_post_layernorm", "false"},
                     {"moe_input_jitter_eps", "null"}},
    .prefix = "decoder.",
    .block = "mlp.",
    .layouts = {&sequential, &grouped, &merged, &sequential_plain, &grouped_plain, &merged_plain},
    .tensors = {PLAIN(TENSOR_NORM, "pre_mlp_layernorm.weight"), PLAIN(TENSOR_NORM_BIAS, "pre_mlp_layernorm.bias"),
                PLAIN(TENSOR_ROUTER, "@router.weight"), HALVES(, SHARED_, "@shared_experts.linear_fc1.weight"),
                PLAIN(TENSOR_SHARED_DOWN, "@shared_experts.linear_fc2.weight"),
                HALVES(_BIAS, SHARED_, "@shared_experts.linear_fc1.bias"),
                PLAIN(TENSOR_SHARED_DOWN_BIAS, "@shared_experts.linear_fc2.bias")},
    .adjust = adjust_megatron,
};

// --- its tensors ---

// Megatron uses weight1 [hidden, experts * width] as weight1.view(experts, hidden, width) (experts.py, GroupedMLP.forward): the
// rows of its stored shape mean nothing. weight2 [experts * width, hidden] lies as its shape says.
bool import_megatron_stack(TorchCheckpoint *torch, const char *path, Diagnostics *diagnostics) {
    static const char suffix[] = ".experts.weight1";
    for (int64_t i = 0; i < torch_checkpoint_count(torch); i++) {
        const TorchTensor *tensor = torch_checkpoint_tensor(torch, i);
        size_t length = strlen(tensor->name), stem = length - (sizeof suffix - 1);
        char name[NAME_BYTES];
        if (length < sizeof suffix || strcmp(tensor->name + stem, suffix)) {
            continue;
        }
        snprintf(name, sizeof name, "%.*s.router.weight", (int)stem, tensor->name);
        const TorchTensor *router = torch_checkpoint_find(torch, name);
        int64_t experts = router && router->rank == 2 ? router->shape[0] : 0, width = tensor->rank == 2 ? tensor->shape[1] : 0;
        bool known = experts > 0 && tensor->shape[0] == router->shape[1] && width > 0 && width % experts == 0;
        if (!known || !torch_checkpoint_view(torch, i, 3, (const int64_t[]){experts, router->shape[1], width / experts})) {
            diagnostics_add(
                diagnostics, path, 0, 0,
                "tensor '%s' (GroupedMLP) must be [hidden, experts * width] without gaps, for the experts and the hidden "
                "size of '%s'",
                tensor->name, name);
            return false;
        }
    }
    return true;
}

// Tensors of sparse layers: norm, router, experts. `context` is unused.
static bool is_wanted(const char *name, void *context) {
    static const char *const parts[] = {".pre_mlp_layernorm.", ".mlp.router.weight", ".mlp.experts.", ".mlp.shared_experts."};
    (void)context;
    size_t length = strlen(name);
    bool state = length > 12 && !strcmp(name + length - 12, "._extra_state");
    for (size_t i = 0; !state && i < sizeof parts / sizeof *parts; i++) {
        if (!strncmp(name, "decoder.layers.", 15) && strstr(name, parts[i])) {
            return true;
        }
    }
    return false;
}

int import_megatron_write(TorchCheckpoint *torch, const char *path, const Model *model, const char *output,
                          Diagnostics *diagnostics) {
    char error[1024] = "";
    ImportCheckpoint written = {NULL};
    int status = -1;
    if (torch_checkpoint_write_safetensors(torch, is_wanted, NULL, output, diagnostics)) {
        goto cleanup;
    }
    if (safetensors_open(output, &written.tensors, &(Failure){error, sizeof error}) != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
    } else if (import_tensors_check(model, &written, diagnostics)) {
        status = 0;
    } else {
        diagnostics_add(diagnostics, path, 0, 0, "its tensors do not fit its arguments, so '%s' was not kept", output);
    }
    if (status) {
        unlink(output);
    }
cleanup:
    import_checkpoint_close(&written);
    return status;
}
