// Zip archives in memory, for tests and fuzzers of readers.
#ifndef CATENA_TEST_ARCHIVE_H
#define CATENA_TEST_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ArchiveEntry {
    const char *name;
    const void *data;
    size_t size;
    bool compressed;
} ArchiveEntry;

// To free().
uint8_t *archive_make(const ArchiveEntry *entries, int count, size_t *size);

#endif
