// Fuzzes the reader of wisdom files: any bytes are either entries or diagnostics. Entries can be printed, united with themselves,
// and written so that they are read as the same.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/wisdom_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good) {
    if (!good) {
        abort();
    }
}

static void print(const json_t *entries) {
    char *text = NULL;
    size_t length = 0;
    const char *id;
    json_t *entry;
    FILE *stream = open_memstream(&text, &length);
    check(stream != NULL);
    wisdom_print_list(entries, stream);
    json_object_foreach((json_t *)entries, id, entry) {
        wisdom_print_entry(id, entry, stream);
        check(!wisdom_print_difference("one", entry, "two", entry, stream));
        json_decref(wisdom_print_document(id, entry, true));
    }
    fclose(stream);
    for (const char *c = text; *c; c++) {
        check(*c == '\n' || (unsigned char)*c >= ' ');  // nothing that a terminal obeys
    }
    free(text);
}

static void use(json_t *entries) {
    Diagnostics diagnostics = {0};
    char *text = wisdom_text_write(entries);
    json_t *again;
    check(text && wisdom_text_read(text, strlen(text), "again", &again, &diagnostics) == WISDOM_FINE);
    check(!wisdom_entries_unite(again, again));
    char *united = wisdom_text_write(again);
    check(!wisdom_entries_unite(again, again));
    char *twice = wisdom_text_write(again);
    check(united && twice && !strcmp(united, twice));
    print(again);
    free(text);
    free(united);
    free(twice);
    json_decref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Diagnostics diagnostics = {0};
    json_t *entries;
    WisdomState state = wisdom_text_read((const char *)data, size, "fuzz", &entries, &diagnostics);
    check((state == WISDOM_FINE) == (entries != NULL) && (state == WISDOM_FINE) == !diagnostics.count);
    if (entries) {
        use(entries);
    }
    json_decref(entries);
    diagnostics_free(&diagnostics);
    return 0;
}
