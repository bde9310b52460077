// The tensors of a checkpoint that a layer's description names, and whether they are there. naming.c says what they are called.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "compiler/plan/text.h"
#include "read.h"
#include "runtime/weights.h"
#include "templates/plan.h"

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

static const char *find_dtype(const ImportCheckpoint *checkpoint, const char *name) {
    const SafetensorsEntry *entry = checkpoint->tensors ? safetensors_find(checkpoint->tensors, name) : NULL;
    const TorchTensor *tensor = checkpoint->torch ? torch_checkpoint_find(checkpoint->torch, name) : NULL;
    return entry ? entry->dtype : tensor ? tensor->dtype : NULL;
}

// Which matrices of a checkpoint in fp8 have 8 bits, the tensors say; where they are not at hand, the configuration does.
static Encoding encoding_of(const ImportNaming *naming, const ImportTensor *tensor, const ImportRun *run,
                            const ImportCheckpoint *checkpoint, const ImportConfig *config) {
    RoleName role = plan_tensor_role(tensor->tensor);
    char pattern[IMPORT_NAME_BYTES], name[IMPORT_NAME_BYTES];
    if (tensor->encoding != ENCODING_PLAIN || role == ROLE_COUNT) {
        return tensor->encoding;
    }
    import_naming_pattern(naming, tensor->name, pattern);
    import_naming_fill(pattern, run->first, name);
    const char *dtype = find_dtype(checkpoint, name);
    bool said = !checkpoint->tensors && role != ROLE_ROUTER && import_quantisation_fp8(config, name);
    bool eight = dtype ? !strcmp(dtype, "F8_E4M3") : said;
    return eight ? ENCODING_FP8_E4M3 : ENCODING_PLAIN;
}

static json_t *source_json(const ImportNaming *naming, const ImportTensor *tensor, Encoding encoding) {
    char pattern[IMPORT_NAME_BYTES];
    import_naming_pattern(naming, tensor->name, pattern);
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
    ImportNaming naming;
    if (!import_naming_choose(config, family, layer, run->first, checkpoint, &naming)) {
        return NULL;
    }
    json_t *tensors = json_object(), *result = json_pack("{s:I}", "first_layer", (json_int_t)run->first);
    for (Tensor t = 0; t < TENSOR_COUNT; t++) {
        const ImportTensor *tensor = import_naming_tensor(naming.layout->tensors, IMPORT_LAYOUT_TENSORS, t, layer);
        tensor = tensor ? tensor : import_naming_tensor(family->tensors, IMPORT_OTHER_TENSORS, t, layer);
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
    char name[IMPORT_NAME_BYTES] = "";
    if (json_is_string(encoding) && !strcmp(json_string_value(encoding), encoding_names[ENCODING_FP8_E4M3])) {
        return "F8_E4M3";
    }
    if (pattern) {
        import_naming_fill(pattern, run->first, name);
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
