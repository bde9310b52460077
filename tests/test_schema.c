// examples/schema.json is what `catena schema` prints, a key of each type is described as the parser reads it, every example is
// accepted, and docs/description.md has every key with its bounds and default.
#include <glob.h>
#include <jansson.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/description/model.h"
#include "compiler/description/schema.h"
#include "compiler/import/read.h"
#include "shell.h"
#include "suites.h"

START_TEST(file_is_what_is_printed) {
    size_t size;
    char *file = shell_read_file("examples/schema.json", &size);
    json_t *schema = spec_schema();
    char *text = import_text(schema);
    ck_assert_msg(!strcmp(file, text), "examples/schema.json is not what `catena schema` prints: make schema");
    free(file);
    free(text);
    json_decref(schema);
}
END_TEST

// Schemas of keys, without their descriptions.
static const struct {
    const char *path, *schema;
} keys[] = {
    {"name", "{'type': 'string', 'pattern': '^[A-Za-z][A-Za-z0-9_]*$', 'maxLength': 63}"},
    {"layers/iterations", "{'type': 'integer', 'minimum': 1, 'maximum': 16, 'default': 1}"},
    {"layers/hidden", "{'type': 'integer', 'minimum': 1, 'maximum': 1048576}"},  // required: no default
    {"layers/router/expected_k", "{'type': 'integer', 'minimum': 1, 'maximum': 1024}"},  // its default is k
    {"layers/router/normalize_eps", "{'type': 'number', 'minimum': 0, 'maximum': 1, 'default': 1e-20}"},
    {"layers/router/scale", "{'type': 'number', 'exclusiveMinimum': 0, 'maximum': 1000000, 'default': 1}"},
    {"layers/router/logit_scale", "{'type': 'number', 'minimum': -1000000, 'maximum': 1000000, 'not': {'const': 0}, 'default': 1}"},
    {"layers/experts/gated", "{'type': 'boolean', 'default': true}"},
    {"layers/compute", "{'enum': ['fp32', 'bf16'], 'default': 'fp32'}"},
    {"layers/experts/down_weights",
     "{'enum': ['same'"
#define FORMAT_ROW(enumerator, symbol, ...) ", '" #symbol "'"
#include "templates/formats/list.h"
     "], 'default': 'same'}"},
    {"layers/checkpoint/tensors/router", "{'$ref': '#/$defs/tensor'}"},
    {"workload/routing",
     "{'type': 'string', 'pattern': '^(uniform|one|zipf:([0-9]+[.]?[0-9]*|[.][0-9]+)|trace:.+)$', 'maxLength': 255, 'default': "
     "'uniform'}"},
    {"workload/tokens",
     "{'type': 'array', 'minItems': 1, 'maxItems': 32, 'items': {'oneOf': [{'type': 'integer', 'minimum': 1, 'maximum': 1048576},"
     " {'type': 'object', 'additionalProperties': false, 'required': ['count'], 'properties': {'count': {'description': 'Tokens of "
     "a"
     " call.', 'type': 'integer', 'minimum': 1, 'maximum': 1048576}, 'weight': {'description': 'How much calls of this size matter "
     "to"
     " tune.', 'type': 'number', 'exclusiveMinimum': 0, 'maximum': 1000000, 'default': 1}}}]}, 'default': [1, 8, 64, 512, 2048]}"},
};
enum { KEYS = sizeof keys / sizeof *keys };

static json_t *json_of(const char *quoted) {
    char *text = strdup(quoted);
    for (char *c = text; (c = strchr(c, '\''));) {
        *c = '"';
    }
    json_t *json = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(json);
    free(text);
    return json;
}

