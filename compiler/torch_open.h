// An open checkpoint, for torch_checkpoint.c and torch_data.c alone.
#ifndef CATENA_TORCH_OPEN_H
#define CATENA_TORCH_OPEN_H

#include "../runtime/file.h"
#include "torch_archive.h"
#include "torch_checkpoint.h"

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
