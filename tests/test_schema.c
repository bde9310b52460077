// examples/schema.json says what the parser's table of keys says, and every example is accepted.
#include <glob.h>
#include <jansson.h>
#include <string.h>

#include "compiler/spec_keys.h"
#include "suites.h"

static const json_t *member(const json_t *object, const char *name, const Key *key) {
    const json_t *found = json_object_get(object, name);
    ck_assert_msg(found, "the schema of \"%s\" lacks \"%s\"", key->name, name);
    return found;
}

static void expect_text(const json_t *schema, const char *name, const char *text, const Key *key) {
    const char *found = json_string_value(member(schema, name, key));
    ck_assert_msg(found && !strcmp(found, text), "the schema of \"%s\" has %s %s, not %s", key->name, name, found, text);
}

static void expect_number(const json_t *schema, const char *name, double number, const Key *key) {
    double found = json_number_value(member(schema, name, key));
    ck_assert_msg(found == number, "the schema of \"%s\" has %s %g, not %g", key->name, name, found, number);
}

static void expect_default(const json_t *schema, const Key *key) {
    bool number = key->type == KEY_INTEGER || key->type == KEY_REAL;
    const json_t *found = json_object_get(schema, "default");
    if (key->required || (number && key->fallback < key->minimum)) {  // no default, or one that depends on other keys
        ck_assert_msg(!found, "the schema of \"%s\" has a default", key->name);
    } else if (number) {
        expect_number(schema, "default", key->fallback, key);
    } else if (key->type == KEY_FLAG) {
        ck_assert_msg(json_is_boolean(found) && json_is_true(found) == (key->fallback != 0), "the default of \"%s\"", key->name);
    } else if (key->type == KEY_CHOICE) {
        expect_text(schema, "default", key->choices[(int)key->fallback], key);
    }
}

static void expect_choices(const json_t *schema, const Key *key) {
    const json_t *list = member(schema, "enum", key);
    size_t count = 0;
    for (; key->choices[count]; count++) {
        const char *name = json_string_value(json_array_get(list, count));
        ck_assert_msg(name && !strcmp(name, key->choices[count]), "the schema of \"%s\" lacks the choice %s", key->name,
                      key->choices[count]);
    }
    ck_assert_msg(json_array_size(list) == count, "the schema of \"%s\" has too many choices", key->name);
}

static void expect_section(const json_t *schema, const Section *section, const Key *key);

static void expect_key(const json_t *schema, const Key *key) {
    switch (key->type) {
    case KEY_IGNORED: return;
    case KEY_INTEGER:
    case KEY_REAL:
        expect_text(schema, "type", key->type == KEY_INTEGER ? "integer" : "number", key);
        expect_number(schema, "minimum", key->minimum, key);
        expect_number(schema, "maximum", key->maximum, key);
        break;
    case KEY_FLAG: expect_text(schema, "type", "boolean", key); break;
    case KEY_CHOICE: expect_choices(schema, key); break;
    case KEY_IDENTIFIER:
    case KEY_PATTERN:
    case KEY_ROUTING:
        expect_text(schema, "type", "string", key);
        expect_number(schema, "maxLength", (double)key->text_bytes - 1, key);
        break;
    case KEY_TENSOR: expect_text(schema, "$ref", "#/$defs/tensor", key); break;
    case KEY_COUNTS:
        expect_text(schema, "type", "array", key);
        expect_number(schema, "maxItems", WORKLOAD_MAX_TOKENS, key);
        expect_number(member(schema, "items", key), "minimum", key->minimum, key);
        expect_number(member(schema, "items", key), "maximum", key->maximum, key);
        break;
    case KEY_SECTION: expect_section(schema, key->section, key); break;
    case KEY_LAYERS:
        expect_text(schema, "type", "array", key);
        expect_number(schema, "minItems", 1, key);
        expect_number(schema, "maxItems", MODEL_MAX_LAYERS, key);
        expect_section(member(schema, "items", key), key->section, key);
        break;
    }
    expect_default(schema, key);
}

static bool lists(const json_t *array, const char *name) {
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (!strcmp(json_string_value(json_array_get(array, i)), name)) {
            return true;
        }
    }
    return false;
}

