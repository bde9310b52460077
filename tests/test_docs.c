// README.md, docs/ and other documents: the commands that they show exist and run, and their links lead somewhere. That lists of
// keys, options and knobs are complete is tested by test_docs_lists.c.
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
#include <limits.h>
#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "document.h"
#include "shell.h"
#include "suites.h"

enum { COMMAND_BYTES = 1024 };

static const char *const patterns[] = {"README.md", "docs/*.md", "examples/*/README.md", "tests/golden/README.md"};
enum { PATTERNS = sizeof patterns / sizeof *patterns, TO_RUN = 2 };  // the first ones' blocks are run

// --- commands exist --------------------------------------------------------------------------------------------------------------

static char *makefiles;

static bool matches(const char *text, const char *format, const char *word) {
    char pattern[2 * DOCUMENT_WORD_BYTES];
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
    ck_assert_msg(matches(program_help(command, where), format, word), "%s: catena %s has no option '%s'", where, command, word);
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
                program_help(name, where);
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
    char *text = shell_read_file(path, &size), *rest = text, *line, joined[COMMAND_BYTES] = "", fence[DOCUMENT_WORD_BYTES] = "";
    int commands = 0;
    bool inside = false;
    while ((line = document_line(&rest))) {
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
            for (char *span; (span = document_span(&line));) {
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
    each_document(0, PATTERNS, check_document, 80);
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
    while ((line = document_line(&rest))) {
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
        shell_expect(
            0, "",
            "rm -rf $D/there && mkdir -p $D/there && cd $D/there && ln -s \"$ROOT/examples\" \"$ROOT/tests\" . && "
            "{ PATH=$D/bin:$PATH XDG_DATA_HOME=$D/data sh -eux ../script >../output 2>&1 || { tail -n 30 ../output; exit 1; }; }");
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

// --- links -----------------------------------------------------------------------------------------------------------------------

// Whether a heading of the file is what an anchor names: in small letters, with - for spaces, without other signs.
static bool has_anchor(const char *path, const char *anchor) {
    size_t size;
    char *text = shell_read_file(path, &size), *rest = text, *line;
    bool found = false;
    while (!found && (line = document_line(&rest))) {
        char slug[DOCUMENT_WORD_BYTES], *to = slug;
        const char *c = line + strspn(line, "#");
        if (c == line || *c != ' ') {
            continue;
        }
        for (c++; *c && to < slug + DOCUMENT_WORD_BYTES - 1; c++) {
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
    char target[PATH_MAX], name[DOCUMENT_WORD_BYTES];
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) + 1 : 0, length = (int)strcspn(link, ")\"");
    if (!strncmp(link, "http", 4)) {
        return;
    }
    ck_assert_int_lt(snprintf(name, sizeof name, "%.*s", length, link), DOCUMENT_WORD_BYTES);
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
    TCase *shown = tcase_create("shown"), *run = tcase_create("run");
    tcase_set_timeout(shown, TEST_TIMEOUT);
    tcase_set_timeout(run, TEST_TIMEOUT);
    tcase_add_checked_fixture(shown, shell_begin, shell_end);
    tcase_add_checked_fixture(run, shell_begin, shell_end);
    tcase_add_test(shown, commands_exist);
    tcase_add_test(shown, links_lead_to_files);
    tcase_add_test(run, commands_run);
    suite_add_tcase(suite, shown);
    suite_add_tcase(suite, run);
    return suite;
}
