// Problems found in a user's input: collected by the caller, printed by main, several per run.
#ifndef CATENA_DIAGNOSTIC_H
#define CATENA_DIAGNOSTIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

// A hostile or very wrong input may hold a problem per byte: texts beyond this many are counted, not kept.
enum { DIAGNOSTICS_KEPT = 100 };

// A growing text, of each problem "file:line:column: error: text\n". Zero-initialise; free with diagnostics_free.
typedef struct Diagnostics {
    char *text;
    size_t length;
    size_t count;
} Diagnostics;

// Adds a problem. file may be NULL; line or column 0 is left out.
void diagnostics_add(Diagnostics *diagnostics, const char *file, int line, int column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
// Adds lines to the problem that was added last, as they are: text of our own, which may have line breaks and ends with one.
void diagnostics_explain(Diagnostics *diagnostics, const char *lines);
// Moves the problems of `from`, which is empty afterwards, to the end of `diagnostics`.
void diagnostics_take(Diagnostics *diagnostics, Diagnostics *from);
void diagnostics_print(const Diagnostics *diagnostics, FILE *stream);
void diagnostics_free(Diagnostics *diagnostics);

#endif
