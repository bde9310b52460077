// Texts of failures. No output, no allocation.
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "failure.h"

Status failure_set(const Failure *failure, Status status, const char *format, ...) {
    if (failure && failure->text && failure->size) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(failure->text, failure->size, format, arguments);
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
    vsnprintf(failure->text, failure->size, format, arguments);
    va_end(arguments);
    size_t length = strlen(failure->text);
    char reason[128];
    // GNU strerror_r is thread-safe and may return its own constant text
    snprintf(failure->text + length, failure->size - length, ": %s", strerror_r(code, reason, sizeof reason));
    return status;
}
