// Checkpoints that tests make in memory, tensor by tensor.
#ifndef CATENA_TEST_STORE_H
#define CATENA_TEST_STORE_H

#include <stdio.h>

#include "runtime/weights.h"

enum { STORE_ROWS = ROWS_ODD + 1 };  // values of TensorRows that every tensor may have

typedef struct Store {
    FILE *header, *data;
    char *header_text, *data_bytes;
    size_t header_size, data_size;
    uint8_t *file;
    Safetensors *tensors;
} Store;

void store_begin(Store *store);
// Announces a tensor; its elements follow, in store->data.
void store_tensor(Store *store, const char *name, const char *dtype, const int64_t *shape, int rank);
void store_number(Store *store, const char *dtype, float value);
// Bytes of an element: "F32", "F16", "BF16", "U8", "F64", "F8_...".
int64_t store_bytes_of(const char *dtype);
const Safetensors *store_open(Store *store);
void store_free(Store *store);

// A kind named "moe", one instance, whose layer has every tensor: 3 experts, 4 choices, 2 shared experts of the same width, 3
// iterations with a gate each. It names no tensors.
Kind store_kind(int64_t hidden, int64_t intermediate, Format format);

#endif
