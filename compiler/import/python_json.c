// Python writes and reads more than JSON: NaN, Infinity and -Infinity, integers of any length, surrogates without their other half,
// and characters of code 0 in C's texts. jansson refuses all of these. Where it does, they are replaced: numbers by texts that say
// the same, which a setting refuses as any other text, and characters by U+FFFD. Of an object's members of one name both keep the
// last.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "read.h"

enum { ESCAPE_BYTES = 6 };  // \uXXXX

// The code of an escape \uXXXX at `text`, or -1.
static long escape_at(const char *text, const char *end) {
    char digits[5] = "";
    if (end - text < ESCAPE_BYTES || text[0] != '\\' || text[1] != 'u') {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        if (!isxdigit((unsigned char)text[2 + i])) {
            return -1;
        }
        digits[i] = text[2 + i];
    }
    return strtol(digits, NULL, 16);
}

static bool is_high(long code) {
    return code >= 0xd800 && code < 0xdc00;
}

static bool is_low(long code) {
    return code >= 0xdc00 && code < 0xe000;
}

// Copies a string with its quotes; `text` is its first quote. Returns the character after it.
static const char *copy_string(const char *text, const char *end, FILE *out) {
    fputc(*text++, out);
    while (text < end && *text != '"') {
        long code = escape_at(text, end);
        if (is_high(code) && is_low(escape_at(text + ESCAPE_BYTES, end))) {
            fwrite(text, 1, 2 * ESCAPE_BYTES, out);
            text += 2 * ESCAPE_BYTES;
        } else if (is_high(code) || is_low(code) || code == 0) {
            fputs("\\ufffd", out);
            text += ESCAPE_BYTES;
        } else {
            size_t length = *text == '\\' && text + 1 < end ? 2 : 1;
            fwrite(text, 1, length, out);
            text += length;
        }
    }
    if (text < end) {
        fputc(*text++, out);
    }
    return text;
}

// Whether a word is a number that Python reads and jansson does not.
static bool is_pythons(const char *word) {
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!strcmp(word, words[i])) {
            return true;
        }
    }
    json_error_t error;
    json_t *read = json_loads(word, JSON_DECODE_ANY, &error);
    bool overflow = !read && json_error_code(&error) == json_error_numeric_overflow;
    json_decref(read);
    return overflow;
}

static const char *copy_word(const char *text, const char *end, FILE *out) {
    const char *start = text;
    while (text < end && (isalnum((unsigned char)*text) || strchr("+-.", *text))) {
        text++;
    }
    char *word = strndup(start, (size_t)(text - start));
    fprintf(out, word && is_pythons(word) ? "\"%.*s\"" : "%.*s", (int)(text - start), start);
    free(word);
    return text;
}

static char *replace(const char *text, const char *end, size_t *size) {
    char *result = NULL;
    FILE *out = open_memstream(&result, size);
    while (out && text < end) {
        if (*text == '"') {
            text = copy_string(text, end, out);
        } else if (isalnum((unsigned char)*text) || *text == '-') {
            text = copy_word(text, end, out);
        } else {
            fputc(*text++, out);
        }
    }
    if (!out || fclose(out)) {
        free(result);
        return NULL;
    }
    return result;
}

json_t *import_python_json(const char *text, size_t bytes, json_error_t *error) {
    json_t *root = json_loadb(text, bytes, 0, error);
    if (root) {
        return root;
    }
    size_t size = 0;
    char *replaced = replace(text, text + bytes, &size);
    root = replaced ? json_loadb(replaced, size, 0, error) : NULL;
    free(replaced);
    return root;
}
