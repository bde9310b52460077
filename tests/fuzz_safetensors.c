// Fuzzes what reads foreign weights: the safetensors reader and the check of packed headers. The first byte chooses:
//   0: the rest is a whole file;                       1: the rest is a JSON header; length and data (zeros) are put around it;
//   2: the rest is laid over the start of a packed image, whose checksum is then made right, so that the fields are reached.
#include <stdlib.h>
#include <string.h>

// Part of the program here, so that the list of sources in tests.mk need not know that this fuzzer has two subjects.
#include "../runtime/packed_image.c"
#include "../runtime/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DATA_BYTES = 64, INSTANCE_BYTES = 4096 };

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
        if (safetensors_find(tensors, entry->name) != entry || sum > 255u * (unsigned)entry->bytes) {
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

static void read_packed(const uint8_t *bytes, size_t size) {
    Kind kind;
    memset(&kind, 0, sizeof kind);
    kind.count = 1;
    kind.plan.layer.hidden = 8;
    kind.plan.instance_bytes = INSTANCE_BYTES;
    size_t total = (size_t)packed_image_bytes(&kind, 1);
    uint8_t *image = aligned_alloc(PACKED_PAGE, total);
    if (!image) {
        return;
    }
    memset(image, 0, total);
    packed_image_begin(&kind, 1, image);
    packed_image_finish(image);
    memcpy(image, bytes, size < total ? size : total);
    PackedHeader *header = (PackedHeader *)(void *)image;
    if (header->header_bytes >= sizeof *header && header->header_bytes <= total) {
        packed_image_seal(image);
    }
    char error[256];
    Failure failure = {error, sizeof error};
    if (packed_image_validate(image, total, &kind, 1, &failure) == LIBRARY_OK) {
        packed_image_verify(image, &failure);
    }
    free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) {
        return 0;
    }
    switch (data[0]) {
    case 0: read_safetensors(data + 1, size - 1); break;
    case 1: read_header(data + 1, size - 1); break;
    default: read_packed(data + 1, size - 1); break;
    }
    return 0;
}
