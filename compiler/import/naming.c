// Names of a checkpoint's tensors. The same model lies on disk under several names (with and without the prefix of a multimodal
// model, experts one by one or stacked), and under one name in either order of dimensions: where the checkpoint is at hand, it is
// asked.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "compiler/plan/text.h"
#include "read.h"
#include "runtime/weights_source.h"

enum { PREFIXES = 6, CANDIDATES = PREFIXES * IMPORT_LAYOUTS, NUMBERED_BYTES = IMPORT_NAME_BYTES + 16 };

static const char usual_prefix[] = "model.", usual_nested_prefix[] = "model.language_model.", usual_stem[] = "layers.{layer}.";
static const char blocks_suffix[] = "_blocks";  // of tensors in MXFP4

void import_naming_pattern(const ImportNaming *naming, const char *name, char pattern[IMPORT_NAME_BYTES]) {
    bool in_block = *name == '@';
    snprintf(pattern, IMPORT_NAME_BYTES, "%s%s%s%s", naming->prefix, naming->family->stem ? naming->family->stem : usual_stem,
             in_block ? naming->family->block : "", name + in_block);
}

void import_naming_fill(const char *pattern, int64_t layer, char name[IMPORT_NAME_BYTES]) {
    size_t length = 0;
    while (*pattern && length < IMPORT_NAME_BYTES - 1) {
        if (*pattern != '{') {
            name[length++] = *pattern++;
            continue;
        }
        int64_t number = strncmp(pattern, "{layer}", 7) ? 0 : layer;
        int written = snprintf(name + length, IMPORT_NAME_BYTES - length, "%lld", (long long)number);
        length += (size_t)written < IMPORT_NAME_BYTES - length ? (size_t)written : IMPORT_NAME_BYTES - 1 - length;
        pattern += strcspn(pattern, "}") + 1;
    }
    name[length] = 0;
}

const ImportTensor *import_naming_tensor(const ImportTensor *list, int count, Tensor tensor, const Layer *layer) {
    for (int i = 0; i < count && list[i].name; i++) {
        bool numbered = strstr(list[i].name, "{iteration}"), several = layer->gate_per_iteration;
        if (list[i].tensor == tensor && (!layer_tensor_per_iteration(tensor) || numbered == several)) {
            return &list[i];
        }
    }
    return NULL;
}

static const ImportTensor *experts_tensor(const ImportLayout *layout, Tensor tensor, const Layer *layer) {
    return import_naming_tensor(layout->tensors, IMPORT_LAYOUT_TENSORS, tensor, layer);
}

// Experts are gated or not, and so are layouts.
static bool suits(const ImportLayout *layout, const Layer *layer) {
    return !experts_tensor(layout, TENSOR_GATE, layer) == !layer->gated;
}

// The name of the first tensor of a layer's up matrices.
static void up_name(const ImportNaming *naming, const Layer *layer, int64_t number, char name[NUMBERED_BYTES]) {
    const ImportTensor *up = experts_tensor(naming->layout, TENSOR_UP, layer);
    char pattern[IMPORT_NAME_BYTES], filled[IMPORT_NAME_BYTES];
    import_naming_pattern(naming, up->name, pattern);
    import_naming_fill(pattern, number, filled);
    snprintf(name, NUMBERED_BYTES, "%s%s", filled, up->encoding == ENCODING_MXFP4 ? blocks_suffix : "");
}

static bool is_there(const ImportNaming *naming, const Layer *layer, int64_t number, const ImportCheckpoint *checkpoint) {
    char name[NUMBERED_BYTES];
    up_name(naming, layer, number, name);
    return (checkpoint->tensors && safetensors_find(checkpoint->tensors, name)) ||
           (checkpoint->torch && torch_checkpoint_find(checkpoint->torch, name));
}

