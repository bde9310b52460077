// examples/schema.json is what `catena schema` prints, a key of each type is described as the parser reads it, and every example is
// accepted.
#include <glob.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/import_read.h"
#include "compiler/model.h"
#include "compiler/spec_schema.h"
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
    {"layers/experts/gated", "{'type': 'boolean', 'default': true}"},
    {"layers/compute", "{'enum': ['fp32', 'bf16'], 'default': 'fp32'}"},
    {"layers/weights", "{'enum': ['fp32', 'bf16'], 'default': 'bf16'}"},
    {"layers/checkpoint/tensors/router", "{'$ref': '#/$defs/tensor'}"},
    {"workload/routing",
     "{'type': 'string', 'pattern': '^(uniform|one|zipf:.+|trace:.+)$', 'maxLength': 255, 'default': 'uniform'}"},
    {"workload/tokens",
     "{'type': 'array', 'minItems': 1, 'maxItems': 32, 'items': {'type': 'integer', 'minimum': 1, 'maximum': 1048576},"
     " 'default': [1, 8, 64, 512, 2048]}"},
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
    tcase_add_test(cases, accepts_every_example);
    suite_add_tcase(suite, cases);
    return suite;
}
