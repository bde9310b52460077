// Collects problems as lines of text. Running out of memory loses text but never the count, so a failure stays a failure.
#include "diagnostic.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static char *format_text(const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = length < 0 ? NULL : malloc((size_t)length + 1);
    if (text) {
        vsnprintf(text, (size_t)length + 1, format, arguments);
    }
    return text;
}

static char *format_place(const char *file, int line, int column) {
    char numbers[32] = "";
    if (line > 0 && column > 0) {
        snprintf(numbers, sizeof numbers, ":%d:%d", line, column);
    } else if (line > 0) {
        snprintf(numbers, sizeof numbers, ":%d", line);
    }
    size_t bytes = (file ? strlen(file) : 0) + sizeof numbers + 3;
    char *text = calloc(1, bytes);
    if (text && file) {
        snprintf(text, bytes, "%s%s: ", file, numbers);
    }
    return text;
}

// Returns room for `bytes` bytes behind the text; NULL if there is no memory.
static char *grow(Diagnostics *diagnostics, size_t bytes) {
    char *grown = realloc(diagnostics->text, diagnostics->length + bytes);
    diagnostics->text = grown ? grown : diagnostics->text;
    return grown ? grown + diagnostics->length : NULL;
}

static void append(Diagnostics *diagnostics, const char *place, const char *text) {
    size_t bytes = strlen(place) + strlen("error: ") + strlen(text) + 2;
    char *start = grow(diagnostics, bytes);
    if (!start) {
        return;
    }
    int length = snprintf(start, bytes, "%serror: %s", place, text);
    // Names from the input are quoted in messages: they must not reach the terminal as control sequences or break lines.
    for (char *c = start; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            *c = '?';
        }
    }
    memcpy(start + length, "\n", 2);
    diagnostics->length += (size_t)length + 1;
}

void diagnostics_add(Diagnostics *diagnostics, const char *file, int line, int column, const char *format, ...) {
    if (diagnostics->count++ >= DIAGNOSTICS_KEPT) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    char *text = format_text(format, arguments);
    va_end(arguments);
    char *place = format_place(file, line, column);
    if (text && place) {
        append(diagnostics, place, text);
    }
    free(place);
    free(text);
}

void diagnostics_explain(Diagnostics *diagnostics, const char *lines) {
    size_t bytes = strlen(lines) + 1;
    char *start = diagnostics->count <= DIAGNOSTICS_KEPT ? grow(diagnostics, bytes) : NULL;
    if (start) {
        memcpy(start, lines, bytes);
        diagnostics->length += bytes - 1;
    }
}

void diagnostics_take(Diagnostics *diagnostics, Diagnostics *from) {
    if (from->text) {
        char *start = grow(diagnostics, from->length + 1);
        if (start) {
            memcpy(start, from->text, from->length + 1);
            diagnostics->length += from->length;
        }
    }
    diagnostics->count += from->count;
    diagnostics_free(from);
}

void diagnostics_print(const Diagnostics *diagnostics, FILE *stream) {
    if (diagnostics->text) {
        fputs(diagnostics->text, stream);
    }
    if (diagnostics->count > DIAGNOSTICS_KEPT) {
        fprintf(stream, "error: %zu more\n", diagnostics->count - DIAGNOSTICS_KEPT);
    } else if (diagnostics->count && !diagnostics->text) {
        fputs("error: out of memory\n", stream);
    }
}

void diagnostics_free(Diagnostics *diagnostics) {
    free(diagnostics->text);
    *diagnostics = (Diagnostics){0};
}
