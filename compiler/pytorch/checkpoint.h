// PyTorch checkpoints, as torch.save writes them since 1.6: a zip archive (archive.h) with a pickle (pickle.h) of a dict, in
// which tensors (tensor.h) refer to the archive's other entries. Nothing in them is executed and nothing is trusted; memory
// is proportional to the file's size.
#ifndef CATENA_TORCH_CHECKPOINT_H
#define CATENA_TORCH_CHECKPOINT_H

#include <jansson.h>

#include "compiler/base/diagnostic.h"
#include "tensor.h"

typedef struct TorchCheckpoint TorchCheckpoint;

// NULL with diagnostics: not such a file, or something in its tensors is wrong. Another process must not truncate it meanwhile.
TorchCheckpoint *torch_checkpoint_open(const char *path, Diagnostics *diagnostics);
// The same for bytes in memory, which must outlive the result; `name` is used in messages.
TorchCheckpoint *torch_checkpoint_open_memory(const void *data, size_t size, const char *name, Diagnostics *diagnostics);
void torch_checkpoint_close(TorchCheckpoint *checkpoint);

// What was saved.
const PickleValue *torch_checkpoint_root(const TorchCheckpoint *checkpoint);

// The tensors of the dict under "model", or else under "state_dict", or else of the root, in order of name: keys of nested dicts
// are joined by '.'; integers among them are written as decimals. What is no tensor of a dtype that safetensors has is left out.
int64_t torch_checkpoint_count(const TorchCheckpoint *checkpoint);
const TorchTensor *torch_checkpoint_tensor(const TorchCheckpoint *checkpoint, int64_t index);
// NULL if there is none.
const TorchTensor *torch_checkpoint_find(const TorchCheckpoint *checkpoint, const char *name);

// Gives a tensor another shape with as many elements, as view() does in PyTorch; false if it has no such view.
bool torch_checkpoint_view(TorchCheckpoint *checkpoint, int64_t index, int rank, const int64_t *shape);

// The namespace (or dict) under "args": its integers of 64 bits, finite floats, booleans, texts, None and lists and tuples of such;
// a global such as torch.bfloat16 is its name. NULL if there is none. Owned by the checkpoint.
const json_t *torch_checkpoint_arguments(const TorchCheckpoint *checkpoint);

// Writes a tensor's elements, row-major, to `out`, which has tensor->bytes. A tensor larger than its storage (an expanded one) is
// refused. Returns 0, or -1 with a diagnostic.
int torch_checkpoint_read(TorchCheckpoint *checkpoint, const TorchTensor *tensor, void *out, Diagnostics *diagnostics);

// Says which tensors are wanted.
typedef bool TorchSelector(const char *name, void *context);

// Writes the tensors that `wanted` chooses (NULL: all) as a safetensors file, completely or not at all, one in memory at a time.
int torch_checkpoint_write_safetensors(TorchCheckpoint *checkpoint, TorchSelector *wanted, void *context, const char *path,
                                       Diagnostics *diagnostics);

#endif
