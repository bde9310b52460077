// What tests read off documents and off the program's help: lines, spans between backquotes, cells of tables, and sets of names.
#ifndef CATENA_TEST_DOCUMENT_H
#define CATENA_TEST_DOCUMENT_H

#include <jansson.h>

enum { DOCUMENT_WORD_BYTES = 256 };

// Cuts the next line off a text that is the caller's; NULL at the end.
char *document_line(char **text);

// Cuts the next span between backquotes off a line; NULL where there is none.
char *document_span(char **line);

// The first cell of a table's row, cut off: up to a bar that is not escaped.
char *document_cell(char *row);

// Sets of names are the keys of a JSON object. Adds prefix and name.
void names_add(json_t *set, const char *prefix, const char *name);

// Fails the test unless both have the same names, and at least one. `what` says what they are names of. Frees both.
void names_compare(json_t *documented, const char *document, json_t *existing, const char *what);

// What `catena COMMAND --help` prints, asked for once in a test case; fails the test where there is no such command, which
// `where` names.
const char *program_help(const char *command, const char *where);

#endif
