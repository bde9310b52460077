// An open checkpoint, for checkpoint.c and data.c alone.
#ifndef CATENA_TORCH_OPEN_H
#define CATENA_TORCH_OPEN_H

#include "archive.h"
#include "checkpoint.h"
#include "runtime/file.h"

struct TorchCheckpoint {
    char *path;
    Mapping mapping;
    bool owned;
    TorchArchive *archive;
    Pickle *pickle;
    TorchTensor *tensors;
    int64_t count;
    json_t *arguments;
};

#endif
