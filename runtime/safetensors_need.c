// A tensor that is asked for, and why one cannot be read: texts are made here, once they are needed. See safetensors_parts.h.
#define _GNU_SOURCE 1
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "safetensors_parts.h"

#if RUNTIME_SAFETENSORS

enum { REASON_BYTES = 512 };

// Says again what was found when the header was read.
static Status refuse_damaged(const Safetensors *tensors, const SafetensorsEntry *entry, const Failure *failure) {
    for (int64_t i = 0; i < tensors->shard_count; i++) {
        const Shard *shard = &tensors->shards[i];
        if (shard->name == entry->file) {
            SafetensorsEntry again;
            return safetensors_header_entry(shard, entry->name, json_object_get(shard->header, entry->name), &again, failure);
        }
    }
    return LIBRARY_BAD_WEIGHTS;
}

static bool is_read(const Safetensors *tensors, const char *place) {
    for (int64_t i = 0; i < tensors->shard_count; i++) {
        if (!strcmp(safetensors_base(tensors->shards[i].name), place)) {
            return true;
        }
    }
    return false;
}

// Why a file cannot be read: it is tried again.
static void explain_file(const char *path, char reason[REASON_BYTES]) {
    Safetensors *again = NULL;
    memcpy(reason, "it can be read now", sizeof "it can be read now");
    safetensors_open(path, &again, &(Failure){reason, REASON_BYTES});
    safetensors_close(again);
}

// A tensor that the index has but no file.
static Status refuse_placed(const Safetensors *tensors, const char *name, const char *use, const json_t *value,
                            const Failure *failure) {
    const char *place = safetensors_place(tensors, name);
    char reason[REASON_BYTES];
    if (!json_is_string(value)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                           "%s: tensor '%s' (%s): \"weight_map\" must hold the name of a file in the same directory, found %s",
                           tensors->path, name, use, safetensors_kind_of(value));
    }
    if (!place) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                           "%s: tensor '%s' (%s): the index places it in '%.100s', which is not a file name in the same directory; "
                           "others are not read",
                           tensors->path, name, use, json_string_value(value));
    }
    if (is_read(tensors, place)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' (%s) is not in '%s', where the index places it",
                           tensors->path, name, use, place);
    }
    char *path = safetensors_beside(tensors, place);
    if (!path) {
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    }
    bool absent = access(path, F_OK);
    if (absent) {
        failure_set(failure, LIBRARY_BAD_WEIGHTS,
                    "%s: tensor '%s' (%s) is in '%s' by the index, but that file is not there: download it into the same folder",
                    tensors->path, name, use, place);
    } else {
        explain_file(path, reason);
        failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' (%s) is in '%s' by the index, which cannot be read: %s",
                    tensors->path, name, use, place, reason);
    }
    free(path);
    return LIBRARY_BAD_WEIGHTS;
}

static Status refuse_absent(const Safetensors *tensors, const char *name, const char *use, const char *note,
                            const Failure *failure) {
    char reason[REASON_BYTES];
    if (tensors->unread && access(tensors->unread, F_OK)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                           "%s: tensor '%s' (%s) is not in the shards that are there; absent is '%s': download it", tensors->path,
                           name, use, safetensors_base(tensors->unread));
    }
    if (tensors->unread) {
        explain_file(tensors->unread, reason);
        return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                           "%s: tensor '%s' (%s) is not in the shards that can be read, and one cannot: %s", tensors->path, name,
                           use, reason);
    }
    bool part = tensors->shard_count == 1 && !tensors->map && safetensors_is_shard(tensors->path);
    return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' (%s) is not in the checkpoint%s%s", tensors->path, name, use,
                       part ? ", of which this file is one shard: name the folder instead" : "", part ? "" : note);
}

Status safetensors_need(const Safetensors *tensors, const char *name, const char *use, const char *note,
                        const SafetensorsEntry **entry, const Failure *failure) {
    *entry = safetensors_find(tensors, name);
    if (!*entry) {
        const json_t *value = json_object_get(tensors->map, name);
        return value ? refuse_placed(tensors, name, use, value, failure) : refuse_absent(tensors, name, use, note, failure);
    }
    if ((*entry)->also) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                           "%s: tensor '%s' (%s) is also in '%s', and no index says which counts: remove one of them",
                           (*entry)->file, name, use, safetensors_base((*entry)->also));
    }
    return (*entry)->damaged ? refuse_damaged(tensors, *entry, failure) : LIBRARY_OK;
}

#endif
