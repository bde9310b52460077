// Names of a checkpoint's tensors. The same model lies on disk under several names (with and without the prefix of a multimodal
// model, experts one by one or stacked): where the checkpoint is at hand, it is asked.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "compiler/plan/text.h"
#include "read.h"
#include "runtime/weights.h"
#include "templates/plan.h"

enum { NAME_BYTES = TENSOR_PATTERN_BYTES + 64, PREFIXES = 6 };

static const char usual_prefix[] = "model.", usual_nested_prefix[] = "model.language_model.", usual_stem[] = "layers.{layer}.";
static const char blocks_suffix[] = "_blocks";  // of tensors in MXFP4

// The newest code of Chain-of-Experts turns an MoE into a chain by a sum of its iterations, weighted by vectors, where x is what an
// iteration reads and y what its experts give: x_1 = y_0, x_{t+1} = x_t + coe_weights[t - 1] * y_t. What descriptions say, and the
// scripts of that repository do, is one number for each iteration but the last.
bool import_tensors_known(const ImportCheckpoint *checkpoint, Diagnostics *diagnostics) {
    static const char newer[] = "coe_weights";
    for (int64_t i = 0; checkpoint->tensors && i < safetensors_count(checkpoint->tensors); i++) {
        const SafetensorsEntry *entry = safetensors_entry(checkpoint->tensors, i);
        const char *found = strstr(entry->name, newer), *next = found ? found + sizeof newer - 1 : NULL;
        if (found && (found == entry->name || found[-1] == '.') && (!*next || *next == '.')) {
            diagnostics_add(
                diagnostics, entry->file, 0, 0,
                "tensor '%s' is of a chain made of an MoE by x_1 = y_0, x_{t+1} = x_t + coe_weights[t - 1] * y_t, with a "
                "vector for each iteration: no description says that; understood is 'coe_weight', a number c_t for each "
                "iteration but the last, x_{t+1} = x_t + c_t y_t, and the last y",
                entry->name);
            return false;
        }
    }
    return true;
}

// Everything that a tensor's name is made of.
typedef struct Naming {
    const ImportFamily *family;
    const char *prefix;
    const ImportLayout *layout;
} Naming;

static void make_pattern(const Naming *naming, const char *name, char pattern[NAME_BYTES]) {
    bool in_block = *name == '@';
    snprintf(pattern, NAME_BYTES, "%s%s%s%s", naming->prefix, naming->family->stem ? naming->family->stem : usual_stem,
             in_block ? naming->family->block : "", name + in_block);
}

// Replaces every placeholder by a number.
static void fill_pattern(const char *pattern, int64_t layer, char name[NAME_BYTES]) {
    size_t length = 0;
    while (*pattern && length < NAME_BYTES - 1) {
        if (*pattern != '{') {
            name[length++] = *pattern++;
            continue;
        }
        int64_t number = strncmp(pattern, "{layer}", 7) ? 0 : layer;
        int written = snprintf(name + length, NAME_BYTES - length, "%lld", (long long)number);
        length += (size_t)written < NAME_BYTES - length ? (size_t)written : NAME_BYTES - 1 - length;
        pattern += strcspn(pattern, "}") + 1;
    }
    name[length] = 0;
}

static const ImportTensor *find_tensor(const ImportTensor *list, int count, Tensor tensor, const Layer *layer) {
    for (int i = 0; i < count && list[i].name; i++) {
        bool numbered = strstr(list[i].name, "{iteration}"), several = layer->gate_per_iteration;
        if (list[i].tensor == tensor && (!layer_tensor_per_iteration(tensor) || numbered == several)) {
            return &list[i];
        }
    }
    return NULL;
}

static const int64_t *find_shape(const ImportCheckpoint *checkpoint, const char *name, int *rank) {
    const SafetensorsEntry *entry = checkpoint->tensors ? safetensors_find(checkpoint->tensors, name) : NULL;
    const TorchTensor *tensor = checkpoint->torch ? torch_checkpoint_find(checkpoint->torch, name) : NULL;
    *rank = entry ? entry->rank : tensor ? tensor->rank : 0;
    return entry ? entry->shape : tensor ? tensor->shape : NULL;
}

