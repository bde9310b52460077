// A library is an ELF file; a description begins with a bracket, after white space and perhaps a byte order mark.
#include "input.h"

#include <string.h>

#include "compiler/description/read.h"

InputKind input_kind(const char *path, Diagnostics *diagnostics) {
    static const char elf[] = "\177ELF";
    char first[257] = "";
    FILE *file = fopen(path, "rb");
    size_t got = file ? fread(first, 1, sizeof first - 1, file) : 0;
    if (file) {
        fclose(file);
    }
    if (got >= strlen(elf) && !memcmp(first, elf, strlen(elf))) {
        return INPUT_LIBRARY;
    }
    size_t start = spec_mark_bytes(first, got);
    start += strspn(first + start, " \t\r\n");
    if (start >= got || first[start] == '{' || first[start] == '[') {
        return INPUT_DESCRIPTION;
    }
    diagnostics_add(diagnostics, path, 0, 0, "neither a description (JSON) nor a library");
    return INPUT_NEITHER;
}