// The schema of "a/b/c", layers being those of the list.
static json_t *schema_at(json_t *schema, const char *path) {
    char *words = strdup(path), *rest = NULL;
    for (char *word = strtok_r(words, "/", &rest); word; word = strtok_r(NULL, "/", &rest)) {
        ck_assert_msg(json_is_false(json_object_get(schema, "additionalProperties")), "%s: other keys are allowed", path);
        schema = json_object_get(json_object_get(schema, "properties"), word);
        ck_assert_msg(schema, "the schema lacks %s", path);
        schema = strcmp(word, "layers") ? schema : json_object_get(schema, "items");
    }
    free(words);
    return schema;
}

START_TEST(says_what_the_parser_reads) {
    json_t *schema = json_load_file("examples/schema.json", JSON_REJECT_DUPLICATES, NULL), *due = json_of(keys[_i].schema);
    ck_assert_ptr_nonnull(schema);
    json_t *found = schema_at(schema, keys[_i].path);
    ck_assert(json_is_string(json_object_get(found, "description")));
    json_object_del(found, "description");
    ck_assert_msg(json_equal(found, due), "%s: %s", keys[_i].path, keys[_i].schema);
    json_decref(due);
    due = json_of("['name', 'hidden', 'router', 'experts']");
    ck_assert(json_equal(json_object_get(schema_at(schema, "layers"), "required"), due));
    json_decref(due);
    json_decref(schema);
}
END_TEST

// Texts that the schema's patterns allow are those that the parser takes.
static const struct {
    const char *path, *text;
    bool good;
} texts[] = {
    {"name", "a", true},
    {"name", "A9_z", true},
    {"name", "", false},
    {"name", "_a", false},
    {"name", "9a", false},
    {"name", "a-b", false},
    {"name", "a ", false},
    {"name", "\xc3\xa4", false},
    {"workload/routing", "uniform", true},
    {"workload/routing", "one", true},
    {"workload/routing", "ones", false},
    {"workload/routing", "zipf:0", true},
    {"workload/routing", "zipf:1.25", true},
    {"workload/routing", "zipf:2.", true},
    {"workload/routing", "zipf:.5", true},
    {"workload/routing", "zipf:", false},
    {"workload/routing", "zipf:.", false},
    {"workload/routing", "zipf:1.2.3", false},
    {"workload/routing", "zipf:-1", false},
    {"workload/routing", "zipf:+1", false},
    {"workload/routing", "zipf: 1", false},
    {"workload/routing", "zipf:1e2", false},
    {"workload/routing", "zipf:0x1", false},
    {"workload/routing", "zipf:inf", false},
    {"workload/routing", "zipf:nan", false},
    {"workload/routing", "trace:a b", true},
    {"workload/routing", "trace:", false},
};
enum { TEXTS = sizeof texts / sizeof *texts };

