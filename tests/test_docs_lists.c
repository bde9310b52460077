// The lists in docs/ are those of the program: every key of a description, every option of a command, every knob of the search,
// every format, path and target is documented, and nothing else is.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "document.h"
#include "shell.h"
#include "suites.h"
#include "targets/target.h"

// What stands between backquotes in the first cells of the document's tables that begin so.
static void collect_spans(const char *path, const char *header, const char *prefix, json_t *names) {
    size_t size;
    char *text = shell_read_file(path, &size), *rest = text, *line;
    bool inside = false;
    while ((line = document_line(&rest))) {
        inside = *line == '|' && (inside || !strncmp(line, header, strlen(header)));
        char *cell = inside ? document_cell(line) : NULL, *span;
        while (cell && (span = document_span(&cell))) {
            names_add(names, prefix, span);
        }
    }
    free(text);
}

// The words of a message between two marks, with commas between them.
static void collect_words(char *message, const char *begin, const char *end, json_t *names) {
    char *list = strstr(message, begin), *stop = list ? strstr(list, end) : NULL;
    ck_assert_msg(stop, "%s", message);
    *stop = 0;
    for (char *name = strtok(list + strlen(begin), ", \n"); name; name = strtok(NULL, ", \n")) {
        names_add(names, "", name);
    }
}

// --- keys ------------------------------------------------------------------------------------------------------------------------

// Every key below a node of the schema. What has keys itself is a section, not a key; a layer's keys have no prefix.
static void collect_keys(const json_t *schema, const json_t *node, const char *prefix, json_t *keys) {
    const char *name;
    json_t *value;
    size_t i;
    if (json_object_get(node, "$ref")) {
        collect_keys(schema, json_object_get(json_object_get(schema, "$defs"), "tensor"), "checkpoint.tensors.*.", keys);
    }
    json_object_foreach(json_object_get(node, "properties"), name, value) {
        char inner[DOCUMENT_WORD_BYTES];
        snprintf(inner, sizeof inner, "%s%s.", prefix, name);
        if (!json_object_get(value, "properties")) {
            names_add(keys, prefix, name);
        }
        collect_keys(schema, value, strcmp(name, "layers") ? inner : "", keys);
    }
    if (json_object_get(node, "items")) {
        collect_keys(schema, json_object_get(node, "items"), prefix, keys);
    }
    json_array_foreach(json_object_get(node, "oneOf"), i, value) {
        collect_keys(schema, value, prefix, keys);
    }
}

START_TEST(keys_are_documented) {
    static const char path[] = "docs/description.md";
    int status;
    char *printed = shell_read(&status, "$CATENA schema");
    json_t *schema = json_loads(printed, 0, NULL), *keys = json_object(), *documented = json_object();
    ck_assert_ptr_nonnull(schema);
    collect_keys(schema, schema, "", keys);
    collect_spans(path, "| key | type |", "", documented);
    collect_spans(path, "| tensor |", "checkpoint.tensors.", documented);
    collect_spans(path, "| key of a tensor |", "checkpoint.tensors.*.", documented);
    names_compare(documented, path, keys, "key");
    json_decref(schema);
    free(printed);
}
END_TEST

// --- options ---------------------------------------------------------------------------------------------------------------------

// "-o, --output=DIR" of a command's help, or an action with its arguments; NULL for other lines.
static char *option_of(char *line, bool actions) {
    size_t indent = strspn(line, " ");
    bool option = line[indent] == '-' && (indent == 2 || indent == 6);
    if (option) {
        char *name = strstr(line, "--");
        ck_assert_msg(name, "an option without a long name: %s", line);
        name[strcspn(name, " ")] = 0;
    } else if (!actions || indent != 2) {
        return NULL;
    }
    for (size_t end = strlen(line); end && line[end - 1] == ' ';) {
        line[--end] = 0;
    }
    return line + indent;
}

static void collect_options(const char *help, json_t *options) {
    char *text = strdup(help), *rest = text, *line;
    bool actions = false;
    while ((line = document_line(&rest))) {
        actions |= !strcmp(line, "Actions:");
        char *option = option_of(line, actions);
        if (option) {
            names_add(options, "", option);
        }
    }
    free(text);
}

// The first cells of tables of options and actions in a part of a document, without backquotes and backslashes.
static void collect_rows(const char *part, size_t bytes, json_t *rows) {
    char *text = strndup(part, bytes), *rest = text, *line;
    bool inside = false;
    while ((line = document_line(&rest))) {
        bool header = !strncmp(line, "| option |", 10) || !strncmp(line, "| action |", 10);
        inside = *line == '|' && (inside || header);
        if (inside && !header && strncmp(line, "| ---", 5)) {
            char name[DOCUMENT_WORD_BYTES], *to = name;
            for (const char *c = document_cell(line); *c && to < name + DOCUMENT_WORD_BYTES - 1; c++) {
                if (*c != '`' && *c != '\\' && (*c != ' ' || to > name)) {
                    *to++ = *c;
                }
            }
            *to = 0;
            to[-1] = to[-1] == ' ' ? 0 : to[-1];
            names_add(rows, "", name);
        }
    }
    free(text);
}

