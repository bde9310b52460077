// Fuzzes the safetensors reader. The first byte chooses:
//   even: the rest is a whole file;      odd: the rest is a JSON header; length and data (zeros) are put around it.
#include <stdlib.h>
#include <string.h>

#include "runtime/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DATA_BYTES = 64 };

static void read_safetensors(const uint8_t *bytes, size_t size) {
    char error[256];
    Failure failure = {error, sizeof error};
    Safetensors *tensors = NULL;
    if (safetensors_open_memory(bytes, size, "fuzz", &tensors, &failure) != LIBRARY_OK) {
        return;
    }
    for (int64_t i = 0; i < safetensors_count(tensors); i++) {  // every byte that is promised must be there
        const SafetensorsEntry *entry = safetensors_entry(tensors, i);
        unsigned sum = 0;
        for (int64_t b = 0; b < entry->bytes; b++) {
            sum += entry->data[b];
        }
        const SafetensorsEntry *needed = NULL;
        Status status = safetensors_need(tensors, entry->name, "use", "", &needed, &failure);
        if (safetensors_find(tensors, entry->name) != entry || needed != entry || sum > 255u * (unsigned)entry->bytes ||
            (status == LIBRARY_OK) == (entry->damaged || entry->also)) {
            abort();
        }
    }
    safetensors_close(tensors);
}

static void read_header(const uint8_t *header, size_t size) {
    uint64_t length = size;
    uint8_t *file = calloc(1, sizeof length + size + DATA_BYTES);
    if (file) {
        memcpy(file, &length, sizeof length);
        memcpy(file + sizeof length, header, size);
        for (size_t extra = 0; extra <= DATA_BYTES; extra += 8) {
            read_safetensors(file, sizeof length + size + extra);
        }
    }
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) {
        return 0;
    }
    (data[0] % 2 ? read_header : read_safetensors)(data + 1, size - 1);
    return 0;
}
