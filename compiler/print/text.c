// Lines, quoted texts and numbers of a Python program.
#include "text.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void torch_line(const Torch *torch, int level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (*format) {
        fprintf(torch->stream, "%*s", 4 * level, "");
    }
    vfprintf(torch->stream, format, arguments);
    va_end(arguments);
    fputc('\n', torch->stream);
}

// Bytes beyond ASCII stay as they are in UTF-8, which Python's sources have to be in.
void torch_escaped(const Torch *torch, const char *text) {
    json_t *utf8 = json_string(text);
    for (const char *c = text; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte < 0x20 || byte == 0x7f || (byte > 0x7f && !utf8) || *c == '"' || *c == '\'' || *c == '\\') {
            fprintf(torch->stream, "\\x%02x", byte);
        } else {
            fputc(*c, torch->stream);
        }
    }
    json_decref(utf8);
}

const char *torch_number(char text[32], float value) {
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, 32, "%.*g", digits, (double)value);
        bool plain = fabsf(value) >= 1e-4f && fabsf(value) < 1e6f;  // no exponent where people write none
        if (strtof(text, NULL) == value && !(plain && strchr(text, 'e'))) {
            break;
        }
    }
    return text;
}
