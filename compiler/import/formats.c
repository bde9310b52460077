// In which formats a layer's matrices are packed: those that the checkpoint has, role by role. What the tensors are counts before
// what the configuration says.
#include <string.h>

#include "read.h"

Format import_format(int asked, const char *dtype) {
    for (Format f = 0; asked < 0 && f < FORMAT_COUNT; f++) {
        if (format_facts[f].dtype && !strcmp(dtype ? dtype : "BF16", format_facts[f].dtype)) {
            return f;
        }
    }
    return asked < 0 ? FORMAT_FP32 : (Format)asked;
}

static const char *dtype_of(const ImportFormats *formats, Tensor tensor) {
    return import_tensors_dtype(formats->described, tensor, formats->run, formats->checkpoint);
}

// The format of a role whose matrices come from these tensors (the second may be the first); fp32 holds what two dtypes hold.
static Format role_format(const ImportFormats *formats, Tensor first, Tensor second) {
    const char *one = dtype_of(formats, first), *other = dtype_of(formats, second);
    Format format = import_format(formats->asked, one ? one : formats->dtype);
    return other && import_format(formats->asked, other) != format ? FORMAT_FP32 : format;
}

// Sets a key where the format differs from the one that it stands for by default.
static void set_own(json_t *section, const char *key, Format format, Format standard) {
    if (format != standard) {
        json_object_set_new(section, key, json_string(format_names[format]));
    }
}

void import_formats_set(const ImportFormats *formats, const Layer *layer, json_t *entry, ImportStored *stored) {
    json_t *experts = json_object_get(entry, "experts"), *shared = json_object_get(entry, "shared_experts");
    Format up = role_format(formats, TENSOR_UP, layer->gated ? TENSOR_GATE : TENSOR_UP);
    stored->experts = dtype_of(formats, TENSOR_DOWN);
    for (Tensor t = 0; t < TENSOR_COUNT; t++) {
        const char *dtype = dtype_of(formats, t);
        stored->fp8 |= dtype && !strcmp(dtype, "F8_E4M3");
    }
    json_object_set_new(entry, "weights", json_string(format_names[up]));  // keeps its place
    set_own(experts, "down_weights", role_format(formats, TENSOR_DOWN, TENSOR_DOWN), up);
    if (layer->latent) {
        set_own(json_object_get(entry, "latent"), "weights", role_format(formats, TENSOR_LATENT_IN, TENSOR_LATENT_OUT), up);
    }
    if (layer->shared_experts) {
        Format shared_up = role_format(formats, TENSOR_SHARED_UP, layer->gated ? TENSOR_SHARED_GATE : TENSOR_SHARED_UP);
        set_own(shared, "weights", shared_up, up);
        set_own(shared, "down_weights", role_format(formats, TENSOR_SHARED_DOWN, TENSOR_SHARED_DOWN), shared_up);
    }
}
