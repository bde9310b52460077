// Fuzzes what reads packed weights: any bytes laid over the start of an image whose checksum is then made right, so that the
// fields are reached. The first byte chooses how many kinds the library has, and whether the checksum is made right.
#include <stdlib.h>
#include <string.h>

#include "runtime/packed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KINDS = 2, INSTANCE_BYTES = 4096, SEAL = 2 };

static void make_kinds(Kind kinds[KINDS]) {
    memset(kinds, 0, KINDS * sizeof *kinds);
    for (int k = 0; k < KINDS; k++) {
        strcpy(kinds[k].name, k ? "dense" : "sparse");
        kinds[k].count = 1 + k;
        kinds[k].plan.layer.hidden = 8;
        kinds[k].plan.layout.instance_bytes = INSTANCE_BYTES;
    }
}

// An accepted image holds every instance that the kinds promise.
static void check_instances(uint8_t *image, size_t size, const Kind *kinds, int64_t count) {
    for (int64_t k = 0; k < count; k++) {
        for (int64_t i = 0; i < kinds[k].count; i++) {
            const uint8_t *instance = packed_image_instance(image, k, i);
            if (instance < image || instance + INSTANCE_BYTES > image + size) {
                abort();
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) {
        return 0;
    }
    Kind kinds[KINDS];
    make_kinds(kinds);
    int64_t count = 1 + data[0] % KINDS;
    size_t total = (size_t)packed_image_bytes(kinds, count);
    uint8_t *image = aligned_alloc(PACKED_PAGE, total);
    if (!image) {
        return 0;
    }
    memset(image, 0, total);
    packed_image_begin(kinds, count, image);
    packed_image_finish(image);
    memcpy(image, data + 1, size - 1 < total ? size - 1 : total);
    PackedHeader *header = (PackedHeader *)(void *)image;
    if (data[0] & SEAL && header->header_bytes >= sizeof *header && header->header_bytes <= total) {
        packed_image_seal(image);
    }
    char error[256];
    Failure failure = {error, sizeof error};
    if (packed_image_validate(image, total, kinds, count, &failure) == LIBRARY_OK) {
        check_instances(image, total, kinds, count);
        packed_image_verify(image, kinds, count, &failure);
    }
    free(image);
    return 0;
}
