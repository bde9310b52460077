// Descriptions from models, by the same tables that read them (keys.c): a key that is read is printed, nothing is listed
// twice.
#include "print.h"

#include <stdlib.h>
#include <string.h>

#include "read.h"

static const void *field_of(const Key *key, const void *base) {
    return (const char *)base + key->offset;
}

// The double whose shortest decimal form names this float: 0.1f is 0.1, not 0.100000001.
static double shortest(float value) {
    char text[32];
    for (int digits = 1; digits < 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) {
            return strtod(text, NULL);
        }
    }
    snprintf(text, sizeof text, "%.9g", (double)value);
    return strtod(text, NULL);
}

static json_t *print_section(const Section *section, const void *base, const void *defaults);
static void fill_defaults(const Section *section, void *base);

static bool same_tensor(const TensorSource *a, const TensorSource *b) {
    return !strcmp(a->pattern, b->pattern) && a->rows == b->rows && a->order == b->order && a->encoding == b->encoding &&
           a->add == b->add;
}

static bool same_counts(const Workload *a, const Workload *b) {
    bool same = a->token_counts == b->token_counts;
    for (int64_t i = 0; same && i < a->token_counts; i++) {
        same = a->tokens[i] == b->tokens[i] && a->weights[i] == b->weights[i];
    }
    return same;
}

// Whether a field has its default, or (of a workload) nothing.
static bool is_default(const Key *key, const void *base, const void *defaults) {
    const void *value = field_of(key, base), *fallback = field_of(key, defaults);
    switch (key->type) {
    case KEY_INTEGER: return *(const int64_t *)value == *(const int64_t *)fallback;
    case KEY_REAL: return *(const float *)value == *(const float *)fallback;
    case KEY_FLAG:
    case KEY_CHOICE: return *(const int32_t *)value == *(const int32_t *)fallback;
    case KEY_IDENTIFIER:
    case KEY_PATTERN: return !*(const char *)value;
    case KEY_ROUTING: return !*(const char *)value || !strcmp(value, fallback);
    case KEY_TENSOR: return same_tensor(value, fallback);
    case KEY_COUNTS: return !((const Workload *)value)->token_counts || same_counts(value, fallback);
    case KEY_IGNORED: return true;
    case KEY_SECTION:
    case KEY_LAYERS: break;
    }
    return false;
}

// A number, or an object where the count has a weight of its own.
static json_t *print_counts(const Key *key, const Workload *workload) {
    json_t *list = json_array();
    for (int64_t i = 0; i < workload->token_counts; i++) {
        const WorkloadCount entry = {workload->tokens[i], workload->weights[i]}, plain = {.weight = 1};
        json_array_append_new(
            list, entry.weight == plain.weight ? json_integer(entry.count) : print_section(key->section, &entry, &plain));
    }
    return list;
}

// A name, or an object where the tensor has more to it.
static json_t *print_tensor(const Key *key, const TensorSource *source) {
    TensorSource plain = {0};
    memcpy(plain.pattern, source->pattern, sizeof plain.pattern);
    return same_tensor(source, &plain) ? json_string(source->pattern) : print_section(key->section, source, &(TensorSource){0});
}

// What complete_layer (value.c) derives from other fields becomes absent again.
static void make_implicit(Layer *layer) {
    bool limits_itself = !selection_facts[layer->selection].takes_k;
    layer->expected_k = layer->expected_k == layer->top_k ? 0 : layer->expected_k;
    layer->top_k = limits_itself && layer->top_k == layer_choices(layer) ? 0 : layer->top_k;
    layer->shared_limit = layer->shared_limit == layer->limit ? -1 : layer->shared_limit;
    layer->shared_intermediate = layer->shared_intermediate == layer->intermediate ? 0 : layer->shared_intermediate;
}

// What means nothing in the layer gets its default: a description that said it would be refused.
static void reset_idle(const Section *section, const Layer *layer, ModelLayer *entry) {
    for (size_t i = 0; i < section->count; i++) {
        const Key *key = &section->keys[i];
        if (key->type == KEY_SECTION) {
            reset_idle(key->section, layer, entry);
        } else if (spec_idle_reason(layer, section->name, key->name)) {
            spec_default_value(key, entry);
        }
    }
}

static json_t *print_layers(const Key *key, const Model *model) {
    json_t *list = json_array();
    ModelLayer *defaults = calloc(1, sizeof *defaults), *entry = calloc(1, sizeof *entry);
    if (defaults) {
        fill_defaults(key->section, defaults);
    }
    for (int64_t i = 0; defaults && entry && i < model->layer_count; i++) {
        *entry = model->layers[i];
        reset_idle(key->section, &model->layers[i].layer, entry);
        make_implicit(&entry->layer);
        json_array_append_new(list, print_section(key->section, entry, defaults));
    }
    if (!defaults || !entry) {
        json_decref(list);
        list = NULL;
    }
    free(defaults);
    free(entry);
    return list;
}

static json_t *print_value(const Key *key, const void *base, const void *defaults) {
    const void *field = field_of(key, base);
    switch (key->type) {
    case KEY_INTEGER: return json_integer(*(const int64_t *)field);
    case KEY_REAL: return json_real(shortest(*(const float *)field));
    case KEY_FLAG: return json_boolean(*(const int32_t *)field);
    case KEY_CHOICE: return json_string(key->choices[*(const int32_t *)field]);
    case KEY_IDENTIFIER:
    case KEY_PATTERN:
    case KEY_ROUTING: return json_string(field);
    case KEY_TENSOR: return print_tensor(key, field);
    case KEY_COUNTS: return print_counts(key, field);
    case KEY_SECTION: return print_section(key->section, base, defaults);
    case KEY_LAYERS: return print_layers(key, base);
    case KEY_IGNORED: break;
    }
    return NULL;
}

// Whether all of a section is at its default: then it is left out, required keys and all.
static bool is_absent(const Section *section, const void *base, const void *defaults) {
    for (size_t i = 0; i < section->count; i++) {
        const Key *key = &section->keys[i];
        if (key->type == KEY_SECTION ? !is_absent(key->section, base, defaults) : !is_default(key, base, defaults)) {
            return false;
        }
    }
    return true;
}

static json_t *print_section(const Section *section, const void *base, const void *defaults) {
    json_t *object = json_object();
    for (size_t i = 0; i < section->count; i++) {
        const Key *key = &section->keys[i];
        bool left_out = key->type == KEY_SECTION ? is_absent(key->section, base, defaults) : is_default(key, base, defaults);
        if (left_out && !key->required) {
            continue;
        }
        json_t *value = print_value(key, base, defaults);
        if (value) {
            json_object_set_new(object, key->name, value);
        }
    }
    return object;
}

static void fill_defaults(const Section *section, void *base) {
    for (size_t i = 0; i < section->count; i++) {
        const Key *key = &section->keys[i];
        spec_default_value(key, base);
        if (key->type == KEY_SECTION) {
            fill_defaults(key->section, base);
        }
    }
}

char *model_print(const Model *model) {
    Model *defaults = calloc(1, sizeof *defaults);
    if (!defaults) {
        return NULL;
    }
    fill_defaults(&spec_root, defaults);
    json_t *root = print_section(&spec_root, model, defaults);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(root);
    free(defaults);
    return text;
}
