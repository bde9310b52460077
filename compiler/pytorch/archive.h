// The container of torch.save since PyTorch 1.6: a zip archive NAME/data.pkl, NAME/data/0, NAME/data/1, ..., NAME/byteorder, whose
// entries are stored, not compressed (https://docs.pytorch.org/docs/stable/notes/serialization.html). The only user of libzip.
//
// Nothing in an archive is trusted: no entry can be larger than the archive, and what is read has passed its checksum, where it has
// one (torch.serialization.set_crc32_options(False) writes 0).
#ifndef CATENA_TORCH_ARCHIVE_H
#define CATENA_TORCH_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>

#include "compiler/base/diagnostic.h"

typedef struct TorchArchive TorchArchive;

// `data` must outlive the archive; `file` is for messages. NULL with a diagnostic.
TorchArchive *torch_archive_open(const void *data, size_t size, const char *file, Diagnostics *diagnostics);
void torch_archive_close(TorchArchive *archive);

// Index and size in bytes of an entry such as "data/0"; -1 if there is none.
int64_t torch_archive_find(const TorchArchive *archive, const char *name, int64_t *bytes);

// Reads `bytes` bytes of an entry from `offset` on, which must be within it. The first time, the whole entry's checksum is
// compared. Returns 0, or -1 with a diagnostic.
int torch_archive_read(TorchArchive *archive, int64_t index, int64_t offset, void *out, int64_t bytes, Diagnostics *diagnostics);

#endif
