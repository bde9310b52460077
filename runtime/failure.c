// Texts of failures. No output, no allocation. Names in them come from foreign files and texts go to terminals: no control
// characters.
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "failure.h"

// Replaces control characters (C0, DEL, and C1 in UTF-8) by '?'.
static void remove_controls(char *text) {
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f) {
            *c = '?';
        } else if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) {
            c[0] = c[1] = '?';
        }
    }
}

static void write_text(const Failure *failure, const char *format, va_list arguments) {
    vsnprintf(failure->text, failure->size, format, arguments);
    remove_controls(failure->text);
}

Status failure_set(const Failure *failure, Status status, const char *format, ...) {
    if (failure && failure->text && failure->size) {
        va_list arguments;
        va_start(arguments, format);
        write_text(failure, format, arguments);
        va_end(arguments);
    }
    return status;
}

Status failure_system(const Failure *failure, Status status, const char *format, ...) {
    int code = errno;
    if (!failure || !failure->text || !failure->size) {
        return status;
    }
    va_list arguments;
    va_start(arguments, format);
    write_text(failure, format, arguments);
    va_end(arguments);
    size_t length = strlen(failure->text);
    char reason[128];
    // GNU strerror_r is thread-safe and may return its own constant text
    snprintf(failure->text + length, failure->size - length, ": %s", strerror_r(code, reason, sizeof reason));
    return status;
}
