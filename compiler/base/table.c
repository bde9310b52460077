// Aligned Markdown tables, three-digit numbers, and a progress line.
#define _GNU_SOURCE
#include "table.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool output_format_parse(const char *text, OutputFormat *format) {
    *format = !strcmp(text, "json") ? OUTPUT_JSON : OUTPUT_MARKDOWN;
    return !strcmp(text, "json") || !strcmp(text, "md");
}

void table_column(Table *table, const char *name, bool left) {
    if (table->columns < TABLE_MAX_COLUMNS) {
        table->names[table->columns] = name;
        table->left[table->columns++] = left;
    }
}

void table_cell(Table *table, const char *format, ...) {
    if (table->cell_count == table->capacity) {
        size_t capacity = table->capacity ? table->capacity * 2 : 64;
        char **cells = realloc(table->cells, capacity * sizeof *cells);
        if (!cells) {
            return;
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    va_list arguments;
    va_start(arguments, format);
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0) {
        text = NULL;
    }
    va_end(arguments);
    table->cells[table->cell_count++] = text;
}

// Columns that a UTF-8 text takes, combining and wide characters aside.
static int text_width(const char *text) {
    int width = 0;
    for (; *text; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static const char *cell_text(const Table *table, size_t index) {
    return index < table->cell_count && table->cells[index] ? table->cells[index] : "";
}

static void print_padded(FILE *stream, const char *text, int width, bool left) {
    int padding = width - text_width(text);
    fprintf(stream, " %*s%s%*s |", left ? 0 : padding, "", text, left ? padding : 0, "");
}

static void print_header(const Table *table, const int *widths, FILE *stream) {
    bool colours = terminal_colours(stream);
    fputs(colours ? "\033[1m|" : "|", stream);
    for (int c = 0; c < table->columns; c++) {
        print_padded(stream, table->names[c], widths[c], table->left[c]);
    }
    fputs(colours ? "\033[0m\n|" : "\n|", stream);
    for (int c = 0; c < table->columns; c++) {
        fputc(' ', stream);
        for (int i = 0; i < widths[c]; i++) {
            fputc(!table->left[c] && i == widths[c] - 1 ? ':' : '-', stream);
        }
        fputs(" |", stream);
    }
    fputc('\n', stream);
}

void table_print(const Table *table, FILE *stream) {
    if (!table->columns) {
        return;
    }
    int widths[TABLE_MAX_COLUMNS];
    for (int c = 0; c < table->columns; c++) {
        widths[c] = text_width(table->names[c]) > 3 ? text_width(table->names[c]) : 3;
    }
    for (size_t i = 0; i < table->cell_count; i++) {
        int width = text_width(cell_text(table, i)), c = (int)(i % (size_t)table->columns);
        widths[c] = width > widths[c] ? width : widths[c];
    }
    print_header(table, widths, stream);
    for (size_t i = 0; i < table->cell_count; i += (size_t)table->columns) {
        fputc('|', stream);
        for (int c = 0; c < table->columns; c++) {
            print_padded(stream, cell_text(table, i + (size_t)c), widths[c], table->left[c]);
        }
        fputc('\n', stream);
    }
}

void table_free(Table *table) {
    for (size_t i = 0; i < table->cell_count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    memset(table, 0, sizeof *table);
}

const char *table_number(char out[32], double value) {
    if (!isfinite(value) || value < 0) {
        return strcpy(out, "-");
    }
    int decimals = value >= 99.95 || value == 0 ? 0 : value >= 9.995 ? 1 : value >= 0.9995 ? 2 : 3;
    snprintf(out, 32, "%.*f", decimals, value);
    return out;
}

bool terminal_colours(FILE *stream) {
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(fileno(stream)) && !(no_color && *no_color) && terminal && strcmp(terminal, "dumb");
}

void terminal_progress(const char *format, ...) {
    if (!isatty(STDERR_FILENO)) {
        return;
    }
    fputs("\r\033[K", stderr);
    if (format) {
        va_list arguments;
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
    }
    fflush(stderr);
}