// Experts are gated or not, and so are layouts.
static bool suits(const ImportLayout *layout, const Layer *layer) {
    return !find_tensor(layout->tensors, IMPORT_LAYOUT_TENSORS, TENSOR_GATE, layer) == !layer->gated;
}

// Whether the checkpoint has the experts of a layer under these names. Stacked experts of one name may lie in either order, which
// only the shape tells: [experts, 2 intermediate, hidden] or [experts, hidden, 2 intermediate].
static bool has_experts(const Naming *naming, const Layer *layer, int64_t number, const ImportCheckpoint *checkpoint) {
    const ImportTensor *up = find_tensor(naming->layout->tensors, IMPORT_LAYOUT_TENSORS, TENSOR_UP, layer);
    char pattern[NAME_BYTES], name[NAME_BYTES + sizeof blocks_suffix];
    make_pattern(naming, up->name, pattern);
    fill_pattern(pattern, number, name);
    if (up->encoding == ENCODING_MXFP4) {
        strcat(name, blocks_suffix);
    }
    int rank = 0;
    const int64_t *shape = find_shape(checkpoint, name, &rank);
    return shape && (rank != 3 || shape[up->order == ORDER_IN_OUT ? 1 : 2] == layer->hidden);
}

// The naming that the checkpoint has, or else the usual one.
static Naming choose_naming(const ImportConfig *config, const ImportFamily *family, const Layer *layer, int64_t number,
                            const ImportCheckpoint *checkpoint) {
    const char *usual = family->prefix ? family->prefix : usual_prefix, *method = import_quantisation(config);
    const char *nested = family->nested_prefix ? family->nested_prefix : usual_nested_prefix;
    const char *const prefixes[PREFIXES] = {config->section ? nested : usual, usual,        usual_nested_prefix,
                                            "language_model.model.",          usual_prefix, ""};
    const ImportLayout *preferred = NULL;
    for (int i = 0; i < IMPORT_LAYOUTS && family->layouts[i]; i++) {
        const ImportLayout *layout = family->layouts[i];
        bool same = method && layout->quantisation && !strcmp(method, layout->quantisation);
        preferred = suits(layout, layer) && (!preferred || same) ? layout : preferred;
    }
    preferred = preferred ? preferred : family->layouts[0];
    for (int p = 0; p < PREFIXES; p++) {
        for (int i = -1; i < IMPORT_LAYOUTS && (i < 0 || family->layouts[i]); i++) {
            Naming naming = {family, prefixes[p], i < 0 ? preferred : family->layouts[i]};
            if (suits(naming.layout, layer) && has_experts(&naming, layer, number, checkpoint)) {
                return naming;
            }
        }
    }
    return (Naming){family, prefixes[0], preferred};
}

static const char *find_dtype(const ImportCheckpoint *checkpoint, const char *name) {
    const SafetensorsEntry *entry = checkpoint->tensors ? safetensors_find(checkpoint->tensors, name) : NULL;
    const TorchTensor *tensor = checkpoint->torch ? torch_checkpoint_find(checkpoint->torch, name) : NULL;
    return entry ? entry->dtype : tensor ? tensor->dtype : NULL;
}

// Which matrices of a checkpoint in fp8 have 8 bits, the tensors say; where they are not at hand, the configuration does.
static Encoding encoding_of(const Naming *naming, const ImportTensor *tensor, const ImportRun *run,
                            const ImportCheckpoint *checkpoint, const ImportConfig *config) {
    RoleName role = plan_tensor_role(tensor->tensor);
    char pattern[NAME_BYTES], name[NAME_BYTES];
    if (tensor->encoding != ENCODING_PLAIN || role == ROLE_COUNT) {
        return tensor->encoding;
    }
    make_pattern(naming, tensor->name, pattern);
    fill_pattern(pattern, run->first, name);
    const char *dtype = find_dtype(checkpoint, name);
    bool said = !checkpoint->tensors && role != ROLE_ROUTER && import_quantisation_fp8(config, name);
    bool eight = dtype ? !strcmp(dtype, "F8_E4M3") : said;
    return eight ? ENCODING_FP8_E4M3 : ENCODING_PLAIN;
}

