// Reading .safetensors checkpoints: one file, an index, or a directory with model.safetensors, model.safetensors.index.json or
// shards (model-00001-of-00003.safetensors). Format: https://huggingface.co/docs/safetensors (8 bytes little-endian header length,
// JSON header, data).
//
// Nothing in a file is trusted: every size and offset is checked against the bytes that are there before it is used. What nobody
// asks for does not matter: a tensor of a dtype that is not known, a shard that is absent.
// With RUNTIME_SAFETENSORS=0 (aarch64 libraries, which carry no JSON parser) opening is an error that asks for a packed file.
#ifndef CATENA_SAFETENSORS_H
#define CATENA_SAFETENSORS_H

#include <stdbool.h>

#include "failure.h"

#ifndef RUNTIME_SAFETENSORS
#define RUNTIME_SAFETENSORS 1
#endif

enum { SAFETENSORS_MAX_RANK = 8, SAFETENSORS_DTYPE_BYTES = 24 };

// One tensor. Pointers live as long as the Safetensors it came from.
typedef struct SafetensorsEntry {
    const char *name;
    const char *file;  // for messages
    const char *also;  // another file that has a tensor of this name, where no index says which counts; otherwise NULL
    char dtype[SAFETENSORS_DTYPE_BYTES];  // as in the file: "F32", "BF16", "F16", "I64", ...; perhaps of no known size
    bool damaged;  // the header's row cannot be used: there is no data, perhaps no shape and no dtype
    int rank;
    int64_t shape[SAFETENSORS_MAX_RANK];
    const uint8_t *data;  // row-major; no alignment is promised
    int64_t bytes;
} SafetensorsEntry;

typedef struct Safetensors Safetensors;

// Opens and maps a checkpoint. The path is that of messages, without slashes at its end.
Status safetensors_open(const char *path, Safetensors **out, const Failure *failure);
// The same for one file's bytes in memory, which must outlive the result; `name` is used in messages.
Status safetensors_open_memory(const void *data, size_t size, const char *name, Safetensors **out, const Failure *failure);
void safetensors_close(Safetensors *tensors);

// A number that identifies this checkpoint, without reading its data: XXH64 over name, size, time of change (ns) and header of
// every file, and over the index; never 0. Where the checkpoint lies does not count.
uint64_t safetensors_fingerprint(const Safetensors *tensors);

// Whether a folder has what safetensors_open takes for a checkpoint, sound or not.
bool safetensors_recognise(const char *folder);
// Whether a folder has an index beside the one file of all tensors, which counts.
bool safetensors_disputed(const char *folder);

// A tensor that is read: one that is there, once, and whose data is in the file. Otherwise the failure says why, and what to do.
// use: what it is, "down of layer 'sparse.0'"; note: what is said after "is not in the checkpoint".
Status safetensors_need(const Safetensors *tensors, const char *name, const char *use, const char *note,
                        const SafetensorsEntry **entry, const Failure *failure);

// NULL if there is no such tensor. One that is there need not be readable (damaged, also).
const SafetensorsEntry *safetensors_find(const Safetensors *tensors, const char *name);
int64_t safetensors_count(const Safetensors *tensors);
// Entries in order of name.
const SafetensorsEntry *safetensors_entry(const Safetensors *tensors, int64_t index);

#endif