START_TEST(patterns_are_the_parser) {
    json_t *schema = spec_schema();
    const char *pattern = json_string_value(json_object_get(schema_at(schema, texts[_i].path), "pattern"));
    regex_t expression;
    ck_assert_int_eq(regcomp(&expression, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool matches = !regexec(&expression, texts[_i].text, 0, NULL, 0), named = !strcmp(texts[_i].path, "name");
    json_t *description = json_of(
        "{'layers': [{'name': 'a', 'hidden': 8, 'router': {'k': 1}, 'experts': {'count': 4, 'intermediate': 6}}], 'name': 'q',"
        " 'workload': {}}");
    json_object_set_new(named ? description : json_object_get(description, "workload"), named ? "name" : "routing",
                        json_string(texts[_i].text));
    char *text = json_dumps(description, 0);
    Diagnostics diagnostics = {0};
    Model *model = model_read_text(text, strlen(text), "q", &diagnostics);
    ck_assert_msg(!model == !texts[_i].good, "the parser: \"%s\": %s", texts[_i].text, model ? "taken" : diagnostics.text);
    ck_assert_msg(matches == texts[_i].good, "the schema: \"%s\": %d", texts[_i].text, matches);
    model_free(model);
    diagnostics_free(&diagnostics);
    free(text);
    json_decref(description);
    json_decref(schema);
    regfree(&expression);
}
END_TEST

// --- the tables of docs/description.md -------------------------------------------------------------------------------------------

// The type and default that the document gives for a key.
static void find_row(const char *document, const char *path, char *type, char *fallback) {
    char start[136];
    snprintf(start, sizeof start, "\n| `%s` | ", path);
    const char *row = strstr(document, start);
    ck_assert_msg(row, "docs/description.md has no row of %s", path);
    *fallback = 0;  // stays where the cell is empty
    ck_assert_int_ge(sscanf(row + strlen(start), "%255[^|]| %255[^|]|", type, fallback), 1);
}

static void check_number(const Key *key, const char *path, const char *type, const char *fallback) {
    char *end;
    ck_assert_msg(strtod(type, &end) == key->minimum && !strncmp(end, " to ", 4), "%s: %s", path, type);
    bool depends = !strncmp(end, " to k", 5) || !strncmp(end, " to the choices", 15);  // at most k, or as many as there are
    ck_assert_msg(depends || strtod(end + 4, NULL) == key->maximum, "%s: %s", path, type);
    ck_assert_msg(!strstr(type, "not 0") == !key->not_zero, "%s: %s", path, type);
    bool given = !key->required && key->fallback >= key->minimum;
    ck_assert_msg(!given || strtod(fallback, NULL) == key->fallback, "%s: default %s", path, fallback);
}

static void check_choice(const Key *key, const char *path, const char *type, const char *fallback) {
    char names[256] = "", name[64];
    for (size_t i = 0, used = 0; key->choices[i]; i++) {
        used += (size_t)snprintf(names + used, sizeof names - used, "`%s` ", key->choices[i]);
    }
    snprintf(name, sizeof name, "`%s` ", key->choices[(size_t)key->fallback]);
    ck_assert_msg(!strcmp(type, names) && !strcmp(fallback, name), "%s: %s, default %s", path, type, fallback);
}

static void check_document(const char *document, const Section *section, const char *prefix) {
    for (size_t i = 0; i < section->count; i++) {
        const Key *key = &section->keys[i];
        char path[128], inner[132], type[256], fallback[256];
        snprintf(path, sizeof path, "%s%s", prefix, key->name);
        snprintf(inner, sizeof inner, "%s%s", key->type == KEY_LAYERS ? "" : path, key->type == KEY_LAYERS ? "" : ".");
        if (key->type == KEY_SECTION) {
            check_document(document, key->section, inner);
        } else if (key->type != KEY_TENSOR) {
            find_row(document, path, type, fallback);
            ck_assert_msg(!key->required == !strstr(fallback, "required") || key->fallback < key->minimum, "%s: %s", path,
                          fallback);
            if (key->type == KEY_LAYERS) {
                check_document(document, key->section, inner);
            } else if (key->type == KEY_INTEGER || key->type == KEY_REAL) {
                check_number(key, path, type, fallback);
            } else if (key->type == KEY_CHOICE) {
                check_choice(key, path, type, fallback);
            } else if (key->type == KEY_FLAG) {
                ck_assert_msg(!strcmp(type, "true/false ") && !strcmp(fallback, key->fallback != 0 ? "true " : "false "),
                              "%s: %s %s", path, type, fallback);
            }
        }
    }
}

START_TEST(document_has_every_key) {
    size_t size;
    char *document = shell_read_file("docs/description.md", &size);
    check_document(document, &spec_root, "");
    free(document);
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
    tcase_add_test(cases, file_is_what_is_printed);
    tcase_add_loop_test(cases, says_what_the_parser_reads, 0, KEYS);
    tcase_add_loop_test(cases, patterns_are_the_parser, 0, TEXTS);
    tcase_add_test(cases, document_has_every_key);
    tcase_add_test(cases, accepts_every_example);
    suite_add_tcase(suite, cases);
    return suite;
}
