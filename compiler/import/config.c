// Looking things up in a configuration: which of two names counts, and where a value is in the text. python_json.c reads the text.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "read.h"
#include "runtime/file.h"

// Tokeniser tables in a config can be large; nothing is larger than this.
enum { CONFIG_MAX_BYTES = 1 << 24, CONFIG_MAX_STEPS = 8 };

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

// The language model of a multimodal one has its keys in an object of its own.
static void find_section(ImportConfig *config) {
    static const char *const sections[] = {"text_config", "thinker_config.text_config", "language_config"};
    config->section = NULL;
    config->object = config->root;
    for (size_t i = 0; i < sizeof sections / sizeof *sections && !config->section; i++) {
        const json_t *inner = follow(config->root, sections[i], strlen(sections[i]));
        if (json_is_object(inner)) {
            config->section = sections[i];
            config->object = inner;
        }
    }
}

static bool parse(ImportConfig *config) {
    json_error_t error;
    config->root = import_python_json(config->text, config->bytes, &error);
    if (!config->root) {
        int line = error.line > 0 ? error.line : 1;
        diagnostics_add(config->diagnostics, config->path, line, error.column > 0 ? error.column : 1, "%s", error.text);
        return false;
    }
    if (!json_is_object(config->root)) {
        diagnostics_add(config->diagnostics, config->path, 1, 1, "a model's configuration is an object");
        return false;
    }
    config->disputes = json_array();
    config->said = json_object();
    config->asked = json_object();
    find_section(config);
    return config->disputes && config->said && config->asked;
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
    *config = (ImportConfig){.path = path,
                             .diagnostics = diagnostics,
                             .root = json_deep_copy(object),
                             .disputes = json_array(),
                             .said = json_object(),
                             .asked = json_object()};
    config->object = config->root;
    return config->root && config->disputes && config->said && config->asked;
}

void import_config_free(ImportConfig *config) {
    json_decref(config->root);
    json_decref(config->disputes);
    json_decref(config->said);
    json_decref(config->asked);
    free(config->text);
    *config = (ImportConfig){0};
}

// The place of a key with dots, as a chain of steps from the root.
static Position position_of(const ImportConfig *config, const char *key) {
    Place steps[CONFIG_MAX_STEPS];
    char copy[2 * IMPORT_KEY_BYTES], *rest = copy, *word;
    int last = 0;
    snprintf(copy, sizeof copy, "%s%s%s", config->section ? config->section : "", config->section ? "." : "", key ? key : "");
    steps[0] = (Place){NULL, NULL, 0};
    while ((word = strsep(&rest, ".")) && *word && last + 1 < CONFIG_MAX_STEPS) {
        steps[last + 1] = (Place){&steps[last], word, 0};
        last++;
    }
    return spec_position_find(config->text, config->bytes, &steps[last], PLACE_VALUE);
}

bool import_has_word(const char *words, const char *word) {
    size_t length = strlen(word);
    for (const char *next = words; next && *next && length; next += strspn(next, " ")) {
        size_t here = strcspn(next, " ");
        if (here == length && !strncmp(next, word, length)) {
            return true;
        }
        next += here;
    }
    return false;
}

void import_remark(const ImportConfig *config, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c; c++) {  // keys are the user's: they must not reach the terminal as control sequences
        *c = (unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c;
    }
    if (config->remarks && !json_object_get(config->said, text)) {
        json_object_set_new(config->said, text, json_true());
        fprintf(config->remarks, "%s\n", text);
    }
}

// --- which value counts ---

// A name of a list of names, where the configuration has it.
typedef struct Named {
    char key[IMPORT_KEY_BYTES];
    const json_t *value;
} Named;

enum { NAMES = 4 };

// The names that the configuration has, in the list's order.
static int find_named(const json_t *object, const char *keys, Named named[NAMES]) {
    int count = 0;
    for (const char *key = keys; *key && count < NAMES;) {
        size_t length = strcspn(key, " ");
        named[count].value = follow(object, key, length);
        if (named[count].value) {
            snprintf(named[count++].key, IMPORT_KEY_BYTES, "%.*s", (int)length, key);
        }
        key += length + strspn(key + length, " ");
    }
    return count;
}

// Numbers are compared as numbers: 1 and 1.0 do not disagree.
static bool same_value(const json_t *a, const json_t *b) {
    return json_is_number(a) && json_is_number(b) ? json_number_value(a) == json_number_value(b) : json_equal(a, b);
}

// The index of the name that counts: the first, unless another one is an alias.
static int choose_named(const ImportConfig *config, const Named named[NAMES], int count) {
    for (int i = 0; i < count; i++) {
        if (import_has_word(config->aliases, named[i].key)) {
            return i;
        }
    }
    return 0;
}

