// Fuzzes the reader of PyTorch checkpoints. What begins as a zip archive is taken as a whole file; anything else as the data.pkl of
// one whose storages "0" to "3" have 48 bytes. Whatever is accepted must be readable to the last byte, or refused.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "archive.h"
#include "compiler/pytorch/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STORAGES = 4, STORAGE_BYTES = 48 };

static void read_tensors(TorchCheckpoint *checkpoint, size_t size, Diagnostics *diagnostics) {
    for (int64_t i = 0; i < torch_checkpoint_count(checkpoint); i++) {
        const TorchTensor *tensor = torch_checkpoint_tensor(checkpoint, i);
        if (torch_checkpoint_find(checkpoint, tensor->name) != tensor) {
            abort();
        }
        if (tensor->bytes <= (int64_t)size) {
            uint8_t *bytes = malloc((size_t)tensor->bytes);
            torch_checkpoint_read(checkpoint, tensor, bytes, diagnostics);
            free(bytes);
        } else if (!torch_checkpoint_read(checkpoint, tensor, NULL, diagnostics)) {
            abort();
        }
    }
}

static void read_checkpoint(const uint8_t *data, size_t size) {
    Diagnostics diagnostics = {0};
    TorchCheckpoint *checkpoint = torch_checkpoint_open_memory(data, size, "fuzz", &diagnostics);
    if (!checkpoint && !diagnostics.count) {
        abort();
    }
    if (checkpoint) {
        read_tensors(checkpoint, size, &diagnostics);
        torch_checkpoint_close(checkpoint);
    }
    diagnostics_free(&diagnostics);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size >= 2 && !memcmp(data, "PK", 2)) {
        read_checkpoint(data, size);
        return 0;
    }
    static const uint8_t storage[STORAGE_BYTES];
    static const char *const names[STORAGES] = {"x/data/0", "x/data/1", "x/data/2", "x/data/3"};
    ArchiveEntry entries[1 + STORAGES] = {{"x/data.pkl", data, size, false}};
    for (int i = 0; i < STORAGES; i++) {
        entries[1 + i] = (ArchiveEntry){names[i], storage, STORAGE_BYTES, false};
    }
    size_t archive_size;
    uint8_t *archive = archive_make(entries, 1 + STORAGES, &archive_size);
    read_checkpoint(archive, archive_size);
    free(archive);
    return 0;
}
