// Which files a checkpoint is made of: those that an index names, and the rest of their set; or, without an index, one file or a
// set of shards, "model-00001-of-00003.safetensors". A file that is absent or cannot be read matters to those who need a tensor of
// it.
#define _GNU_SOURCE 1
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "safetensors_parts.h"

#if RUNTIME_SAFETENSORS
#define XXH_INLINE_ALL
#include <xxhash.h>

static const char single_name[] = "model.safetensors", index_name[] = "model.safetensors.index.json";

static Status out_of_memory(const Failure *failure) {
    return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
}

static char *join(const char *folder, const char *name) {
    char *path = NULL;
    return asprintf(&path, "%.*s/%s", file_folder_length(folder), folder, name) < 0 ? NULL : path;
}

static bool exists(const char *path) {
    struct stat facts;
    return !stat(path, &facts);
}

// Adds a file of several. One that cannot be read is noted; only a lack of memory is a failure.
static Status add_one(Safetensors *tensors, char *path, const Failure *failure) {
    if (!path) {
        return out_of_memory(failure);
    }
    Status status = safetensors_add_file(tensors, path, NULL);
    if (status == LIBRARY_OUT_OF_MEMORY) {
        free(path);
        return out_of_memory(failure);
    }
    if (status != LIBRARY_OK && !tensors->unread) {
        tensors->unread = path;
    } else {
        free(path);
    }
    return LIBRARY_OK;
}

// Once all were tried: some must have been read.
static Status check_read(Safetensors *tensors, const char *path, const Failure *failure) {
    char reason[512] = "it names none";
    const SafetensorsEntry *entry;
    const char *tensor = json_object_iter_key(json_object_iter((json_t *)tensors->map));
    if (tensors->shard_count) {
        return LIBRARY_OK;
    }
    if (tensors->unread) {
        safetensors_add_file(tensors, tensors->unread, &(Failure){reason, sizeof reason});
    } else if (tensor) {
        return safetensors_need(tensors, tensor, "the index's first", "", &entry, failure);
    }
    return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: none of its files can be read: %s", path, reason);
}

// --- sets of shards ----------------------------------------------------------------------------------------------------------

// Notes the first shard of a set that is not there. They are counted from 1, or from 0.
static Status note_absent(Safetensors *tensors, const char *path, const ShardName *shards, size_t count, const Failure *failure) {
    long next = 1, last = shards[0].total - (shards[0].number ? 0 : 1);
    for (size_t i = 0; i < count && shards[i].number <= next; i++) {
        next = shards[i].number + 1;
    }
    if (next > last || tensors->unread) {
        return LIBRARY_OK;
    }
    if (asprintf(&tensors->unread, "%.*s/%.*s%0*ld%s", file_folder_length(path), path, (int)shards[0].stem, shards[0].name,
                 (int)shards[0].digits, next, safetensors_shard_rest(&shards[0])) < 0) {
        tensors->unread = NULL;
        return out_of_memory(failure);
    }
    return LIBRARY_OK;
}

static Status add_set(Safetensors *tensors, const char *path, const ShardName *shards, size_t count, const Failure *failure) {
    Status status = LIBRARY_OK;
    for (size_t i = 0; i < count && status == LIBRARY_OK; i++) {
        status = add_one(tensors, join(path, shards[i].name), failure);
    }
    if (status == LIBRARY_OK) {
        status = check_read(tensors, path, failure);
    }
    return status == LIBRARY_OK ? note_absent(tensors, path, shards, count, failure) : status;
}

// --- the index ---------------------------------------------------------------------------------------------------------------

// A shard's name in an index must be a plain file name: an index must not make us read outside its directory.
static bool plain_name(const char *name) {
    return *name && *name != '.' && !strchr(name, '/');
}

const char *safetensors_place(const Safetensors *tensors, const char *tensor) {
    const char *place = json_string_value(json_object_get(tensors->map, tensor));
    return place && plain_name(place) ? place : NULL;
}

// Of what was opened: a folder itself, or the folder of an index.
static char *folder_of(const Safetensors *tensors) {
    struct stat facts;
    const char *slash = strrchr(tensors->path, '/');
    if (!stat(tensors->path, &facts) && S_ISDIR(facts.st_mode)) {
        return strdup(tensors->path);
    }
    return slash ? strndup(tensors->path, slash == tensors->path ? 1 : (size_t)(slash - tensors->path)) : strdup(".");
}

char *safetensors_beside(const Safetensors *tensors, const char *name) {
    char *folder = folder_of(tensors), *path = folder ? join(folder, name) : NULL;
    free(folder);
    return path;
}

static Status read_index(Safetensors *tensors, const char *path, const Failure *failure) {
    static const char advice[] = "without the index the shards are found by their headers, so remove it, or download it again";
    Mapping mapping;
    Status status = file_map(path, &mapping, failure);
    if (status != LIBRARY_OK) {
        return status;
    }
    json_error_t error;
    tensors->fingerprint += mapping.data ? XXH64(mapping.data, mapping.size, 0) : 0;
    tensors->index = json_loadb(mapping.data ? mapping.data : "", mapping.size, JSON_REJECT_DUPLICATES, &error);
    mapping_free(&mapping);
    if (!tensors->index) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s:%d:%d: %s; %s", path, error.line, error.column, error.text, advice);
    }
    tensors->map = json_object_get(tensors->index, "weight_map");
    if (!json_is_object(tensors->map)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: no object \"weight_map\"; %s", path, advice);
    }
    return LIBRARY_OK;
}

