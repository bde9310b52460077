// Values and objects of a description. A value is read by the type of its key: its reader checks, reports what it found, and
// stores. In an object every key must be known and every required key present; what is absent takes its default. Both call each
// other, because objects are values: they are one file.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "read.h"

static const int64_t default_tokens[] = {1, 8, 64, 512, 2048};
static const char default_routing[] = "uniform";

static void *field_of(const Key *key, void *base) {
    return (char *)base + key->offset;
}

static void list_choices(const Key *key, char text[SPEC_TEXT_BYTES]) {
    size_t used = (size_t)snprintf(text, SPEC_TEXT_BYTES, "%s", key->choices[1] ? "one of " : "");
    for (size_t i = 0; key->choices[i] && used < SPEC_TEXT_BYTES; i++) {
        used += (size_t)snprintf(text + used, SPEC_TEXT_BYTES - used, "%s\"%s\"", i ? ", " : "", key->choices[i]);
    }
}

void spec_expected(const Key *key, char text[SPEC_TEXT_BYTES]) {
    switch (key->type) {
    case KEY_IGNORED: snprintf(text, SPEC_TEXT_BYTES, "any value"); break;
    case KEY_INTEGER: snprintf(text, SPEC_TEXT_BYTES, "an integer from %.10g to %.10g", key->minimum, key->maximum); break;
    case KEY_REAL:
        snprintf(text, SPEC_TEXT_BYTES, "a number from %.10g to %.10g%s", key->minimum, key->maximum,
                 key->not_zero ? ", not 0" : "");
        break;
    case KEY_FLAG: snprintf(text, SPEC_TEXT_BYTES, "true or false"); break;
    case KEY_CHOICE: list_choices(key, text); break;
    case KEY_IDENTIFIER:
        snprintf(text, SPEC_TEXT_BYTES, "a name of letters, digits and _ that begins with a letter, of at most %zu",
                 key->text_bytes - 1);
        break;
    case KEY_PATTERN: snprintf(text, SPEC_TEXT_BYTES, "a tensor's name of at most %zu bytes", key->text_bytes - 1); break;
    case KEY_TENSOR:
        snprintf(text, SPEC_TEXT_BYTES, "a tensor's name of at most %zu bytes, or an object with a \"name\"", key->text_bytes - 1);
        break;
    case KEY_ROUTING: snprintf(text, SPEC_TEXT_BYTES, "\"uniform\", \"zipf:S\", \"one\" or \"trace:PREFIX\""); break;
    case KEY_COUNTS: snprintf(text, SPEC_TEXT_BYTES, "a list of 1 to %d token counts", WORKLOAD_MAX_TOKENS); break;
    case KEY_SECTION: snprintf(text, SPEC_TEXT_BYTES, "an object"); break;
    case KEY_LAYERS: snprintf(text, SPEC_TEXT_BYTES, "a list of 1 to %d layers", MODEL_MAX_LAYERS); break;
    }
}

void spec_describe(const json_t *value, char text[SPEC_TEXT_BYTES]) {
    if (json_is_object(value)) {
        snprintf(text, SPEC_TEXT_BYTES, "an object");
    } else if (json_is_array(value)) {
        snprintf(text, SPEC_TEXT_BYTES, "a list of %zu", json_array_size(value));
    } else {
        char *dumped = json_dumps(value, JSON_ENCODE_ANY);
        snprintf(text, SPEC_TEXT_BYTES, "%.60s%s", dumped ? dumped : "?", dumped && strlen(dumped) > 60 ? "..." : "");
        free(dumped);
    }
}

static void reject(Spec *spec, const Key *key, const json_t *value, const Place *place) {
    char where[SPEC_TEXT_BYTES], expected[SPEC_TEXT_BYTES], found[SPEC_TEXT_BYTES];
    spec_place_print(place, where);
    spec_expected(key, expected);
    spec_describe(value, found);
    spec_error(spec, place, PLACE_VALUE, "%s must be %s, found %s", where, expected, found);
}

static void default_counts(Workload *workload) {
    workload->token_counts = sizeof default_tokens / sizeof *default_tokens;
    for (int64_t i = 0; i < workload->token_counts; i++) {
        workload->tokens[i] = default_tokens[i];
        workload->weights[i] = 1;
    }
}

void spec_default_value(const Key *key, void *base) {
    void *field = field_of(key, base);
    switch (key->type) {
    case KEY_INTEGER: *(int64_t *)field = (int64_t)key->fallback; break;
    case KEY_REAL: *(float *)field = (float)key->fallback; break;
    case KEY_FLAG:
    case KEY_CHOICE: *(int32_t *)field = (int32_t)key->fallback; break;
    case KEY_IDENTIFIER:
    case KEY_PATTERN: *(char *)field = 0; break;
    case KEY_TENSOR: memset(field, 0, sizeof(TensorSource)); break;
    case KEY_ROUTING: memcpy(field, default_routing, sizeof default_routing); break;
    case KEY_COUNTS: default_counts(field); break;
    case KEY_IGNORED:
    case KEY_SECTION:
    case KEY_LAYERS: break;
    }
}

