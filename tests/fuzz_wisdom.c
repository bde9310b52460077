// Fuzzes the reader of wisdom files: any bytes are entries, refused entries or diagnostics. Entries can be printed, united with
// themselves, and written so that they are read as the same.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/wisdom/parts.h"

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
    Wisdom again;
    check(text && wisdom_text_read(text, strlen(text), "again", &again, &diagnostics) == WISDOM_FINE && !diagnostics.count);
    check(!wisdom_entries_unite(again.entries, again.entries));
    char *united = wisdom_text_write(again.entries);
    check(!wisdom_entries_unite(again.entries, again.entries));
    char *twice = wisdom_text_write(again.entries);
    check(united && twice && !strcmp(united, twice));
    print(again.entries);
    free(text);
    free(united);
    free(twice);
    wisdom_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Diagnostics diagnostics = {0};
    Wisdom wisdom;
    WisdomState state = wisdom_text_read((const char *)data, size, "fuzz", &wisdom, &diagnostics);
    check((state == WISDOM_FINE) == (wisdom.entries != NULL));
    check((state == WISDOM_FINE && !json_object_size(wisdom.refused)) == !diagnostics.count);
    if (wisdom.entries) {
        use(wisdom.entries);
    }
    wisdom_clear(&wisdom);
    diagnostics_free(&diagnostics);
    return 0;
}