static void expect_section(const json_t *schema, const Section *section, const Key *key) {
    const json_t *properties = member(schema, "properties", key), *required = json_object_get(schema, "required");
    size_t required_count = 0;
    expect_text(schema, "type", "object", key);
    ck_assert_msg(json_is_false(member(schema, "additionalProperties", key)), "\"%s\" allows other keys", key->name);
    for (size_t i = 0; i < section->count; i++) {
        const Key *inner = &section->keys[i];
        ck_assert_msg(lists(required, inner->name) == inner->required, "is \"%s\" in \"%s\" required?", inner->name, key->name);
        required_count += inner->required;
        expect_key(member(properties, inner->name, key), inner);
    }
    ck_assert_msg(json_object_size(properties) == section->count, "the schema of \"%s\" has keys that the parser lacks", key->name);
    ck_assert_msg(json_array_size(required) == required_count, "the schema of \"%s\" requires keys that the parser lacks",
                  key->name);
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

START_TEST(schema_agrees_with_parser) {
    json_error_t error;
    json_t *schema = json_load_file("examples/schema.json", JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(schema, "examples/schema.json:%d: %s", error.line, error.text);
    expect_section(schema, &spec_root, &(Key){.name = "the description"});
    const Key *tensor = find_tensor_key(&spec_root);
    const json_t *forms;
    ck_assert(tensor && !json_unpack(schema, "{s:{s:{s:o}}}", "$defs", "tensor", "oneOf", &forms));
    expect_text(json_array_get(forms, 0), "type", "string", tensor);
    expect_number(json_array_get(forms, 0), "maxLength", (double)tensor->text_bytes - 1, tensor);
    expect_section(json_array_get(forms, 1), tensor->section, tensor);
    json_decref(schema);
}
END_TEST

// The schema's defaults of the two keys whose default is not in the table.
START_TEST(schema_agrees_with_default_workload) {
    static const char text[] =
        "{\"name\": \"q\", \"layers\": [{\"name\": \"a\", \"hidden\": 8, \"router\": {\"k\": 1},"
        "\"experts\": {\"count\": 1, \"intermediate\": 1}}]}";
    Diagnostics diagnostics = {0};
    Model *model = model_read_text(text, sizeof text - 1, "text", &diagnostics);
    json_t *schema = json_load_file("examples/schema.json", 0, NULL), *tokens;
    const char *routing;
    ck_assert(model && schema);
    ck_assert(!json_unpack(schema, "{s:{s:{s:{s:{s:o}, s:{s:s}}}}}", "properties", "workload", "properties", "tokens", "default",
                           &tokens, "routing", "default", &routing));
    ck_assert_str_eq(routing, model->workload.routing);
    ck_assert_int_eq(json_array_size(tokens), model->workload.token_counts);
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        ck_assert_int_eq(json_integer_value(json_array_get(tokens, i)), model->workload.tokens[i]);
    }
    json_decref(schema);
    model_free(model);
}
END_TEST

START_TEST(accepts_every_example) {
    glob_t files;
    ck_assert_int_eq(glob("examples/*.json", 0, NULL, &files), 0);
    ck_assert_int_eq(glob("tests/data/*.json", GLOB_APPEND, NULL, &files), 0);
    int accepted = 0;
    for (size_t i = 0; i < files.gl_pathc; i++) {
        if (strcmp(files.gl_pathv[i], "examples/schema.json")) {
            Diagnostics diagnostics = {0};
            Model *model = model_read_file(files.gl_pathv[i], &diagnostics);
            ck_assert_msg(model, "%s", diagnostics.text);
            ck_assert_msg(strstr(files.gl_pathv[i], model->name), "%s is named %s", files.gl_pathv[i], model->name);
            model_free(model);
            accepted++;
        }
    }
    ck_assert_int_ge(accepted, 13);
    globfree(&files);
}
END_TEST

Suite *suite_schema(void) {
    Suite *suite = suite_create("schema");
    TCase *cases = tcase_create("schema");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_test(cases, schema_agrees_with_parser);
    tcase_add_test(cases, schema_agrees_with_default_workload);
    tcase_add_test(cases, accepts_every_example);
    suite_add_tcase(suite, cases);
    return suite;
}