// Opens each file that the weight map names, once.
static Status add_mapped(Safetensors *tensors, json_t *seen, const Failure *failure) {
    const char *tensor;
    json_t *value;
    Status status = LIBRARY_OK;
    json_object_foreach((json_t *)tensors->map, tensor, value) {
        const char *place = safetensors_place(tensors, tensor);
        if (status == LIBRARY_OK && place && !json_object_get(seen, place)) {
            status = json_object_set_new(seen, place, json_true()) ? out_of_memory(failure)
                                                                   : add_one(tensors, safetensors_beside(tensors, place), failure);
        }
    }
    return status;
}

// Opens the other files of their sets: an index may have been made of some of the shards.
static Status add_unmapped(Safetensors *tensors, const json_t *seen, const Failure *failure) {
    Folder folder = {0};
    char *path = folder_of(tensors);
    Status status = path ? safetensors_folder_read(&folder, path, failure) : out_of_memory(failure);
    for (size_t i = 0, size; status == LIBRARY_OK && i < folder.count; i += size) {
        bool named = false;
        size = safetensors_set_size(&folder, i);
        for (size_t s = i; s < i + size; s++) {
            named = named || json_object_get(seen, folder.shards[s].name);
        }
        for (size_t s = i; named && status == LIBRARY_OK && s < i + size; s++) {
            if (!json_object_get(seen, folder.shards[s].name)) {
                status = add_one(tensors, join(path, folder.shards[s].name), failure);
            }
        }
    }
    safetensors_folder_free(&folder);
    free(path);
    return status;
}

static Status add_index(Safetensors *tensors, const char *path, const Failure *failure) {
    Status status = read_index(tensors, path, failure);
    json_t *seen = json_object();
    if (status == LIBRARY_OK) {
        status = seen ? add_mapped(tensors, seen, failure) : out_of_memory(failure);
    }
    if (status == LIBRARY_OK) {
        status = add_unmapped(tensors, seen, failure);
    }
    json_decref(seen);
    return status;
}

Status safetensors_add_index(Safetensors *tensors, const char *path, const Failure *failure) {
    Status status = add_index(tensors, path, failure);
    return status == LIBRARY_OK ? check_read(tensors, path, failure) : status;
}

// --- the folder --------------------------------------------------------------------------------------------------------------

static Status refuse_folder(const char *path, const Folder *folder, const Failure *failure) {
    if (folder->count) {
        const ShardName *first = &folder->shards[0], *other = &folder->shards[safetensors_set_size(folder, 0)];
        return failure_set(
            failure, LIBRARY_IO_ERROR,
            "'%s' holds several sets of shards, such as those of '%s' and '%s', and no %s says which is meant: remove "
            "one, or name an index",
            path, first->name, other->name, index_name);
    }
    bool safe = folder->other && safetensors_ends_with(folder->other, ".safetensors");
    return failure_set(failure, LIBRARY_IO_ERROR, "'%s' holds neither %s nor %s nor shards of one%s%s%s%s", path, single_name,
                       index_name, folder->other ? "; it has '" : "", folder->other ? folder->other : "", folder->other ? "'" : "",
                       !folder->other ? ""
                       : safe         ? ": to use it, name the file itself"
                                      : ", which is not safetensors: save the model as safetensors first");
}

static Status add_shards(Safetensors *tensors, const char *path, const Failure *failure) {
    Folder folder;
    size_t first = 0;
    Status status = safetensors_folder_read(&folder, path, failure);
    if (status != LIBRARY_OK) {
        return status;
    }
    size_t size = folder.count ? safetensors_set_choose(&folder, &first) : 0;
    status = size ? add_set(tensors, path, folder.shards + first, size, failure) : refuse_folder(path, &folder, failure);
    safetensors_folder_free(&folder);
    return status;
}

bool safetensors_recognise(const char *folder) {
    char *index = join(folder, index_name), *single = join(folder, single_name);
    Folder found;
    bool there = (index && exists(index)) || (single && exists(single));
    if (!there && safetensors_folder_read(&found, folder, NULL) == LIBRARY_OK) {
        there = found.count;
        safetensors_folder_free(&found);
    }
    free(index);
    free(single);
    return there;
}

bool safetensors_disputed(const char *folder) {
    char *index = join(folder, index_name), *single = join(folder, single_name);
    bool both = index && single && exists(index) && exists(single);
    free(index);
    free(single);
    return both;
}

// One file of all tensors counts more than an index: so in transformers.
Status safetensors_add_folder(Safetensors *tensors, const char *path, const Failure *failure) {
    char *index = join(path, index_name), *single = join(path, single_name);
    Status status = index && single ? LIBRARY_OK : out_of_memory(failure);
    if (status == LIBRARY_OK && exists(single)) {
        status = safetensors_add_file(tensors, single, failure);
    } else if (status == LIBRARY_OK && exists(index)) {
        status = safetensors_add_index(tensors, index, failure);
    } else if (status == LIBRARY_OK) {
        status = add_shards(tensors, path, failure);
    }
    free(index);
    free(single);
    return status;
}

#endif
