// Inside of the reader of safetensors.
//     safetensors.c         a checkpoint's files and their tensors, found by name
//     safetensors_header.c  one file's header
//     safetensors_folder.c  which files a checkpoint has: a folder, an index, shards
//     safetensors_shards.c  sets of shards by their files' names
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

// --- safetensors_shards.c ---
// "model-00002-of-00003.safetensors": stem "model-", number 2, total 3, rest "-of-00003.safetensors".
typedef struct ShardName {
    char *name;
    size_t stem, digits;
    long number, total;
} ShardName;

// What a folder has: names of shards, sorted by set and number; and one of a file of weights in another format, or of no usual
// name.
typedef struct Folder {
    ShardName *shards;
    size_t count, room;
    char *other;
} Folder;
// A folder that cannot be listed has none: an index may still name files that can be read. A failure leaves nothing to free.
Status safetensors_folder_read(Folder *folder, const char *path, const Failure *failure);
void safetensors_folder_free(Folder *folder);
// The number of shards in the set that begins at `first`.
size_t safetensors_set_size(const Folder *folder, size_t first);
// The set that is meant where there is no index: the only one, or the only one whose names begin with "model-". Its size; 0: there
// are several.
size_t safetensors_set_choose(const Folder *folder, size_t *first);
// What follows a shard's number in its name.
const char *safetensors_shard_rest(const ShardName *shard);
// Whether a path's name is that of one shard of several.
bool safetensors_is_shard(const char *path);

// --- safetensors_parts.h ---
// A path's last part.
static inline const char *safetensors_base(const char *path) {
    const char *slash = __builtin_strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static inline bool safetensors_ends_with(const char *text, const char *end) {
    size_t length = __builtin_strlen(text), tail = __builtin_strlen(end);
    return length >= tail && !__builtin_strcmp(text + length - tail, end);
}

// What stands where something else should: "a number".
const char *safetensors_kind_of(const json_t *value);

#endif
#endif
