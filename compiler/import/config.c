// Reading config.json. Python writes it, so duplicate keys are not refused: the last counts, as there.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "read.h"
#include "runtime/file.h"

// Tokeniser tables in a config can be large; nothing is larger than this.
enum { CONFIG_MAX_BYTES = 1 << 24, CONFIG_MAX_STEPS = 6 };

static const char text_section[] = "text_config";

// The language model of a multimodal one has its keys in an object of its own.
static void find_section(ImportConfig *config) {
    const json_t *inner = json_object_get(config->root, text_section);
    config->section = json_is_object(inner) ? text_section : NULL;
    config->object = config->section ? inner : config->root;
}

static bool parse(ImportConfig *config) {
    json_error_t error;
    config->root = json_loadb(config->text, config->bytes, JSON_REJECT_DUPLICATES, &error);
    if (!config->root) {
        int line = error.line > 0 ? error.line : 1;
        diagnostics_add(config->diagnostics, config->path, line, error.column > 0 ? error.column : 1, "%s", error.text);
        return false;
    }
    if (!json_is_object(config->root)) {
        diagnostics_add(config->diagnostics, config->path, 1, 1, "a model's configuration is an object");
        return false;
    }
    find_section(config);
    return true;
}

bool import_config_read(ImportConfig *config, const char *path, Diagnostics *diagnostics) {
    *config = (ImportConfig){.path = path, .diagnostics = diagnostics};
    char error[512];
    Mapping mapping;
    if (file_map(path, &mapping, &(Failure){error, sizeof error}) != LIBRARY_OK) {
        diagnostics_add(diagnostics, path, 0, 0, "%s", error);
        return false;
    }
    bool read = false;
    config->text = mapping.size <= CONFIG_MAX_BYTES ? malloc(mapping.size + 1) : NULL;
    if (!config->text) {
        diagnostics_add(diagnostics, path, 0, 0, "a configuration has at most %d bytes", CONFIG_MAX_BYTES);
    } else {
        size_t mark = mapping.size ? spec_mark_bytes(mapping.data, mapping.size) : 0;
        config->bytes = mapping.size - mark;
        if (config->bytes) {
            memcpy(config->text, (const char *)mapping.data + mark, config->bytes);
        }
        config->text[config->bytes] = 0;
        read = parse(config);
    }
    mapping_free(&mapping);
    return read;
}

bool import_config_take(ImportConfig *config, const char *path, const json_t *object, Diagnostics *diagnostics) {
    *config = (ImportConfig){.path = path, .diagnostics = diagnostics, .root = json_deep_copy(object)};
    config->object = config->root;
    return config->root;
}

void import_config_free(ImportConfig *config) {
    json_decref(config->root);
    free(config->text);
    *config = (ImportConfig){0};
}

// Follows one key with dots from the object that holds the keys.
static const json_t *follow(const json_t *object, const char *key, size_t length) {
    char step[IMPORT_KEY_BYTES];
    for (size_t start = 0; object && start < length;) {
        size_t end = start;
        while (end < length && key[end] != '.') {
            end++;
        }
        snprintf(step, sizeof step, "%.*s", (int)(end - start), key + start);
        object = json_object_get(object, step);
        start = end + 1;
    }
    return object;
}

const json_t *import_config_get(const ImportConfig *config, const char *keys, char found[IMPORT_KEY_BYTES]) {
    for (const char *key = keys; *key;) {
        size_t length = strcspn(key, " ");
        const json_t *value = follow(config->object, key, length);
        if (value) {
            if (found) {
                snprintf(found, IMPORT_KEY_BYTES, "%.*s", (int)length, key);
            }
            return value;
        }
        key += length + strspn(key + length, " ");
    }
    return NULL;
}

// The place of a key with dots, as a chain of steps from the root.
static Position position_of(const ImportConfig *config, const char *key) {
    Place steps[CONFIG_MAX_STEPS];
    char copy[IMPORT_KEY_BYTES], *rest = copy, *word;
    int last = 0;
    snprintf(copy, sizeof copy, "%s", key ? key : "");
    steps[0] = (Place){NULL, NULL, 0};
    if (config->section) {
        steps[1] = (Place){&steps[0], config->section, 0};
        last = 1;
    }
    while ((word = strsep(&rest, ".")) && *word && last + 1 < CONFIG_MAX_STEPS) {
        steps[last + 1] = (Place){&steps[last], word, 0};
        last++;
    }
    return spec_position_find(config->text, config->bytes, &steps[last], PLACE_VALUE);
}

void import_error(const ImportConfig *config, const char *key, const char *format, ...) {
    Position position = config->text ? position_of(config, key) : (Position){0, 0};
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    diagnostics_add(config->diagnostics, config->path, position.line, position.column, "%s", text);
}