// Whether the tensors of a layer's first expert have the shapes that a layout gives them.
static bool fits(const ImportNaming *naming, const Layer *layer, int64_t number, const ImportCheckpoint *checkpoint) {
    Kind *kind = calloc(1, sizeof *kind);
    char error[1024];
    bool fitting = kind && checkpoint->tensors;
    for (int i = 0; fitting && i < IMPORT_LAYOUT_TENSORS && naming->layout->tensors[i].name; i++) {
        const ImportTensor *tensor = &naming->layout->tensors[i];
        TensorSource *source = &kind->checkpoint.tensors[tensor->tensor];
        char pattern[IMPORT_NAME_BYTES], name[IMPORT_NAME_BYTES];
        import_naming_pattern(naming, tensor->name, pattern);
        import_naming_fill(pattern, number, name);
        const SafetensorsEntry *entry = safetensors_find(checkpoint->tensors, name);
        bool eight = entry && !strcmp(entry->dtype, "F8_E4M3");
        snprintf(source->pattern, sizeof source->pattern, "%.*s", TENSOR_PATTERN_BYTES - 1, pattern);
        source->rows = tensor->rows;
        source->order = tensor->order;
        source->encoding = eight ? ENCODING_FP8_E4M3 : tensor->encoding;
        kind->checkpoint.first_layer = number;
        kind->plan.layer = *layer;
        plan_layout(&kind->plan);
        PackedSource data;
        fitting = !layer_has_tensor(layer, tensor->tensor) || weights_source(kind, tensor->tensor, 0, 0, checkpoint->tensors, &data,
                                                                             NULL, &(Failure){error, sizeof error}) == LIBRARY_OK;
    }
    free(kind);
    return fitting;
}

// Every naming under which the checkpoint has the layer's experts, in the order in which they count: the configuration's layout
// first, then the family's others. The first of `preferred` counts where there is none.
static int list_candidates(const ImportConfig *config, const ImportFamily *family, const Layer *layer, int64_t number,
                           const ImportCheckpoint *checkpoint, ImportNaming candidates[CANDIDATES], ImportNaming *usual_naming) {
    const char *usual = family->prefix ? family->prefix : usual_prefix, *method = import_quantisation(config);
    const char *nested = family->nested_prefix ? family->nested_prefix : usual_nested_prefix;
    const char *const prefixes[PREFIXES] = {config->section ? nested : usual, usual,        usual_nested_prefix,
                                            "language_model.model.",          usual_prefix, ""};
    const ImportLayout *preferred = NULL;
    int count = 0;
    for (int i = 0; i < IMPORT_LAYOUTS && family->layouts[i]; i++) {
        const ImportLayout *layout = family->layouts[i];
        bool same = method && layout->quantisation && !strcmp(method, layout->quantisation);
        preferred = suits(layout, layer) && (!preferred || same) ? layout : preferred;
    }
    preferred = preferred ? preferred : family->layouts[0];
    *usual_naming = (ImportNaming){family, prefixes[0], preferred};
    for (int p = 0; p < PREFIXES; p++) {
        bool again = false;
        for (int before = 0; before < p; before++) {
            again |= !strcmp(prefixes[before], prefixes[p]);
        }
        for (int i = -1; !again && i < IMPORT_LAYOUTS && (i < 0 || family->layouts[i]); i++) {
            ImportNaming naming = {family, prefixes[p], i < 0 ? preferred : family->layouts[i]};
            bool told = i >= 0 && family->layouts[i] == preferred;
            if (!told && suits(naming.layout, layer) && is_there(&naming, layer, number, checkpoint)) {
                candidates[count++] = naming;
            }
        }
    }
    return count;
}

bool import_naming_choose(const ImportConfig *config, const ImportFamily *family, const Layer *layer, int64_t number,
                          const ImportCheckpoint *checkpoint, ImportNaming *naming) {
    ImportNaming candidates[CANDIDATES];
    int count = list_candidates(config, family, layer, number, checkpoint, candidates, naming);
    char first[NUMBERED_BYTES], other[NUMBERED_BYTES];
    for (int i = 0; i < count; i++) {
        up_name(&candidates[i], layer, number, i ? other : first);
        if (i && strcmp(first, other)) {
            diagnostics_add(config->diagnostics, config->path, 0, 0,
                            "layer %lld has its experts twice, as tensor '%s' and as tensor '%s': remove one of the two from the "
                            "checkpoint",
                            (long long)number, first, other);
            return false;
        }
    }
    int chosen = 0;  // whose errors are told where none fits
    for (int i = count - 1; count > 1 && i >= 0; i--) {
        chosen = fits(&candidates[i], layer, number, checkpoint) ? i : chosen;
    }
    *naming = count ? candidates[chosen] : *naming;
    return true;
}
