// The tensors in a pickle of torch.save: calls of torch's _rebuild functions on storages, which are persistent references.
#ifndef CATENA_TORCH_TENSOR_H
#define CATENA_TORCH_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "pickle.h"

enum { TORCH_MAX_RANK = 8, TORCH_DTYPE_BYTES = 8, TORCH_KEY_BYTES = 64 };

typedef struct TorchTensor {
    char *name;
    char dtype[TORCH_DTYPE_BYTES];  // as safetensors has it: "F32", "BF16", "F16", "I64", ...
    int rank;
    int64_t shape[TORCH_MAX_RANK];
    int64_t strides[TORCH_MAX_RANK];  // in elements
    int64_t bytes;                    // of all elements: their number times element_bytes
    bool contiguous;                  // row-major without gaps
    int element_bytes;
    int64_t offset;      // of the first element in its storage, in elements
    int64_t span;        // elements from the first to the last in the storage, both included; 0 if there are none
    int64_t entry;       // the storage in the archive
    int64_t entry_bytes;
} TorchTensor;

// Whether a value is a tensor (or parameter) that is stored as plain numbers of a dtype that safetensors has. Others are opaque.
bool torch_tensor_is(const PickleValue *value);

// Everything but name, entry and entry_bytes; the archive's entry is "data/" and `key`, and must have *storage_bytes. Returns NULL,
// or what is wrong with the value.
const char *torch_tensor_parse(const PickleValue *value, TorchTensor *tensor, char key[TORCH_KEY_BYTES], int64_t *storage_bytes);

#endif
