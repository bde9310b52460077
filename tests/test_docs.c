// README.md and docs/: what they show exists in the program, and what the program has is shown.
//
// Code blocks of documents, by the word after their fence:
//   sh         run here, one after the other, in a folder in which the repository's examples/ and tests/ are: quick commands only
//   c          a whole program (with `int main`) is written to program.c there, so that a later sh block can build it
//   console    shown, not run: what takes long, or needs what a test has not
//   others     no commands
// Whatever the block, and in text between backquotes too, each command that begins with `catena ` or `make ` must exist, with its
// options. `catena COMMAND` is none.
#include <ctype.h>
#include <glob.h>
#include <jansson.h>
#include <limits.h>
#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shell.h"
#include "suites.h"

enum { WORD_BYTES = 256, COMMAND_BYTES = 1024 };

static const char *const patterns[] = {"README.md", "docs/*.md", "examples/*/README.md", "tests/golden/README.md"};
enum { PATTERNS = sizeof patterns / sizeof *patterns, TO_RUN = 2 };  // the first ones' blocks are run

// --- lines ---------------------------------------------------------------------------------------------------------------------

// Cuts the next line off a text that is the caller's; NULL at the end.
static char *next_line(char **text) {
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

// Cuts the next span between backquotes off a line; NULL where there is none.
static char *next_span(char **line) {
    char *begin = strchr(*line, '`'), *end = begin ? strchr(begin + 1, '`') : NULL;
    if (!end) {
        return NULL;
    }
    *end = 0;
    *line = end + 1;
    return begin + 1;
}

// The first cell of a table's row, cut off: up to a bar that is not escaped.
static char *first_cell(char *row) {
    for (char *c = row + 1; *c; c++) {
        if (*c == '|' && c[-1] != '\\') {
            *c = 0;
        }
    }
    return row + 1;
}

// --- sets of names -------------------------------------------------------------------------------------------------------------

static void add(json_t *set, const char *prefix, const char *name) {
    char whole[WORD_BYTES];
    ck_assert_int_lt(snprintf(whole, sizeof whole, "%s%s", prefix, name), WORD_BYTES);
    ck_assert_int_eq(json_object_set_new(set, whole, json_true()), 0);
}

static void check_equal(json_t *documented, const char *document, json_t *existing, const char *what) {
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

// --- commands exist --------------------------------------------------------------------------------------------------------------

static json_t *helps;  // of commands that were asked for, by name
static char *makefiles;

static const char *help_of(const char *command, const char *where) {
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

static bool matches(const char *text, const char *format, const char *word) {
    char pattern[2 * WORD_BYTES];
    regex_t expression;
    snprintf(pattern, sizeof pattern, format, word);
    ck_assert_int_eq(regcomp(&expression, pattern, REG_EXTENDED | REG_NOSUB | REG_NEWLINE), 0);
    bool found = !regexec(&expression, text, 0, NULL, 0);
    regfree(&expression);
    return found;
}

static void check_option(const char *command, char *word, const char *where) {
    bool is_long = word[1] == '-';
    word[strcspn(word, "=")] = 0;
    const char *format = is_long ? "^ {2,6}(-., )?%s([,=[]| |$)" : "^  %s, ";
    ck_assert_msg(matches(help_of(command, where), format, word), "%s: catena %s has no option '%s'", where, command, word);
}

static void check_make(char *word, const char *where) {
    char *value = strchr(word, '=');
    if (*word == '-') {
        return;
    }
    if (value) {
        *value = 0;
        ck_assert_msg(matches(makefiles, "^%s +[?:]?=", word) || matches(makefiles, "\\$\\(%s\\)", word),
                      "%s: the Makefile has no variable '%s'", where, word);
        return;
    }
    const char *format = strncmp(word, "build/", 6) ? "^([a-z-]+ )*%s( [a-z-]+)*:([^=]|$)" : "^\\$\\(BUILD\\)/%s:";
    ck_assert_msg(matches(makefiles, format, strncmp(word, "build/", 6) ? word : word + 6), "%s: the Makefile has no target '%s'",
                  where, word);
}

// Cuts the next word off a command; a double-quoted part belongs to it. NULL at the end or at a comment.
static char *next_word(char **command) {
    bool quoted = false;
    char *word = *command + strspn(*command, " "), *end = word;
    if (!*word || *word == '#') {
        return NULL;
    }
    for (; *end && (quoted || *end != ' '); end++) {
        quoted ^= *end == '"';
    }
    *command = *end ? end + 1 : end;
    *end = 0;
    return word;
}

// One simple command; others than catena's and make's are not looked at.
static int check_command(char *command, const char *where) {
    char *program = next_word(&command), *word, *name = NULL;
    bool is_make = program && !strcmp(program, "make");
    if (!program || (!is_make && strcmp(program, "catena") && strcmp(program, "build/catena"))) {
        return 0;
    }
    while ((word = next_word(&command))) {
        if (is_make) {
            check_make(word, where);
        } else if (!name) {
            name = word;
            if (!strcmp(name, "COMMAND")) {
                return 0;
            }
            if (*name != '-') {
                help_of(name, where);
            }
        } else if (*word == '-' && word[1]) {
            check_option(name, word, where);
        }
    }
    return 1;
}

// A line of a shell: simple commands with && or | or ; between them.
static int check_shell(const char *line, const char *where) {
    char text[COMMAND_BYTES], *at = text;
    int commands = 0;
    bool quoted = false;
    ck_assert_int_lt(snprintf(text, sizeof text, "%s", line), COMMAND_BYTES);
    for (char *c = text;; c++) {
        quoted ^= *c == '"';
        if (!*c || (!quoted && strchr("&|;>", *c))) {
            bool last = !*c;
            *c = 0;
            commands += check_command(at, where);
            at = c + 1;
            if (last) {
                return commands;
            }
        }
    }
}

static int check_document(const char *path) {
    size_t size;
    char *text = shell_read_file(path, &size), *rest = text, *line, joined[COMMAND_BYTES] = "", fence[WORD_BYTES] = "";
    int commands = 0;
    bool inside = false;
    while ((line = next_line(&rest))) {
        if (!strncmp(line, "```", 3)) {
            inside = !inside;
            snprintf(fence, sizeof fence, "%s", line + 3);
        } else if (inside ? !strcmp(fence, "sh") || !strcmp(fence, "console") : !strncmp(line, "    ", 4)) {
            size_t used = strlen(joined), length = strlen(line);
            bool more = length && line[length - 1] == '\\';
            ck_assert_int_lt(snprintf(joined + used, sizeof joined - used, "%.*s", (int)(length - more), line),
                             (int)(sizeof joined - used));
            if (!more) {
                commands += check_shell(joined, path);
                *joined = 0;
            }
        } else if (!inside) {
            for (char *span; (span = next_span(&line));) {
                commands += check_shell(span, path);
            }
        }
    }
    ck_assert_msg(!inside && !*joined, "%s: a block of code does not end", path);
    free(text);
    return commands;
}

static void each_document(int first, int end, int (*check)(const char *path), int fewest) {
    int found = 0;
    for (int p = first; p < end; p++) {
        glob_t files;
        ck_assert_msg(!glob(patterns[p], 0, NULL, &files), "%s", patterns[p]);
        for (size_t i = 0; i < files.gl_pathc; i++) {
            found += check(files.gl_pathv[i]);
        }
        globfree(&files);
    }
    ck_assert_int_ge(found, fewest);
}

START_TEST(commands_exist) {
    size_t size, more;
    char *make = shell_read_file("Makefile", &size), *tests = shell_read_file("tests/tests.mk", &more);
    makefiles = malloc(size + more + 1);
    ck_assert_ptr_nonnull(makefiles);
    memcpy(makefiles, make, size);
    memcpy(makefiles + size, tests, more + 1);
    helps = json_object();
    each_document(0, PATTERNS, check_document, 80);
    json_decref(helps);
    free(makefiles);
    free(make);
    free(tests);
}
END_TEST

// --- commands run ----------------------------------------------------------------------------------------------------------------

// The document's blocks as one script, $D/script. Returns how many are run.
static int write_script(const char *path) {
    size_t size, length;
    char *text = shell_read_file(path, &size), *rest = text, *line, *script, *block = NULL;
    FILE *all = open_memstream(&script, &length), *part = NULL;
    size_t block_bytes;
    bool is_shell = false;
    int blocks = 0;
    ck_assert_ptr_nonnull(all);
    while ((line = next_line(&rest))) {
        if (strncmp(line, "```", 3)) {
            if (part) {
                fprintf(part, "%s\n", line);
            }
            continue;
        }
        if (part) {
            fclose(part);
            if (is_shell) {
                fprintf(all, "%s", block);
                blocks++;
            } else if (strstr(block, "int main(")) {
                fprintf(all, "cat >program.c <<'END_OF_PROGRAM'\n%sEND_OF_PROGRAM\n", block);
            }
            free(block);
            part = NULL;
        } else if (line[3]) {
            is_shell = !strcmp(line + 3, "sh");
            part = is_shell || !strcmp(line + 3, "c") ? open_memstream(&block, &block_bytes) : NULL;
        }
    }
    fclose(all);
    shell_write_file("$D/script", script, length);
    free(script);
    free(text);
    return blocks;
}

static int run_document(const char *path) {
    int blocks = write_script(path);
    if (blocks) {
        shell_expect(0, "",
                     "rm -rf $D/there && mkdir -p $D/there && cd $D/there && ln -s \"$ROOT/examples\" \"$ROOT/tests\" . && "
                     "PATH=$D/bin:$PATH XDG_DATA_HOME=$D/data sh -eux ../script");
    }
    return blocks;
}

START_TEST(commands_run) {
    char root[PATH_MAX];
    ck_assert_ptr_nonnull(getcwd(root, sizeof root));
    setenv("ROOT", root, 1);
    ck_assert_int_eq(shell_run("mkdir $D/bin && ln -s \"$(realpath \"$CATENA\")\" $D/bin/catena"), 0);
    each_document(0, TO_RUN, run_document, 15);
}
END_TEST

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
        char inner[WORD_BYTES];
        snprintf(inner, sizeof inner, "%s%s.", prefix, name);
        if (!json_object_get(value, "properties")) {
            add(keys, prefix, name);
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
    static const struct {
        const char *header, *prefix;
    } tables[] = {{"| key | type |", ""}, {"| tensor |", "checkpoint.tensors."}, {"| key of a tensor |", "checkpoint.tensors.*."}};
    size_t size;
    int status;
    char *printed = shell_read(&status, "$CATENA schema"), *text = shell_read_file("docs/description.md", &size), *rest = text,
         *line;
    json_t *schema = json_loads(printed, 0, NULL), *keys = json_object(), *documented = json_object();
    const char *prefix = NULL;
    ck_assert_ptr_nonnull(schema);
    collect_keys(schema, schema, "", keys);
    while ((line = next_line(&rest))) {
        prefix = *line == '|' ? prefix : NULL;
        for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
            prefix = strncmp(line, tables[i].header, strlen(tables[i].header)) ? prefix : tables[i].prefix;
        }
        char *cell = prefix ? first_cell(line) : NULL, *span;
        while (cell && (span = next_span(&cell))) {
            add(documented, prefix, span);
        }
    }
    check_equal(documented, "docs/description.md", keys, "key");
    json_decref(schema);
    free(printed);
    free(text);
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
    while ((line = next_line(&rest))) {
        actions |= !strcmp(line, "Actions:");
        char *option = option_of(line, actions);
        if (option) {
            add(options, "", option);
        }
    }
    free(text);
}

// The first cells of tables of options and actions in a part of a document, without backquotes and backslashes.
static void collect_rows(const char *part, size_t bytes, json_t *rows) {
    char *text = strndup(part, bytes), *rest = text, *line;
    bool inside = false;
    while ((line = next_line(&rest))) {
        bool header = !strncmp(line, "| option |", 10) || !strncmp(line, "| action |", 10);
        inside = *line == '|' && (inside || header);
        if (inside && !header && strncmp(line, "| ---", 5)) {
            char name[WORD_BYTES], *to = name;
            for (const char *c = first_cell(line); *c && to < name + WORD_BYTES - 1; c++) {
                if (*c != '`' && *c != '\\' && (*c != ' ' || to > name)) {
                    *to++ = *c;
                }
            }
            *to = 0;
            to[-1] = to[-1] == ' ' ? 0 : to[-1];
            add(rows, "", name);
        }
    }
    free(text);
}

static const char section_mark[] = "\n## catena ";

static void check_command_section(const char *document, const char *name) {
    char heading[WORD_BYTES], what[WORD_BYTES];
    snprintf(heading, sizeof heading, "%s%s\n", section_mark, name);
    const char *begin = strstr(document, heading), *first = strstr(document, section_mark);
    ck_assert_msg(begin, "docs/commands.md: command '%s' is missing", name);
    const char *end = strstr(begin + 1, "\n## ");
    json_t *rows = json_object(), *options = json_object();
    collect_rows(document, (size_t)(first - document), rows);  // those of every command
    collect_rows(begin, end ? (size_t)(end - begin) : strlen(begin), rows);
    collect_options(help_of(name, "docs/commands.md"), options);
    snprintf(what, sizeof what, "option of %s", name);
    check_equal(rows, "docs/commands.md", options, what);
}

START_TEST(options_are_documented) {
    size_t size;
    int status;
    char *document = shell_read_file("docs/commands.md", &size), *usage = shell_read(&status, "$CATENA --help"), *rest = usage,
         *line;
    json_t *commands = json_object(), *sections = json_object();
    const char *name;
    json_t *value;
    helps = json_object();
    while ((line = next_line(&rest))) {
        if (!strncmp(line, "  ", 2)) {
            line[2 + strcspn(line + 2, " ")] = 0;
            add(commands, "", line + 2);
        }
    }
    for (const char *at = document; (at = strstr(at, section_mark));) {
        char section[WORD_BYTES];
        at += strlen(section_mark);
        snprintf(section, sizeof section, "%.*s", (int)strcspn(at, "\n"), at);
        add(sections, "", section);
    }
    json_object_foreach(commands, name, value) {
        check_command_section(document, name);
    }
    check_equal(sections, "docs/commands.md", commands, "command");
    json_decref(helps);
    free(document);
    free(usage);
}
END_TEST

// --- knobs -----------------------------------------------------------------------------------------------------------------------

// The program lists the knobs of a layer where a candidate names another. This layer has all that there are: bf16 panels can be
// widened, a chain can be walked by turns, and several threads can be bound.
START_TEST(knobs_are_documented) {
    static const char candidate[] = "[{\"nonsense\": 1}]", mark[] = "there is no knob 'nonsense' here, but ";
    int status;
    shell_write_file("$D/candidates.json", candidate, sizeof candidate - 1);
    char *message = shell_read(&status,
                               "$CATENA tune tests/data/coe_small_layer.json --threads 4 --wisdom none "
                               "--candidates $D/candidates.json 2>&1");
    char *list = strstr(message, mark);
    ck_assert_msg(status == 1 && list, "%s", message);
    json_t *knobs = json_object(), *documented = json_object();
    for (char *name = strtok(list + strlen(mark), ", \n"); name; name = strtok(NULL, ", \n")) {
        add(knobs, "", name);
    }
    size_t size;
    char *text = shell_read_file("docs/tuning.md", &size), *rest = text, *line;
    bool inside = false;
    while ((line = next_line(&rest))) {
        inside = *line == '|' && (inside || !strncmp(line, "| knob |", 8));
        char *cell = inside ? first_cell(line) : NULL, *span;
        while (cell && (span = next_span(&cell))) {
            add(documented, "", span);
        }
    }
    check_equal(documented, "docs/tuning.md", knobs, "knob");
    free(message);
    free(text);
}
END_TEST

// --- links -----------------------------------------------------------------------------------------------------------------------

// Whether a heading of the file is what an anchor names: in small letters, with - for spaces, without other signs.
static bool has_anchor(const char *path, const char *anchor) {
    size_t size;
    char *text = shell_read_file(path, &size), *rest = text, *line;
    bool found = false;
    while (!found && (line = next_line(&rest))) {
        char slug[WORD_BYTES], *to = slug;
        const char *c = line + strspn(line, "#");
        if (c == line || *c != ' ') {
            continue;
        }
        for (c++; *c && to < slug + WORD_BYTES - 1; c++) {
            if (isalnum((unsigned char)*c) || *c == '-' || *c == '_' || *c == ' ') {
                *to++ = (char)(*c == ' ' ? '-' : tolower((unsigned char)*c));
            }
        }
        *to = 0;
        found = !strcmp(slug, anchor);
    }
    free(text);
    return found;
}

static void check_link(const char *path, const char *link) {
    char target[PATH_MAX], name[WORD_BYTES];
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) + 1 : 0, length = (int)strcspn(link, ")\"");
    if (!strncmp(link, "http", 4)) {
        return;
    }
    ck_assert_int_lt(snprintf(name, sizeof name, "%.*s", length, link), WORD_BYTES);
    char *anchor = strchr(name, '#');
    if (anchor) {
        *anchor++ = 0;
    }
    snprintf(target, sizeof target, "%.*s%s", *name ? folder : PATH_MAX - 1, path, name);
    ck_assert_msg(!access(target, R_OK), "%s: a link to %s, which is not there", path, target);
    ck_assert_msg(!anchor || has_anchor(target, anchor), "%s: %s has no heading for #%s", path, target, anchor);
}

static int check_links(const char *path) {
    static const char *const marks[] = {"](", "src=\""};
    size_t size;
    int links = 0;
    char *text = shell_read_file(path, &size);
    for (int m = 0; m < 2; m++) {
        for (const char *at = text; (at = strstr(at, marks[m]));) {
            at += strlen(marks[m]);
            check_link(path, at);
            links++;
        }
    }
    free(text);
    return links;
}

START_TEST(links_lead_to_files) {
    each_document(0, PATTERNS, check_links, 40);
}
END_TEST

Suite *suite_docs(void) {
    Suite *suite = suite_create("docs");
    TCase *cases = tcase_create("docs");
    tcase_set_timeout(cases, TEST_TIMEOUT);
    tcase_add_checked_fixture(cases, shell_begin, shell_end);
    tcase_add_test(cases, commands_exist);
    tcase_add_test(cases, commands_run);
    tcase_add_test(cases, keys_are_documented);
    tcase_add_test(cases, options_are_documented);
    tcase_add_test(cases, knobs_are_documented);
    tcase_add_test(cases, links_lead_to_files);
    suite_add_tcase(suite, cases);
    return suite;
}