static bool integer_within(const Key *key, const json_t *value) {
    return json_is_integer(value) && (double)json_integer_value(value) >= key->minimum &&
           (double)json_integer_value(value) <= key->maximum;
}

static bool real_within(const Key *key, const json_t *value) {
    double number = json_number_value(value);
    return json_is_number(value) && number >= key->minimum && number <= key->maximum && !(key->not_zero && number == 0);
}

// A number that is not 0 must not become 0 in fp32, where 0 often stands for "none".
static bool real_vanishes(const Key *key, const json_t *value) {
    return key->type == KEY_REAL && json_number_value(value) != 0 && (float)json_number_value(value) == 0;
}

static bool read_choice(const Key *key, const char *name, int32_t *choice) {
    for (int32_t i = 0; key->choices[i]; i++) {
        if (!strcmp(key->choices[i], name)) {
            *choice = i;
            return true;
        }
    }
    return false;
}

static bool is_identifier(const char *text) {
    for (const char *c = text; *c; c++) {
        if (!isascii((unsigned char)*c) || !(isalnum((unsigned char)*c) || *c == '_')) {
            return false;
        }
    }
    return isalpha((unsigned char)*text);
}

// Digits, with a point among them or at an end.
static bool is_decimal(const char *text) {
    static const char digits[] = "0123456789";
    size_t whole = strspn(text, digits), point = text[whole] == '.', fraction = strspn(text + whole + point, digits);
    return whole + fraction > 0 && !text[whole + point + fraction];
}

// uniform | one | zipf:S with a decimal S | trace:PREFIX on one line. The field is short enough for S to be finite.
static bool is_routing(const char *text) {
    if (!strncmp(text, "zipf:", 5)) {
        return is_decimal(text + 5);
    }
    bool trace = !strncmp(text, "trace:", 6) && text[6] && !strpbrk(text, "\r\n");
    return trace || !strcmp(text, "uniform") || !strcmp(text, "one");
}

// Text types: what may be written into the field. Patterns are looked into by check.c, which knows the layer.
static bool text_allowed(const Key *key, const char *text) {
    if (strlen(text) >= key->text_bytes) {
        return false;
    }
    switch (key->type) {
    case KEY_IDENTIFIER: return is_identifier(text);
    case KEY_ROUTING: return is_routing(text);
    default: return *text;
    }
}

// 16, or {"count": 16, "weight": 2}.
static bool read_counts(Spec *spec, const Key *key, const json_t *value, const Place *place, Workload *workload) {
    size_t count = json_array_size(value);  // 0 for what is not a list
    if (!count || count > WORKLOAD_MAX_TOKENS) {
        return false;
    }
    const Key *number = spec_find_key(key->section, "count");
    for (size_t i = 0; i < count; i++) {
        const json_t *element = json_array_get(value, i);
        const Place here = {place, NULL, i};
        WorkloadCount entry = {.weight = 1};
        if (json_is_object(element)) {
            spec_read_section(spec, key->section, element, &here, &entry);
        } else {
            spec_read_value(spec, number, element, &here, &entry);
        }
        workload->tokens[i] = entry.count;
        workload->weights[i] = entry.weight;
    }
    workload->token_counts = (int64_t)count;
    return true;
}

// Defaults that depend on other fields.
static void complete_layer(Layer *layer) {
    if (layer->shared_experts && !layer->shared_intermediate) {
        layer->shared_intermediate = layer->intermediate;
    }
    layer->shared_limit = layer->shared_limit < 0 ? layer->limit : layer->shared_limit;
    bool limits_itself = !selection_facts[layer->selection].takes_k;
    layer->top_k = layer->top_k || !limits_itself ? layer->top_k : layer_choices(layer);
    layer->expected_k = layer->expected_k ? layer->expected_k : layer->top_k;
}

static bool read_layers(Spec *spec, const Key *key, const json_t *value, const Place *place, Model *model) {
    size_t count = json_array_size(value);
    if (!count || count > MODEL_MAX_LAYERS) {
        return false;
    }
    model->layer_count = (int64_t)count;
    for (size_t i = 0; i < count; i++) {
        const Place here = {place, NULL, i};
        const json_t *layer = json_array_get(value, i);
        size_t before = spec->diagnostics->count;
        if (!json_is_object(layer)) {
            spec_error(spec, &here, PLACE_VALUE, "layers[%zu] must be an object", i);
            continue;
        }
        spec_read_section(spec, key->section, layer, &here, &model->layers[i]);
        complete_layer(&model->layers[i].layer);
        bool clean = spec->diagnostics->count == before;
        if (clean) {
            spec_check_idle(spec, &model->layers[i].layer, key->section, layer, &here);
        }
        spec_check_layer(spec, &model->layers[i], i, clean, json_object_get(layer, "checkpoint"));
    }
    return true;
}

