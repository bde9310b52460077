// See document.h.
#include "document.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shell.h"

char *document_line(char **text) {
    char *line = *text, *end = strchr(line, '\n');
    if (!*line) {
        return NULL;
    }
    *text = end ? end + 1 : line + strlen(line);
    if (end) {
        *end = 0;
    }
    return line;
}

char *document_span(char **line) {
    char *begin = strchr(*line, '`'), *end = begin ? strchr(begin + 1, '`') : NULL;
    if (!end) {
        return NULL;
    }
    *end = 0;
    *line = end + 1;
    return begin + 1;
}

char *document_cell(char *row) {
    for (char *c = row + 1; *c; c++) {
        if (*c == '|' && c[-1] != '\\') {
            *c = 0;
        }
    }
    return row + 1;
}

// --- sets of names -------------------------------------------------------------------------------------------------------------

void names_add(json_t *set, const char *prefix, const char *name) {
    char whole[DOCUMENT_WORD_BYTES];
    ck_assert_int_lt(snprintf(whole, sizeof whole, "%s%s", prefix, name), DOCUMENT_WORD_BYTES);
    ck_assert_int_eq(json_object_set_new(set, whole, json_true()), 0);
}

void names_compare(json_t *documented, const char *document, json_t *existing, const char *what) {
    const char *name;
    json_t *value;
    ck_assert_uint_gt(json_object_size(existing), 0);
    json_object_foreach(documented, name, value) {
        ck_assert_msg(json_object_get(existing, name), "%s: %s '%s' does not exist", document, what, name);
    }
    json_object_foreach(existing, name, value) {
        ck_assert_msg(json_object_get(documented, name), "%s: %s '%s' is missing", document, what, name);
    }
    json_decref(documented);
    json_decref(existing);
}

const char *program_help(const char *command, const char *where) {
    static json_t *helps;  // by command; a test case is a process of its own
    helps = helps ? helps : json_object();
    json_t *known = json_object_get(helps, command);
    if (!known) {
        int status;
        char *text = shell_read(&status, "$CATENA '%s' --help", command);
        ck_assert_msg(!status, "%s: there is no command '%s'", where, command);
        json_object_set_new(helps, command, known = json_string(text));
        free(text);
    }
    return json_string_value(known);
}