bool import_config_turned(const ImportConfig *config, const char *pair) {
    size_t dispute = 0, known = json_array_size(config->disputes);
    while (dispute < known && strcmp(json_string_value(json_array_get(config->disputes, dispute)), pair)) {
        dispute++;
    }
    if (dispute == known) {
        json_array_append_new(config->disputes, json_string(pair));
    }
    return dispute < IMPORT_DISPUTES && config->turned >> dispute & 1;
}

// Two names of one setting that have different values. The choice may be turned round (config->turned) where the tensors do not
// fit.
static int settle(const ImportConfig *config, const Named named[NAMES], int chosen, int other) {
    char pair[NAMES * IMPORT_KEY_BYTES], values[2][SPEC_TEXT_BYTES];
    snprintf(pair, sizeof pair, "%.*s %.*s", IMPORT_KEY_BYTES, named[chosen].key, IMPORT_KEY_BYTES, named[other].key);
    bool turned = import_config_turned(config, pair);
    int counts = turned ? other : chosen, not = turned ? chosen : other;
    spec_describe(named[counts].value, values[0]);
    spec_describe(named[not].value, values[1]);
    const char *reason = turned                                                ? "it is what fits the tensors"
                         : import_has_word(config->aliases, named[chosen].key) ? "as in transformers"
                                                                               : "it is the model's own name";
    import_remark(config, "%s: %s is %s, but %s is %s: %s counts, %s", config->path, named[counts].key, values[0], named[not].key,
                  values[1], named[counts].key, reason);
    return counts;
}

// What a key says twice or in two places is told: of an object's members of one name Python keeps the last, and a multimodal
// model's language part is read first.
static void remark_repeated(const ImportConfig *config, const char *key, const json_t *value) {
    Position position = config->text ? position_of(config, key) : (Position){0};
    if (position.times > 1) {
        import_remark(config, "%s:%d: %s is there %d times: the last one counts, as in Python", config->path, position.line, key,
                      position.times);
    }
    const json_t *outer = config->section ? follow(config->root, key, strlen(key)) : NULL;
    if (outer && !same_value(outer, value)) {
        char values[2][SPEC_TEXT_BYTES];
        spec_describe(value, values[0]);
        spec_describe(outer, values[1]);
        import_remark(config, "%s: %s is %s in %s, but %s outside: the one in %s counts, as in transformers", config->path, key,
                      values[0], config->section, values[1], config->section);
    }
}

const json_t *import_config_get(const ImportConfig *config, const char *keys, char found[IMPORT_KEY_BYTES]) {
    Named named[NAMES];
    int count = find_named(config->object, keys, named), chosen = choose_named(config, named, count), counts = chosen;
    for (int i = 0; i < count; i++) {
        char top[IMPORT_KEY_BYTES];
        snprintf(top, sizeof top, "%.*s", (int)strcspn(named[i].key, "."), named[i].key);
        json_object_set_new(config->asked, top, json_true());
        if (!same_value(named[i].value, named[chosen].value)) {
            counts = settle(config, named, chosen, i);
        }
    }
    if (!count) {
        return NULL;
    }
    remark_repeated(config, named[counts].key, named[counts].value);
    if (found) {
        memcpy(found, named[counts].key, IMPORT_KEY_BYTES);
    }
    return named[counts].value;
}

void import_remark_unread(const ImportConfig *config) {
    static const char *const stems[] = {"expert", "moe",  "router", "topk",  "top_k", "group",
                                        "scal",   "gate", "limit",  "clamp", "norm"};
    char list[768] = "", value[SPEC_TEXT_BYTES];
    size_t length = 0;
    for (void *at = json_object_iter((json_t *)config->object); at; at = json_object_iter_next((json_t *)config->object, at)) {
        const char *key = json_object_iter_key(at);
        bool speaks = false;
        for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
            speaks |= strstr(key, stems[i]) != NULL;
        }
        if (speaks && !json_object_get(config->asked, key) && length < sizeof list) {
            spec_describe(json_object_iter_value(at), value);
            length += (size_t)snprintf(list + length, sizeof list - length, "%s%.60s = %s", length ? ", " : "", key, value);
        }
    }
    if (length) {
        import_remark(config, "not read: %s", list);
    }
}

void import_error(const ImportConfig *config, const char *key, const char *format, ...) {
    Position position = config->text ? position_of(config, key) : (Position){0};
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    diagnostics_add(config->diagnostics, config->path, position.line, position.column, "%s", text);
}
