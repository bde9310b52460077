// The safetensors container: a checkpoint's files, mapped, and their tensors, sorted by name. See safetensors_parts.h.
#define _GNU_SOURCE 1
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "safetensors_parts.h"

#if RUNTIME_SAFETENSORS
#define XXH_INLINE_ALL
#include <xxhash.h>

static Status out_of_memory(const Failure *failure) {
    return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
}

// --- files -------------------------------------------------------------------------------------------------------------------

static Status reserve(Safetensors *tensors, int64_t count, const Failure *failure) {
    if (tensors->count + count > tensors->capacity) {
        int64_t capacity = tensors->count + count;
        SafetensorsEntry *entries = realloc(tensors->entries, (size_t)capacity * sizeof *entries);
        if (!entries) {
            return out_of_memory(failure);
        }
        tensors->entries = entries;
        tensors->capacity = capacity;
    }
    return LIBRARY_OK;
}

// Adds the tensors of a shard whose bytes are there. What is wrong with one of them is said to those who ask for it.
static Status add_shard(Safetensors *tensors, Shard *shard, const Failure *failure) {
    Status status = safetensors_header_parse(shard, failure);
    if (status == LIBRARY_OK) {
        status = reserve(tensors, (int64_t)json_object_size(shard->header) + 1, failure);  // never NULL
    }
    if (status != LIBRARY_OK) {
        return status;
    }
    const char *name;
    json_t *value;
    json_object_foreach(shard->header, name, value) {
        if (strcmp(name, "__metadata__")) {
            safetensors_header_entry(shard, name, value, &tensors->entries[tensors->count++], NULL);
        }
    }
    return LIBRARY_OK;
}

static Shard *next_shard(Safetensors *tensors, const char *name) {
    Shard *shards = realloc(tensors->shards, (size_t)(tensors->shard_count + 1) * sizeof *shards);
    if (!shards) {
        return NULL;
    }
    tensors->shards = shards;
    Shard *shard = &shards[tensors->shard_count];
    *shard = (Shard){.name = strdup(name)};
    if (!shard->name) {
        return NULL;
    }
    tensors->shard_count++;
    return shard;
}

static void shard_free(Shard *shard) {
    json_decref(shard->header);
    mapping_free(&shard->mapping);
    free(shard->name);
}

// Of a file whose header has been parsed.
static uint64_t shard_fingerprint(const Shard *shard, const struct stat *facts) {
    const char *base = safetensors_base(shard->name);
    const uint64_t numbers[] = {shard->mapping.size, (uint64_t)facts->st_mtim.tv_sec, (uint64_t)facts->st_mtim.tv_nsec};
    uint64_t hash = XXH64(base, strlen(base), 0);
    hash = XXH64(numbers, sizeof numbers, hash);
    return XXH64(shard->bytes, (size_t)shard->data_begin, hash);
}

// A file that cannot be read leaves no shard behind.
Status safetensors_add_file(Safetensors *tensors, const char *path, const Failure *failure) {
    Shard *shard = next_shard(tensors, path);
    if (!shard) {
        return out_of_memory(failure);
    }
    // Before the file is mapped: should it be replaced in between, the fingerprint is of no file, and a cache with it is made anew.
    struct stat facts;
    Status status = stat(path, &facts) ? failure_system(failure, LIBRARY_IO_ERROR, "cannot open '%s'", path)
                                       : file_map(path, &shard->mapping, failure);
    if (status == LIBRARY_OK) {
        shard->bytes = shard->mapping.data ? shard->mapping.data : (const uint8_t *)"";
        shard->size = (int64_t)shard->mapping.size;
        status = add_shard(tensors, shard, failure);
    }
    if (status == LIBRARY_OK) {
        tensors->fingerprint += shard_fingerprint(shard, &facts);
    } else {
        shard_free(shard);
        tensors->shard_count--;
    }
    return status;
}

// --- tensors -----------------------------------------------------------------------------------------------------------------

static int compare_name(const void *a, const void *b) {
    return strcmp(((const SafetensorsEntry *)a)->name, ((const SafetensorsEntry *)b)->name);
}

