// The built program, run as users run it: shell commands that may say $CATENA (the program) and $D (a folder of the test's own).
#ifndef CATENA_TEST_SHELL_H
#define CATENA_TEST_SHELL_H

#include <stddef.h>

// Fixture of a test case: makes $D, and removes it with all it holds. Sets $CATENA to build/catena unless it is set.
void shell_begin(void);
void shell_end(void);

// The folder's path.
const char *shell_folder(void);

// Where tests put what they write, for mkdtemp or mkstemp: an absolute path below $BUILD ("build" unless set) that ends in
// XXXXXX, so that what a failed test leaves behind goes with `make clean`.
enum { SHELL_PATH_BYTES = 256 };
void shell_template(char path[SHELL_PATH_BYTES]);

// Runs a shell command and returns its exit status; -1 if it was ended by a signal.
int shell_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The same; the result is what it printed to standard output (to free()).
char *shell_read(int *status, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Fails the test unless the command ends with `status` and its output, errors included, contains `words`.
void shell_expect(int status, const char *words, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Whole files, in the test's folder or anywhere: `name` may begin with "$D/". To free(); a zero follows the last byte.
char *shell_read_file(const char *name, size_t *size);
void shell_write_file(const char *name, const void *bytes, size_t size);

#endif
