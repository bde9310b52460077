// Tables and progress for people: aligned Markdown that reads well in a terminal. JSON documents are made by each command.
#ifndef CATENA_TABLE_H
#define CATENA_TABLE_H

#include <stdbool.h>
#include <stdio.h>

enum { TABLE_MAX_COLUMNS = 24 };

// What --format chose.
typedef enum OutputFormat { OUTPUT_MARKDOWN, OUTPUT_JSON } OutputFormat;

// Reads "md" or "json"; false if it is neither.
bool output_format_parse(const char *text, OutputFormat *format);

// A table under construction. Zero-initialise; free with table_free. Cells are copied.
typedef struct Table {
    int columns;
    const char *names[TABLE_MAX_COLUMNS];  // not owned: literals
    bool left[TABLE_MAX_COLUMNS];          // text is aligned to the left, numbers to the right
    char **cells;
    size_t cell_count;
    size_t capacity;
} Table;

void table_column(Table *table, const char *name, bool left);
// Adds the next cell, row by row. Out of memory shows as an empty cell.
void table_cell(Table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Prints a Markdown table with padded columns; the header is bold where the stream is a terminal that wants colours.
void table_print(const Table *table, FILE *stream);
void table_free(Table *table);

// A number in three significant digits ("1.31", "34.6", "512", "4,096" stays "4096"); "-" for what is not finite or negative.
const char *table_number(char out[32], double value);

// Whether a stream is a terminal and the user did not set NO_COLOR (https://no-color.org) or TERM=dumb.
bool terminal_colours(FILE *stream);
// A line on standard error that is replaced by the next one; nothing where that is no terminal. NULL clears it.
void terminal_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
