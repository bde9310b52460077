// Which quantised checkpoints are read: MXFP4 where a family has a layout for it, and fp8 E4M3 with a scale for 128 x 128 elements,
// which any family may have. This file judges what the configuration says; tensors.c checks the tensors themselves.
#include <string.h>

#include "read.h"
#include "runtime/packed.h"

static const char quantisation_key[] = "quantization_config", fp8_method[] = "fp8";

static const json_t *quantisation_object(const ImportConfig *config) {
    const json_t *inner = json_object_get(config->object, quantisation_key);
    return json_object_size(inner) ? inner : json_object_get(config->root, quantisation_key);
}

const char *import_quantisation(const ImportConfig *config) {
    const json_t *object = quantisation_object(config);
    const char *method = json_string_value(json_object_get(object, "quant_method"));
    return method ? method : json_is_object(object) && json_object_size(object) ? "unknown" : NULL;
}

static bool ends_with(const char *text, size_t length, const char *end) {
    size_t size = strlen(end);
    return size && size <= length && !memcmp(text + length - size, end, size);
}

// As transformers reads its lists of modules that stay what they are: an entry is the end of a module's name, or names the module
// or one that it is part of.
static bool is_listed(const json_t *modules, const char *tensor) {
    static const char weight[] = ".weight";
    size_t length = strlen(tensor), index;
    length -= ends_with(tensor, length, weight) ? strlen(weight) : 0;
    json_t *entry;
    json_array_foreach(modules, index, entry) {
        const char *text = json_is_string(entry) ? json_string_value(entry) : "";
        size_t size = strlen(text);
        bool whole = size && size <= length && !memcmp(tensor, text, size) && (size == length || tensor[size] == '.');
        if (whole || ends_with(tensor, length, text)) {
            return true;
        }
    }
    return false;
}

static const char *const kept_lists[] = {"modules_to_not_convert", "ignored_layers"};
enum { KEPT_LISTS = sizeof kept_lists / sizeof *kept_lists };

bool import_quantisation_fp8(const ImportConfig *config, const char *tensor) {
    const json_t *object = quantisation_object(config);
    const char *method = import_quantisation(config);
    bool listed = false;
    for (int i = 0; i < KEPT_LISTS; i++) {
        listed |= is_listed(json_object_get(object, kept_lists[i]), tensor);
    }
    return method && !strcmp(method, fp8_method) && !listed;
}

static bool has_layout(const ImportFamily *family, const char *method) {
    for (int i = 0; i < IMPORT_LAYOUTS && family->layouts[i]; i++) {
        const char *known = family->layouts[i]->quantisation;
        if (known && (!method || !strcmp(known, method))) {
            return true;
        }
    }
    return false;
}

// Whether a configuration of fp8 is one that catena reads: "fmt" is a spelling of e4m3 or missing, and "weight_block_size" is
// [128, 128]. Where the block size is missing, the tensors must be there, because they show it. Returns false with a reason.
static bool fp8_is_known(const json_t *object, const ImportCheckpoint *checkpoint, char *reason, size_t size) {
    const json_t *blocks = json_object_get(object, "weight_block_size");
    const char *numbers = json_string_value(json_object_get(object, "fmt"));
    if (numbers && !strstr(numbers, "e4m3")) {
        snprintf(reason, size, "its numbers are %.20s; expected e4m3", numbers);
        return false;
    }
    if (!blocks || json_is_null(blocks)) {
        snprintf(reason, size, "weight_block_size is missing; expected [%d, %d]", PACKED_FP8_BLOCK, PACKED_FP8_BLOCK);
        return checkpoint->tensors != NULL;
    }
    for (size_t i = 0; i < 2; i++) {
        if (json_array_size(blocks) != 2 || json_integer_value(json_array_get(blocks, i)) != PACKED_FP8_BLOCK) {
            snprintf(reason, size, "its weight_block_size is not the expected [%d, %d]", PACKED_FP8_BLOCK, PACKED_FP8_BLOCK);
            return false;
        }
    }
    return true;
}

// What is left of a quantisation that the tensors do not have.
static bool is_left_behind(const ImportStored *stored) {
    static const char *const plain[] = {"F32", "F16", "BF16"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (stored->experts && !stored->fp8 && !strcmp(stored->experts, plain[i])) {
            return true;
        }
    }
    return false;
}

static void remark_quantisation(const ImportConfig *config, const char *method, const char *reason, bool readable,
                                const ImportStored *stored) {
    const json_t *object = quantisation_object(config);
    bool said = object && !json_is_null(object) && (method || !json_is_object(object));
    if (said && is_left_behind(stored)) {
        char found[SPEC_TEXT_BYTES];
        spec_describe(object, found);
        import_remark(config, "quantization_config says %.40s, but the experts' tensors are %s, which counts",
                      method ? method : found, stored->experts);
    } else if (!readable) {
        import_remark(config, "the checkpoint is quantised (%.40s), %s", method, reason);
    } else if (stored->fp8) {
        import_remark(config,
                      "the checkpoint is in fp8: codes and scales are kept, and a weight is code * scale; activations are "
                      "not rounded to fp8");
    }
}

// Whether a value is missing, null or of the type that is wanted; reports any other value.
static bool is_typed(const ImportConfig *place, const char *name, const json_t *value, json_type type, const char *wanted) {
    if (!value || json_is_null(value) || json_typeof(value) == type) {
        return true;
    }
    char found[SPEC_TEXT_BYTES];
    spec_describe(value, found);
    import_error(place, quantisation_key, "%s must be %s, found %s; correct or remove it", name, wanted, found);
    return false;
}

// Of another type, the object or a list in it would count as missing: experts of fp8 would be described as bf16, or modules that
// stay what they are as fp8.
static bool is_well_formed(const ImportConfig *place, const json_t *holder) {
    const json_t *object = json_object_get(holder, quantisation_key);
    bool right = is_typed(place, quantisation_key, object, JSON_OBJECT, "an object such as {\"quant_method\": \"fp8\"}");
    for (int i = 0; i < KEPT_LISTS; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.%s", quantisation_key, kept_lists[i]);
        right &= is_typed(place, name, json_object_get(object, kept_lists[i]), JSON_ARRAY, "a list of modules' names");
    }
    return right;
}

bool import_quantisation_check(const ImportConfig *config, const ImportFamily *family, const ImportCheckpoint *checkpoint,
                               const ImportStored *stored, bool refuse) {
    const json_t *object = quantisation_object(config);
    const char *method = import_quantisation(config);
    char reason[160] = "a method that catena does not read";
    bool fp8 = method && !strcmp(method, fp8_method);
    bool readable = !method || is_left_behind(stored) || has_layout(family, method) ||
                    (fp8 && fp8_is_known(object, checkpoint, reason, sizeof reason));
    ImportConfig place = *config;
    if (!json_object_size(json_object_get(config->object, quantisation_key))) {
        place.section = NULL;  // a multimodal model's own
    }
    ImportConfig whole = *config;
    whole.section = NULL;
    if (!is_left_behind(stored) &&
        (!is_well_formed(&whole, config->root) || (config->object != config->root && !is_well_formed(config, config->object)))) {
        return false;
    }
    if (!readable && refuse) {
        import_error(
            &place, quantisation_key,
            "the checkpoint is quantised (%.40s), %s: of %s catena reads tensors in F32, F16, BF16, F8_E4M3 with block scales%s. "
            "Save it dequantised, or see with --dry-run what is understood",
            method, reason, family->name, has_layout(family, NULL) ? ", and in MXFP4" : "");
    } else {
        remark_quantisation(config, method, reason, readable, stored);
    }
    return readable || !refuse;
}