static json_t *source_json(const Naming *naming, const ImportTensor *tensor, Encoding encoding) {
    char pattern[NAME_BYTES];
    make_pattern(naming, tensor->name, pattern);
    if (!tensor->rows && !tensor->order && !encoding && tensor->add == 0) {
        return json_string(pattern);
    }
    json_t *object = json_pack("{s:s}", "name", pattern);
    if (tensor->rows) {
        json_object_set_new(object, "rows", json_string(tensor_rows_names[tensor->rows]));
    }
    if (tensor->order) {
        json_object_set_new(object, "order", json_string(tensor_order_names[tensor->order]));
    }
    if (encoding) {
        json_object_set_new(object, "encoding", json_string(encoding_names[encoding]));
    }
    if (tensor->add != 0) {
        json_object_set_new(object, "add", json_integer((json_int_t)tensor->add));
    }
    return object;
}

json_t *import_tensors_describe(const ImportConfig *config, const ImportFamily *family, const Layer *layer, const ImportRun *run,
                                const ImportCheckpoint *checkpoint) {
    Naming naming = choose_naming(config, family, layer, run->first, checkpoint);
    json_t *tensors = json_object(), *result = json_pack("{s:I}", "first_layer", (json_int_t)run->first);
    for (Tensor t = 0; t < TENSOR_COUNT; t++) {
        const ImportTensor *tensor = find_tensor(naming.layout->tensors, IMPORT_LAYOUT_TENSORS, t, layer);
        tensor = tensor ? tensor : find_tensor(family->tensors, IMPORT_OTHER_TENSORS, t, layer);
        if (tensor && layer_has_tensor(layer, t)) {
            json_object_set_new(tensors, layer_tensor_key((Tensor)t),
                                source_json(&naming, tensor, encoding_of(&naming, tensor, run, checkpoint, config)));
        }
    }
    if (run->step != 1) {
        json_object_set_new(result, "layer_step", json_integer((json_int_t)run->step));
    }
    json_object_set_new(result, "tensors", tensors);
    return result;
}

const char *import_tensors_dtype(const json_t *described, Tensor tensor, const ImportRun *run, const ImportCheckpoint *checkpoint) {
    const json_t *source = json_object_get(json_object_get(described, "tensors"), layer_tensor_key(tensor));
    const json_t *encoding = json_is_object(source) ? json_object_get(source, "encoding") : NULL;
    const char *pattern = json_string_value(json_is_object(source) ? json_object_get(source, "name") : source);
    char name[NAME_BYTES] = "";
    if (json_is_string(encoding) && !strcmp(json_string_value(encoding), encoding_names[ENCODING_FP8_E4M3])) {
        return "F8_E4M3";
    }
    if (pattern) {
        fill_pattern(pattern, run->first, name);
    }
    return find_dtype(checkpoint, name);
}

bool import_tensors_check(const Model *model, const ImportCheckpoint *checkpoint, Diagnostics *diagnostics) {
    char error[2048] = "out of memory";
    Kind *kinds = calloc(MODEL_MAX_LAYERS, sizeof *kinds);
    Status status = kinds ? LIBRARY_OK : LIBRARY_OUT_OF_MEMORY;
    for (int64_t i = 0; kinds && i < model->layer_count; i++) {
        const ModelLayer *layer = &model->layers[i];
        memcpy(kinds[i].name, layer->name, sizeof kinds[i].name);
        kinds[i].count = layer->count;
        kinds[i].checkpoint = layer->checkpoint;
        kinds[i].plan.layer = layer->layer;
        plan_layout(&kinds[i].plan);
    }
    if (kinds) {
        status = weights_check(kinds, model->layer_count, checkpoint->tensors, &(Failure){error, sizeof error});
    }
    if (status != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
    }
    free(kinds);
    return status == LIBRARY_OK;
}
