// Fuzzes the reader of .npy files: any bytes are either an array, all of whose elements are there, or a diagnostic.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "compiler/base/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_array(const Npy *array, size_t size) {
    int64_t elements = npy_elements(array);
    const uint32_t *values = array->data;
    uint32_t all = 0;
    if (array->dimensions < 1 || array->dimensions > NPY_MAX_DIMENSIONS || elements < 0 || (size_t)elements > size / sizeof all) {
        abort();
    }
    for (int64_t i = 0; i < elements; i++) {
        all |= values[i];
    }
    if (all && !elements) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    int file = memfd_create("fuzz", MFD_CLOEXEC);
    if (file < 0 || write(file, data, size) != (ssize_t)size) {
        abort();
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    Diagnostics diagnostics = {0};
    Npy array;
    if (!npy_read(path, &array, &diagnostics)) {
        check_array(&array, size);
        npy_free(&array);
    } else if (array.data || !diagnostics.count) {
        abort();
    }
    diagnostics_free(&diagnostics);
    close(file);
    return 0;
}