static int compare_name_and_file(const void *a, const void *b) {
    int order = compare_name(a, b);
    return order ? order : strcmp(((const SafetensorsEntry *)a)->file, ((const SafetensorsEntry *)b)->file);
}

// Of entries of one name: the one that the index means, or else the first, which says that there is another.
static SafetensorsEntry choose(const Safetensors *tensors, const SafetensorsEntry *entries, int64_t count) {
    const char *place = safetensors_place(tensors, entries->name);
    for (int64_t i = 0; place && i < count; i++) {
        if (!strcmp(safetensors_base(entries[i].file), place)) {
            return entries[i];
        }
    }
    SafetensorsEntry first = entries[0];
    first.also = count > 1 ? entries[1].file : NULL;
    return first;
}

static void sort(Safetensors *tensors) {
    int64_t kept = 0, count = tensors->count, run;
    if (count) {
        qsort(tensors->entries, (size_t)count, sizeof *tensors->entries, compare_name_and_file);
    }
    for (int64_t i = 0; i < count; i += run) {
        for (run = 1; i + run < count && !compare_name(&tensors->entries[i], &tensors->entries[i + run]); run++) {
        }
        tensors->entries[kept++] = choose(tensors, &tensors->entries[i], run);
    }
    tensors->count = kept;
}

const SafetensorsEntry *safetensors_find(const Safetensors *tensors, const char *name) {
    SafetensorsEntry key = {.name = name};
    return tensors->count ? bsearch(&key, tensors->entries, (size_t)tensors->count, sizeof key, compare_name) : NULL;
}

uint64_t safetensors_fingerprint(const Safetensors *tensors) {
    return tensors->fingerprint ? tensors->fingerprint : 1;
}

int64_t safetensors_count(const Safetensors *tensors) {
    return tensors->count;
}

const SafetensorsEntry *safetensors_entry(const Safetensors *tensors, int64_t index) {
    return &tensors->entries[index];
}

// --- opening -----------------------------------------------------------------------------------------------------------------

static Status add_path(Safetensors *tensors, const char *path, const Failure *failure) {
    struct stat facts;
    if (stat(path, &facts)) {
        return failure_system(failure, LIBRARY_IO_ERROR, "cannot open '%s'", path);
    }
    if (S_ISDIR(facts.st_mode)) {
        return safetensors_add_folder(tensors, path, failure);
    }
    return safetensors_ends_with(path, ".index.json") ? safetensors_add_index(tensors, path, failure)
                                                      : safetensors_add_file(tensors, path, failure);
}

static Safetensors *create(const char *path) {
    Safetensors *tensors = calloc(1, sizeof *tensors);
    int length = file_folder_length(path);
    if (tensors && !(tensors->path = strndup(path, length ? (size_t)length : strlen(path)))) {
        free(tensors);
        tensors = NULL;
    }
    return tensors;
}

static Status finish(Safetensors *tensors, Status status, Safetensors **out) {
    if (status != LIBRARY_OK) {
        safetensors_close(tensors);
        return status;
    }
    sort(tensors);
    *out = tensors;
    return LIBRARY_OK;
}

Status safetensors_open(const char *path, Safetensors **out, const Failure *failure) {
    *out = NULL;
    Safetensors *tensors = create(path);
    return tensors ? finish(tensors, add_path(tensors, path, failure), out) : out_of_memory(failure);
}

Status safetensors_open_memory(const void *data, size_t size, const char *name, Safetensors **out, const Failure *failure) {
    *out = NULL;
    Safetensors *tensors = create(name);
    Shard *shard = tensors ? next_shard(tensors, name) : NULL;
    if (!shard) {
        safetensors_close(tensors);
        return out_of_memory(failure);
    }
    shard->bytes = data;
    shard->size = (int64_t)size;
    return finish(tensors, add_shard(tensors, shard, failure), out);
}

void safetensors_close(Safetensors *tensors) {
    if (!tensors) {
        return;
    }
    for (int64_t i = 0; i < tensors->shard_count; i++) {
        shard_free(&tensors->shards[i]);
    }
    json_decref(tensors->index);
    free(tensors->shards);
    free(tensors->entries);
    free(tensors->unread);
    free(tensors->path);
    free(tensors);
}

#endif
