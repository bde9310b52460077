// See shell.h.
#include "shell.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COMMAND_BYTES = 8192, NAME_BYTES = 4096 };

static char folder[SHELL_PATH_BYTES];

void shell_template(char path[SHELL_PATH_BYTES]) {
    const char *build = getenv("BUILD");
    char *absolute = realpath(build && *build ? build : "build", NULL);
    ck_assert_ptr_nonnull(absolute);
    ck_assert_int_lt(snprintf(path, SHELL_PATH_BYTES, "%s/test-XXXXXX", absolute), SHELL_PATH_BYTES);
    free(absolute);
}

void shell_begin(void) {
    shell_template(folder);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    setenv("D", folder, 1);
    setenv("CATENA", "build/catena", 0);
}

void shell_end(void) {
    ck_assert_int_eq(shell_run("rm -rf \"$D\""), 0);
}

const char *shell_folder(void) {
    return folder;
}

static void format_command(char command[COMMAND_BYTES], const char *format, va_list arguments) {
    int length = vsnprintf(command, COMMAND_BYTES, format, arguments);
    ck_assert_int_ge(length, 0);
    ck_assert_int_lt(length, COMMAND_BYTES);
}

static int exit_status(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int shell_run(const char *format, ...) {
    char command[COMMAND_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_command(command, format, arguments);
    va_end(arguments);
    return exit_status(system(command));
}

static char *read_stream(FILE *stream, size_t *size) {
    char *text = NULL, part[65536];
    size_t got;
    *size = 0;
    do {
        got = fread(part, 1, sizeof part, stream);
        text = realloc(text, *size + got + 1);
        ck_assert_ptr_nonnull(text);
        memcpy(text + *size, part, got);
        *size += got;
        text[*size] = 0;
    } while (got);
    return text;
}

static char *read_command(int *status, const char *command) {
    size_t size;
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    char *text = read_stream(pipe, &size);
    *status = exit_status(pclose(pipe));
    return text;
}

char *shell_read(int *status, const char *format, ...) {
    char command[COMMAND_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_command(command, format, arguments);
    va_end(arguments);
    return read_command(status, command);
}

void shell_expect(int status, const char *words, const char *format, ...) {
    char command[COMMAND_BYTES], both[COMMAND_BYTES + 16];
    int found;
    va_list arguments;
    va_start(arguments, format);
    format_command(command, format, arguments);
    va_end(arguments);
    snprintf(both, sizeof both, "{ %s\n} 2>&1", command);
    char *text = read_command(&found, both);
    ck_assert_msg(found == status, "%s\nended with %d instead of %d:\n%s", command, found, status, text);
    ck_assert_msg(strstr(text, words) != NULL, "%s\ndid not say \"%s\":\n%s", command, words, text);
    free(text);
}

static FILE *open_file(const char *name, const char *mode) {
    char path[NAME_BYTES];
    int inside = !strncmp(name, "$D/", 3);
    snprintf(path, sizeof path, "%s%s", inside ? folder : "", inside ? name + 2 : name);
    FILE *file = fopen(path, mode);
    ck_assert_msg(file != NULL, "cannot open %s", path);
    return file;
}

char *shell_read_file(const char *name, size_t *size) {
    FILE *file = open_file(name, "rb");
    char *bytes = read_stream(file, size);
    fclose(file);
    return bytes;
}

void shell_write_file(const char *name, const void *bytes, size_t size) {
    FILE *file = open_file(name, "wb");
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}