static const char section_mark[] = "\n## catena ";

static void check_command_section(const char *document, const char *name) {
    char heading[DOCUMENT_WORD_BYTES], what[DOCUMENT_WORD_BYTES];
    snprintf(heading, sizeof heading, "%s%s\n", section_mark, name);
    const char *begin = strstr(document, heading), *first = strstr(document, section_mark);
    ck_assert_msg(begin, "docs/commands.md: command '%s' is missing", name);
    const char *end = strstr(begin + 1, "\n## ");
    json_t *rows = json_object(), *options = json_object();
    collect_rows(document, (size_t)(first - document), rows);  // those of every command
    collect_rows(begin, end ? (size_t)(end - begin) : strlen(begin), rows);
    collect_options(program_help(name, "docs/commands.md"), options);
    snprintf(what, sizeof what, "option of %s", name);
    names_compare(rows, "docs/commands.md", options, what);
}

START_TEST(options_are_documented) {
    size_t size;
    int status;
    char *document = shell_read_file("docs/commands.md", &size), *usage = shell_read(&status, "$CATENA --help"), *rest = usage,
         *line;
    json_t *commands = json_object(), *sections = json_object();
    const char *name;
    json_t *value;
    while ((line = document_line(&rest))) {
        if (!strncmp(line, "  ", 2)) {
            line[2 + strcspn(line + 2, " ")] = 0;
            names_add(commands, "", line + 2);
        }
    }
    for (const char *at = document; (at = strstr(at, section_mark));) {
        char section[DOCUMENT_WORD_BYTES];
        at += strlen(section_mark);
        snprintf(section, sizeof section, "%.*s", (int)strcspn(at, "\n"), at);
        names_add(sections, "", section);
    }
    json_object_foreach(commands, name, value) {
        check_command_section(document, name);
    }
    names_compare(sections, "docs/commands.md", commands, "command");
    free(document);
    free(usage);
}
END_TEST

// --- knobs and families
// ------------------------------------------------------------------------------------------------------------

// The program lists the knobs of a layer where a candidate names another. This layer has all that there are: bf16 panels can be
// widened, a chain can be walked by turns, and several threads can be bound.
START_TEST(knobs_are_documented) {
    static const char path[] = "docs/tuning.md", candidate[] = "[{\"nonsense\": 1}]";
    int status;
    shell_write_file("$D/candidates.json", candidate, sizeof candidate - 1);
    char *message = shell_read(&status,
                               "$CATENA tune tests/data/coe_small_layer.json --threads 4 --wisdom none "
                               "--candidates $D/candidates.json 2>&1");
    json_t *knobs = json_object(), *documented = json_object();
    collect_words(message, "there is no knob 'nonsense' here; expected one of: ", "\n", knobs);
    collect_spans(path, "| knob |", "", documented);
    names_compare(documented, path, knobs, "knob");
    free(message);
}
END_TEST

// And the families where a model is of another.
START_TEST(families_are_documented) {
    static const char path[] = "docs/importing.md", config[] = "{\"model_type\": \"nonsense\"}";
    int status;
    shell_write_file("$D/config.json", config, sizeof config - 1);
    char *message = shell_read(&status, "$CATENA import $D/config.json 2>&1");
    json_t *families = json_object(), *documented = json_object();
    collect_words(message, "known are\n", "for others", families);
    collect_spans(path, "| family |", "", documented);
    names_compare(documented, path, families, "family");
    free(message);
}
END_TEST

// --- formats, paths, targets ---------------------------------------------------------------------------------------------------

static void check_names(const char *path, const char *header, const char *const *names, const char *what) {
    json_t *existing = json_object(), *documented = json_object();
    for (; *names; names++) {
        names_add(existing, "", *names);
    }
    collect_spans(path, header, "", documented);
    names_compare(documented, path, existing, what);
}

START_TEST(formats_and_paths_are_documented) {
    const char *paths[PATH_COUNT + 1] = {0}, *known_targets[16] = {0};
    for (int p = 0; p < PATH_COUNT; p++) {
        paths[p] = path_facts[p].name;
    }
    for (int t = 0; targets[t]; t++) {
        known_targets[t] = targets[t]->name;
    }
    check_names("docs/description.md", "| format |", format_names, "format");
    check_names("docs/c-api.md", "| path |", paths, "path");
    check_names("docs/c-api.md", "| target |", known_targets, "target");
}
END_TEST

Suite *suite_docs_lists(void) {
    Suite *suite = suite_create("docs_lists");
    TCase *cases = tcase_create("lists");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_add_test(cases, keys_are_documented);
    tcase_add_test(cases, options_are_documented);
    tcase_add_test(cases, knobs_are_documented);
    tcase_add_test(cases, families_are_documented);
    tcase_add_test(cases, formats_and_paths_are_documented);
    suite_add_tcase(suite, cases);
    return suite;
}
