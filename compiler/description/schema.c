// See schema.h. Jansson's functions that store a value accept NULL as one that could not be made, and say so; a schema that
// lacks anything is not returned.
#include "schema.h"

#include <math.h>
#include <stdlib.h>

#include "read.h"

static const char identifier_pattern[] = "^[A-Za-z][A-Za-z0-9_]*$",
                  routing_pattern[] = "^(uniform|one|zipf:([0-9]+[.]?[0-9]*|[.][0-9]+)|trace:.+)$";

// A schema in the making.
typedef struct Schema {
    bool failed;
    Model *defaults;  // room for the defaults of a workload
} Schema;

static void set(Schema *schema, json_t *object, const char *name, json_t *value) {
    schema->failed |= json_object_set_new(object, name, value) != 0;
}

static json_t *number(double value) {
    return value == floor(value) ? json_integer((json_int_t)value) : json_real(value);
}

// A number without a default of its own: it depends on other keys.
static bool has_default(const Key *key) {
    return !key->required && key->fallback >= key->minimum;
}

static void set_bounds(Schema *schema, json_t *object, const Key *key) {
    bool above = key->not_zero && key->minimum == 0;
    set(schema, object, above ? "exclusiveMinimum" : "minimum", number(key->minimum));
    set(schema, object, "maximum", number(key->maximum));
    if (key->not_zero && !above) {
        json_t *zero = json_object();
        set(schema, zero, "const", number(0));
        set(schema, object, "not", zero);
    }
}

static void set_choices(Schema *schema, json_t *object, const Key *key) {
    json_t *names = json_array();
    for (size_t i = 0; key->choices[i]; i++) {
        schema->failed |= json_array_append_new(names, json_string(key->choices[i])) != 0;
    }
    set(schema, object, "enum", names);
    set(schema, object, "default", json_string(key->choices[(size_t)key->fallback]));
}

static void set_text(Schema *schema, json_t *object, const Key *key, const char *pattern) {
    set(schema, object, "type", json_string("string"));
    set(schema, object, pattern ? "pattern" : "minLength", pattern ? json_string(pattern) : json_integer(1));
    set(schema, object, "maxLength", json_integer((json_int_t)key->text_bytes - 1));
}

static void set_value(Schema *schema, json_t *object, const Key *key);
static void set_section(Schema *schema, json_t *object, const Section *section);

static json_t *section_of(Schema *schema, const Section *section) {
    json_t *object = json_object();
    set_section(schema, object, section);
    return object;
}

static void set_counts(Schema *schema, json_t *object, const Key *key) {
    const Workload *workload = &schema->defaults->workload;
    spec_default_value(key, schema->defaults);
    json_t *items = json_object(), *counts = json_array(), *forms = json_array(), *count = json_object();
    set(schema, object, "type", json_string("array"));
    set(schema, object, "minItems", json_integer(1));
    set(schema, object, "maxItems", json_integer(WORKLOAD_MAX_TOKENS));
    set_value(schema, count, spec_find_key(key->section, "count"));
    schema->failed |= json_array_append_new(forms, count) != 0;
    schema->failed |= json_array_append_new(forms, section_of(schema, key->section)) != 0;
    set(schema, items, "oneOf", forms);
    set(schema, object, "items", items);
    for (int64_t i = 0; i < workload->token_counts; i++) {
        schema->failed |= json_array_append_new(counts, json_integer(workload->tokens[i])) != 0;
    }
    set(schema, object, "default", counts);
}

static void set_value(Schema *schema, json_t *object, const Key *key) {
    switch (key->type) {
    case KEY_IGNORED: break;
    case KEY_INTEGER:
    case KEY_REAL:
        set(schema, object, "type", json_string(key->type == KEY_INTEGER ? "integer" : "number"));
        set_bounds(schema, object, key);
        if (has_default(key)) {
            set(schema, object, "default", number(key->fallback));
        }
        break;
    case KEY_FLAG:
        set(schema, object, "type", json_string("boolean"));
        set(schema, object, "default", json_boolean(key->fallback != 0));
        break;
    case KEY_CHOICE: set_choices(schema, object, key); break;
    case KEY_IDENTIFIER: set_text(schema, object, key, identifier_pattern); break;
    case KEY_PATTERN: set_text(schema, object, key, NULL); break;
    case KEY_TENSOR: set(schema, object, "$ref", json_string("#/$defs/tensor")); break;
    case KEY_ROUTING:
        spec_default_value(key, schema->defaults);
        set_text(schema, object, key, routing_pattern);
        set(schema, object, "default", json_string(schema->defaults->workload.routing));
        break;
    case KEY_COUNTS: set_counts(schema, object, key); break;
    case KEY_SECTION: set_section(schema, object, key->section); break;
    case KEY_LAYERS:
        set(schema, object, "type", json_string("array"));
        set(schema, object, "minItems", json_integer(1));
        set(schema, object, "maxItems", json_integer(MODEL_MAX_LAYERS));
        set(schema, object, "items", section_of(schema, key->section));
        break;
    }
}

static void set_section(Schema *schema, json_t *object, const Section *section) {
    json_t *required = json_array(), *properties = json_object();
    for (size_t i = 0; i < section->count; i++) {
        const Key *key = &section->keys[i];
        json_t *property = json_object();
        set(schema, property, "description", json_string(key->help));
        set_value(schema, property, key);
        set(schema, properties, key->name, property);
        schema->failed |= key->required && json_array_append_new(required, json_string(key->name)) != 0;
    }
    set(schema, object, "type", json_string("object"));
    set(schema, object, "additionalProperties", json_false());
    if (json_array_size(required)) {
        set(schema, object, "required", json_incref(required));
    }
    json_decref(required);
    set(schema, object, "properties", properties);
}

// Any key whose value is a tensor: their values have one definition.
static const Key *find_tensor_key(const Section *section) {
    for (size_t i = 0; i < section->count; i++) {
        const Key *key = &section->keys[i], *inner = key->type == KEY_TENSOR ? key : NULL;
        if (!inner && key->section) {
            inner = find_tensor_key(key->section);
        }
        if (inner) {
            return inner;
        }
    }
    return NULL;
}

// A tensor's name, or an object that has one.
static json_t *tensor_definition(Schema *schema) {
    const Key *key = find_tensor_key(&spec_root);
    json_t *definitions = json_object(), *tensor = json_object(), *forms = json_array(), *name = json_object();
    set_text(schema, name, key, NULL);
    schema->failed |= json_array_append_new(forms, name) != 0;
    schema->failed |= json_array_append_new(forms, section_of(schema, key->section)) != 0;
    set(schema, tensor, "description",
        json_string("A tensor's name in the checkpoint, or its name and how the matrix lies in it."));
    set(schema, tensor, "oneOf", forms);
    set(schema, definitions, "tensor", tensor);
    return definitions;
}

json_t *spec_schema(void) {
    Schema schema = {.defaults = calloc(1, sizeof *schema.defaults)};
    json_t *root = schema.defaults ? json_object() : NULL;
    if (!root) {
        free(schema.defaults);
        return NULL;
    }
    set(&schema, root, "$schema", json_string("https://json-schema.org/draft/2020-12/schema"));
    set(&schema, root, "title", json_string("Description of sparse-expert layers for catena"));
    set(&schema, root, "description", json_string("See docs/description.md. `catena schema` prints this."));
    set_section(&schema, root, &spec_root);
    set(&schema, root, "$defs", tensor_definition(&schema));
    free(schema.defaults);
    if (schema.failed) {
        json_decref(root);
        return NULL;
    }
    return root;
}
