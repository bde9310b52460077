#include "archive.h"

#include <stdlib.h>
#include <zip.h>

static void check(bool good) {
    if (!good) {
        abort();
    }
}

uint8_t *archive_make(const ArchiveEntry *entries, int count, size_t *size) {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *memory = zip_source_buffer_create(NULL, 0, 0, &error);
    check(memory);
    zip_source_keep(memory);  // the archive's bytes outlive it
    zip_t *zip = zip_open_from_source(memory, ZIP_CREATE | ZIP_TRUNCATE, &error);
    check(zip);
    for (int i = 0; i < count; i++) {
        zip_source_t *content = zip_source_buffer(zip, entries[i].data, entries[i].size, 0);
        zip_int64_t index = zip_file_add(zip, entries[i].name, content, ZIP_FL_ENC_UTF_8);
        check(index >= 0);
        check(!zip_set_file_compression(zip, (zip_uint64_t)index, entries[i].compressed ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0));
    }
    check(!zip_close(zip));
    zip_stat_t facts;
    check(!zip_source_stat(memory, &facts) && !zip_source_open(memory));
    uint8_t *bytes = malloc((size_t)facts.size + 1);
    check(bytes && zip_source_read(memory, bytes, facts.size) == (zip_int64_t)facts.size);
    zip_source_close(memory);
    zip_source_free(memory);
    *size = (size_t)facts.size;
    return bytes;
}
