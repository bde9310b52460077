// Inside of the reader of safetensors.
//     safetensors.c         a checkpoint's files and their tensors, found by name
//     safetensors_header.c  one file's header
//     safetensors_folder.c  which files a checkpoint has: a folder, an index, shards
//     safetensors_need.c    tensors that are asked for, and why one cannot be read
// The headers are read whole, but judged by what is asked for: a tensor that nobody reads may be of any dtype and lie anywhere, and
// a shard that nobody needs may be absent.
#ifndef CATENA_SAFETENSORS_PARTS_H
#define CATENA_SAFETENSORS_PARTS_H

#include "safetensors.h"

#if RUNTIME_SAFETENSORS
#include <jansson.h>

#include "file.h"

typedef struct Shard {
    Mapping mapping;  // empty when the bytes belong to the caller
    char *name;
    json_t *header;  // owns the entries' names
    const uint8_t *bytes;
    int64_t size, data_begin;
} Shard;

struct Safetensors {
    char *path;  // as it was opened, for messages
    Shard *shards;
    int64_t shard_count;
    SafetensorsEntry *entries;
    int64_t count;
    int64_t capacity;
    json_t *index;  // NULL: there is none
    const json_t *map;  // the index's weight map: {tensor: file, ...}
    char *unread;  // the first file that belongs to the checkpoint and could not be read; NULL: all could be
    uint64_t fingerprint;  // sum over index and shards: a JSON object has no order
};

// --- safetensors.c ---
// Reads one file's header and adds its tensors.
Status safetensors_add_file(Safetensors *tensors, const char *path, const Failure *failure);

// --- safetensors_header.c ---
// Parses the header of shard->bytes.
Status safetensors_header_parse(Shard *shard, const Failure *failure);
// One tensor of it. Whatever is returned, name, file and, as far as they could be read, dtype and shape are set.
Status safetensors_header_entry(const Shard *shard, const char *name, const json_t *value, SafetensorsEntry *entry,
                                const Failure *failure);

// --- safetensors_folder.c ---
// Adds the files of a folder, or of an index.
Status safetensors_add_folder(Safetensors *tensors, const char *path, const Failure *failure);
Status safetensors_add_index(Safetensors *tensors, const char *path, const Failure *failure);
// Where the index places a tensor, if it is the name of a file beside it; NULL otherwise.
const char *safetensors_place(const Safetensors *tensors, const char *tensor);
// The path of a file beside the index; to free(). NULL: out of memory.
char *safetensors_beside(const Safetensors *tensors, const char *name);
// Whether a path's name is that of one shard of several, "model-00001-of-00003.safetensors".
bool safetensors_is_shard(const char *path);

// A path's last part.
static inline const char *safetensors_base(const char *path) {
    const char *slash = __builtin_strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// What stands where something else should: "a number".
const char *safetensors_kind_of(const json_t *value);

#endif
#endif