// "name", or {"name": ..., "rows": ...}.
static bool read_tensor(Spec *spec, const Key *key, const json_t *value, const Place *place, TensorSource *source) {
    if (json_is_object(value)) {
        spec_read_section(spec, key->section, value, place, source);
        return true;
    }
    return json_is_string(value) && text_allowed(key, json_string_value(value)) &&
           (strcpy(source->pattern, json_string_value(value)), true);
}

static bool read_into(Spec *spec, const Key *key, const json_t *value, const Place *place, void *base) {
    void *field = field_of(key, base);
    switch (key->type) {
    case KEY_IGNORED: return true;
    case KEY_INTEGER: return integer_within(key, value) && (*(int64_t *)field = json_integer_value(value), true);
    case KEY_REAL: return real_within(key, value) && (*(float *)field = (float)json_number_value(value), true);
    case KEY_FLAG: return json_is_boolean(value) && (*(int32_t *)field = json_is_true(value), true);
    case KEY_CHOICE: return json_is_string(value) && read_choice(key, json_string_value(value), field);
    case KEY_IDENTIFIER:
    case KEY_PATTERN:
    case KEY_ROUTING:
        return json_is_string(value) && text_allowed(key, json_string_value(value)) &&
               (strcpy(field, json_string_value(value)), true);
    case KEY_TENSOR: return read_tensor(spec, key, value, place, field);
    case KEY_COUNTS: return read_counts(spec, key, value, place, field);
    case KEY_SECTION:
        spec_read_section(spec, key->section, json_is_object(value) ? value : NULL, place, base);
        return json_is_object(value);
    case KEY_LAYERS: return read_layers(spec, key, value, place, base);
    }
    return false;
}

void spec_read_value(Spec *spec, const Key *key, const json_t *value, const Place *place, void *base) {
    if (!read_into(spec, key, value, place, base)) {
        reject(spec, key, value, place);
    } else if (real_vanishes(key, value)) {
        char where[SPEC_TEXT_BYTES], found[SPEC_TEXT_BYTES];
        spec_place_print(place, where);
        spec_describe(value, found);
        spec_error(spec, place, PLACE_VALUE, "%s must be %sa number that fp32 can hold, found %s", where,
                   key->not_zero ? "" : "0 or ", found);
    }
}

// --- objects -----------------------------------------------------------------------------------------------------------------

static void reject_unknown(Spec *spec, const Section *section, const char *name, const Place *place) {
    char known[2 * SPEC_TEXT_BYTES] = "";
    const char *nearest = spec_nearest_key(section, name);
    if (nearest) {
        spec_error(spec, place, PLACE_KEY, "unknown key \"%.60s\" in %s: did you mean \"%s\"?", name, section->name, nearest);
        return;
    }
    for (size_t i = 0, used = 0; i < section->count && used < sizeof known; i++) {
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", section->keys[i].name);
    }
    spec_error(spec, place, PLACE_KEY, "unknown key \"%.60s\" in %s: it has %s", name, section->name, known);
}

static void report_missing(Spec *spec, const Key *key, const Place *place) {
    char where[SPEC_TEXT_BYTES], expected[SPEC_TEXT_BYTES];
    spec_place_print(place, where);
    spec_expected(key, expected);
    spec_error(spec, place, PLACE_VALUE, "%s lacks \"%s\": %s", where, key->name, expected);
}

void spec_read_section(Spec *spec, const Section *section, const json_t *object, const Place *place, void *base) {
    const char *name;
    json_t *ignored;
    json_object_foreach((json_t *)object, name, ignored) {
        if (!spec_find_key(section, name)) {
            reject_unknown(spec, section, name, &(Place){place, name, 0});
        }
    }
    for (size_t i = 0; i < section->count; i++) {
        const Key *key = &section->keys[i];
        const json_t *value = object ? json_object_get(object, key->name) : NULL;
        spec_default_value(key, base);
        if (value) {
            spec_read_value(spec, key, value, &(Place){place, key->name, 0}, base);
            continue;
        }
        if (key->section && key->type == KEY_SECTION) {
            spec_read_section(spec, key->section, NULL, place, base);
        }
        if (object && key->required) {
            report_missing(spec, key, place);
        }
    }
}
