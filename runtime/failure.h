// How a fallible function of the runtime reports: a Status, and a text in a buffer that the caller owns.
#ifndef CATENA_FAILURE_H
#define CATENA_FAILURE_H

#include "library.h"

// Where the text goes; {NULL, 0}: no text is written.
typedef struct Failure {
    char *text;
    size_t size;
} Failure;

// Writes the text (cut to fit, control characters replaced by '?') and returns `status`, so that a function can end with `return
// failure_set(...)`.
Status failure_set(const Failure *failure, Status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

// The same for a system call that failed: ": " and errno's text are added.
Status failure_system(const Failure *failure, Status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
