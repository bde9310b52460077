// The safetensors container: headers parsed with jansson, data mapped. See safetensors.h.
#define _GNU_SOURCE 1
#include "safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "file.h"

#if RUNTIME_SAFETENSORS
#define XXH_INLINE_ALL
#include <jansson.h>
#include <xxhash.h>

enum { HEADER_MAX_BYTES = 100 * 1000 * 1000 };  // the limit of the format's own reader

typedef struct Shard {
    Mapping mapping;  // empty when the bytes belong to the caller
    char *name;
    json_t *header;  // owns the entries' names
} Shard;

struct Safetensors {
    Shard *shards;
    int64_t shard_count;
    SafetensorsEntry *entries;
    int64_t count;
    int64_t capacity;
    uint64_t fingerprint;  // sum over index and shards: a JSON object has no order
};

// X(dtype, bits per element)
#define DTYPE_LIST(X) \
    X(F64, 64) \
    X(F32, 32) \
    X(F16, 16) \
    X(BF16, 16) \
    X(I64, 64) \
    X(U64, 64) \
    X(I32, 32) \
    X(U32, 32) \
    X(I16, 16) \
    X(U16, 16) \
    X(I8, 8) \
    X(U8, 8) \
    X(BOOL, 8) \
    X(F8_E4M3, 8) \
    X(F8_E5M2, 8) \
    X(F8_E8M0, 8) \
    X(C64, 64)

static int dtype_bytes(const char *dtype) {
#define DTYPE_COMPARE(name, bits) \
    if (!strcmp(dtype, #name)) { \
        return (bits) / 8; \
    }
    DTYPE_LIST(DTYPE_COMPARE)
    return 0;
}

static Status bad(const Failure *failure, const char *file, const char *tensor, const char *problem) {
    return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s': %s", file, tensor, problem);
}

// What stands where a text should.
static const char *kind_of(const json_t *value) {
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "a text", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",    [JSON_FALSE] = "false",   [JSON_NULL] = "null"};
    return value ? kinds[json_typeof(value)] : "nothing";
}

static Status read_shape(const json_t *value, const char *file, const char *name, SafetensorsEntry *entry, const Failure *failure) {
    if (!json_is_array(value)) {
        return bad(failure, file, name, "no list \"shape\"");
    }
    if (json_array_size(value) > SAFETENSORS_MAX_RANK) {
        return bad(failure, file, name, "too many dimensions");
    }
    entry->rank = (int)json_array_size(value);
    for (int i = 0; i < entry->rank; i++) {
        const json_t *length = json_array_get(value, (size_t)i);
        if (!json_is_integer(length) || json_integer_value(length) < 0) {
            return bad(failure, file, name, "a length in \"shape\" is not a natural number");
        }
        entry->shape[i] = json_integer_value(length);
    }
    return LIBRARY_OK;
}

static Status read_offsets(const json_t *value, const char *file, const char *name, int64_t size, int64_t *begin, int64_t *end,
                           const Failure *failure) {
    const json_t *first = json_array_get(value, 0), *last = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(first) || !json_is_integer(last)) {
        return bad(failure, file, name, "\"data_offsets\" is not a pair of numbers");
    }
    *begin = json_integer_value(first);
    *end = json_integer_value(last);
    if (*begin < 0 || *end < *begin) {
        return bad(failure, file, name, "negative \"data_offsets\"");
    }
    if (*end > size) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                           "%s: tensor '%s': data ends at %lld, the file has %lld bytes of data (truncated?)", file, name,
                           (long long)*end, (long long)size);
    }
    return LIBRARY_OK;
}

// Bytes that a shape takes; -1 if they overflow.
static int64_t shape_bytes(const SafetensorsEntry *entry, int element) {
    int64_t bytes = element;
    for (int i = 0; i < entry->rank; i++) {
        if (__builtin_mul_overflow(bytes, entry->shape[i], &bytes)) {
            return -1;
        }
    }
    return bytes;
}

static Status read_entry(const char *name, const json_t *value, const char *file, const uint8_t *data, int64_t size,
                         SafetensorsEntry *entry, const Failure *failure) {
    memset(entry, 0, sizeof *entry);
    entry->name = name;
    entry->file = file;
    const json_t *stored = json_object_get(value, "dtype");
    const char *dtype = json_string_value(stored);
    if (!dtype) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s': \"dtype\" must be a text such as \"F32\", found %s",
                           file, name, kind_of(stored));
    }
    int element = dtype_bytes(dtype);
    if (!element) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s': unknown dtype '%.32s'", file, name, dtype);
    }
    memcpy(entry->dtype, dtype, strlen(dtype) + 1);
    int64_t begin = 0, end = 0;
    Status status = read_shape(json_object_get(value, "shape"), file, name, entry, failure);
    if (status == LIBRARY_OK) {
        status = read_offsets(json_object_get(value, "data_offsets"), file, name, size, &begin, &end, failure);
    }
    if (status != LIBRARY_OK) {
        return status;
    }
    if (shape_bytes(entry, element) != end - begin) {
        return bad(failure, file, name, "\"shape\" and \"data_offsets\" disagree");
    }
    entry->data = data + begin;
    entry->bytes = end - begin;
    return LIBRARY_OK;
}

static int compare_place(const void *a, const void *b) {
    const SafetensorsEntry *x = a, *y = b;
    if (x->data != y->data) {
        return x->data < y->data ? -1 : 1;
    }
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);  // empty tensors first
}

static int compare_name(const void *a, const void *b) {
    return strcmp(((const SafetensorsEntry *)a)->name, ((const SafetensorsEntry *)b)->name);
}

// The format wants every byte of data to belong to exactly one tensor.
static Status check_cover(SafetensorsEntry *entries, int64_t count, const char *file, const uint8_t *data, int64_t size,
                          const Failure *failure) {
    if (count) {
        qsort(entries, (size_t)count, sizeof *entries, compare_place);
    }
    int64_t covered = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t begin = entries[i].data - data;
        if (begin < covered) {
            return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' overlaps tensor '%s'", file, entries[i].name,
                               entries[i - 1].name);
        }
        if (begin > covered) {
            return bad(failure, file, entries[i].name, "a gap in the data before it");
        }
        covered += entries[i].bytes;
    }
    if (covered != size) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: %lld bytes of data after the last tensor", file,
                           (long long)(size - covered));
    }
    return LIBRARY_OK;
}

static Status reserve(Safetensors *tensors, int64_t count, const Failure *failure) {
    if (tensors->count + count > tensors->capacity) {
        int64_t capacity = tensors->count + count;
        SafetensorsEntry *entries = realloc(tensors->entries, (size_t)capacity * sizeof *entries);
        if (!entries) {
            return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
        }
        tensors->entries = entries;
        tensors->capacity = capacity;
    }
    return LIBRARY_OK;
}

static Status parse_header(const uint8_t *data, size_t size, Shard *shard, int64_t *data_begin, const Failure *failure) {
    uint64_t length = 0;
    if (size < sizeof length) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: not a safetensors file (%zu bytes)", shard->name, size);
    }
    memcpy(&length, data, sizeof length);
    static const char pointer[] = "version https://git-lfs.github.com/";
    if (size >= sizeof pointer && !memcmp(data, pointer, sizeof pointer - 1)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: a pointer of Git LFS, not weights: run 'git lfs pull'", shard->name);
    }
    if (length > HEADER_MAX_BYTES || length > size - sizeof length) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                           "%s: not a safetensors file, or truncated (header of %llu bytes, the file has %zu)", shard->name,
                           (unsigned long long)length, size);
    }
    json_error_t error;
    shard->header = json_loadb((const char *)data + sizeof length, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!shard->header) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: header: byte %d: %s", shard->name, error.position, error.text);
    }
    if (!json_is_object(shard->header)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: the header is not a JSON object", shard->name);
    }
    *data_begin = (int64_t)(sizeof length + length);
    return LIBRARY_OK;
}

// Adds the tensors of one file's bytes. `map`: the index's weight map, or NULL; tensors that it places elsewhere are left out.
static Status add_shard(Safetensors *tensors, Shard *shard, const void *data, size_t size, const json_t *map, const char *place,
                        const Failure *failure) {
    int64_t begin;
    Status status = parse_header(data, size, shard, &begin, failure);
    if (status == LIBRARY_OK) {
        status = reserve(tensors, (int64_t)json_object_size(shard->header) + 1, failure);  // never NULL
    }
    if (status != LIBRARY_OK) {
        return status;
    }
    const uint8_t *base = (const uint8_t *)data + begin;
    int64_t first = tensors->count;
    const char *name;
    json_t *value;
    json_object_foreach(shard->header, name, value) {
        if (!strcmp(name, "__metadata__")) {
            continue;
        }
        status = read_entry(name, value, shard->name, base, (int64_t)size - begin, &tensors->entries[tensors->count], failure);
        if (status != LIBRARY_OK) {
            return status;
        }
        tensors->count++;
    }
    status = check_cover(tensors->entries + first, tensors->count - first, shard->name, base, (int64_t)size - begin, failure);
    if (status != LIBRARY_OK || !map) {
        return status;
    }
    int64_t kept = first;
    for (int64_t i = first; i < tensors->count; i++) {
        const char *wanted = json_string_value(json_object_get(map, tensors->entries[i].name));
        if (wanted && !strcmp(wanted, place)) {
            tensors->entries[kept++] = tensors->entries[i];
        }
    }
    tensors->count = kept;
    return LIBRARY_OK;
}

static Shard *next_shard(Safetensors *tensors, const char *name) {
    Shard *shards = realloc(tensors->shards, (size_t)(tensors->shard_count + 1) * sizeof *shards);
    if (!shards) {
        return NULL;
    }
    tensors->shards = shards;
    Shard *shard = &shards[tensors->shard_count];
    *shard = (Shard){{NULL, 0}, strdup(name), NULL};
    if (!shard->name) {
        return NULL;
    }
    tensors->shard_count++;
    return shard;
}

// Of a file whose header has been parsed.
static uint64_t shard_fingerprint(const Shard *shard, const struct stat *facts) {
    const char *slash = strrchr(shard->name, '/'), *base = slash ? slash + 1 : shard->name;
    const uint64_t numbers[] = {shard->mapping.size, (uint64_t)facts->st_mtim.tv_sec, (uint64_t)facts->st_mtim.tv_nsec};
    uint64_t length;
    memcpy(&length, shard->mapping.data, sizeof length);
    uint64_t hash = XXH64(base, strlen(base), 0);
    hash = XXH64(numbers, sizeof numbers, hash);
    return XXH64(shard->mapping.data, sizeof length + (size_t)length, hash);
}

static Status add_file(Safetensors *tensors, const char *path, const json_t *map, const char *place, const Failure *failure) {
    Shard *shard = next_shard(tensors, path);
    if (!shard) {
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    }
    // Before the file is mapped: should it be replaced in between, the fingerprint is of no file, and a cache with it is made anew.
    struct stat facts;
    if (stat(path, &facts)) {
        return failure_system(failure, LIBRARY_IO_ERROR, "cannot open '%s'", path);
    }
    Status status = file_map(path, &shard->mapping, failure);
    if (status != LIBRARY_OK) {
        return status;
    }
    status = add_shard(tensors, shard, shard->mapping.data ? shard->mapping.data : "", shard->mapping.size, map, place, failure);
    if (status == LIBRARY_OK) {
        tensors->fingerprint += shard_fingerprint(shard, &facts);
    }
    return status;
}

// A shard's name in an index must be a plain file name: an index must not make us read outside its directory.
static bool plain_name(const char *name) {
    return *name && *name != '.' && !strchr(name, '/');
}

static Status read_index(Safetensors *tensors, const char *path, json_t **index, json_t **map, const Failure *failure) {
    Mapping mapping;
    Status status = file_map(path, &mapping, failure);
    if (status != LIBRARY_OK) {
        return status;
    }
    json_error_t error;
    tensors->fingerprint += mapping.data ? XXH64(mapping.data, mapping.size, 0) : 0;
    *index = json_loadb(mapping.data ? mapping.data : "", mapping.size, JSON_REJECT_DUPLICATES, &error);
    mapping_free(&mapping);
    if (!*index) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s:%d:%d: %s", path, error.line, error.column, error.text);
    }
    *map = json_object_get(*index, "weight_map");
    if (!json_is_object(*map)) {
        return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: no object \"weight_map\"", path);
    }
    const char *tensor;
    json_t *value;
    json_object_foreach(*map, tensor, value) {
        if (!json_is_string(value)) {
            return failure_set(failure, LIBRARY_BAD_WEIGHTS,
                               "%s: tensor '%s': \"weight_map\" must hold the name of a file in the same directory, found %s", path,
                               tensor, kind_of(value));
        }
        if (!plain_name(json_string_value(value))) {
            return failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s': '%.100s' is not a file name in the same directory",
                               path, tensor, json_string_value(value));
        }
    }
    return LIBRARY_OK;
}

// Opens each file that the weight map names, once.
static Status add_mapped(Safetensors *tensors, const char *path, const json_t *map, const Failure *failure) {
    const char *slash = strrchr(path, '/'), *tensor;
    int directory = slash ? (int)(slash - path + 1) : 0;
    json_t *value, *seen = json_object();
    Status status = seen ? LIBRARY_OK : failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    json_object_foreach((json_t *)map, tensor, value) {
        const char *place = json_string_value(value);
        char *file = NULL;
        if (status != LIBRARY_OK || json_object_get(seen, place)) {
            continue;
        }
        if (json_object_set_new(seen, place, json_true()) || asprintf(&file, "%.*s%s", directory, path, place) < 0) {
            status = failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
            continue;
        }
        status = add_file(tensors, file, map, place, failure);
        free(file);
    }
    json_decref(seen);
    return status;
}

static Status add_index(Safetensors *tensors, const char *path, const Failure *failure) {
    json_t *index = NULL, *map = NULL, *value;
    Status status = read_index(tensors, path, &index, &map, failure);
    if (status == LIBRARY_OK) {
        status = add_mapped(tensors, path, map, failure);
    }
    if (status == LIBRARY_OK && (int64_t)json_object_size(map) != tensors->count) {
        qsort(tensors->entries, (size_t)tensors->count, sizeof *tensors->entries, compare_name);
        const char *tensor;
        json_object_foreach(map, tensor, value) {
            if (status == LIBRARY_OK && !safetensors_find(tensors, tensor)) {
                status = failure_set(failure, LIBRARY_BAD_WEIGHTS, "%s: tensor '%s' is not in '%s', where the index places it",
                                     path, tensor, json_string_value(value));
            }
        }
    }
    json_decref(index);
    return status;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && !strcmp(text + length - tail, end);
}

static Status add_path(Safetensors *tensors, const char *path, const Failure *failure) {
    struct stat facts;
    if (stat(path, &facts)) {
        return failure_system(failure, LIBRARY_IO_ERROR, "cannot open '%s'", path);
    }
    if (!S_ISDIR(facts.st_mode)) {
        return ends_with(path, ".index.json") ? add_index(tensors, path, failure) : add_file(tensors, path, NULL, NULL, failure);
    }
    char *index, *single;
    if (asprintf(&index, "%s/model.safetensors.index.json", path) < 0) {
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    }
    if (asprintf(&single, "%s/model.safetensors", path) < 0) {
        free(index);
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    }
    Status status;
    if (!stat(index, &facts)) {
        status = add_index(tensors, index, failure);
    } else if (!stat(single, &facts)) {
        status = add_file(tensors, single, NULL, NULL, failure);
    } else {
        status =
            failure_set(failure, LIBRARY_IO_ERROR, "'%s' holds neither model.safetensors.index.json nor model.safetensors", path);
    }
    free(index);
    free(single);
    return status;
}

static Status finish(Safetensors *tensors, Status status, Safetensors **out) {
    if (status != LIBRARY_OK) {
        safetensors_close(tensors);
        *out = NULL;
        return status;
    }
    if (tensors->count) {
        qsort(tensors->entries, (size_t)tensors->count, sizeof *tensors->entries, compare_name);
    }
    *out = tensors;
    return LIBRARY_OK;
}

Status safetensors_open(const char *path, Safetensors **out, const Failure *failure) {
    *out = NULL;
    Safetensors *tensors = calloc(1, sizeof *tensors);
    if (!tensors) {
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    }
    return finish(tensors, add_path(tensors, path, failure), out);
}

Status safetensors_open_memory(const void *data, size_t size, const char *name, Safetensors **out, const Failure *failure) {
    *out = NULL;
    Safetensors *tensors = calloc(1, sizeof *tensors);
    Shard *shard = tensors ? next_shard(tensors, name) : NULL;
    if (!shard) {
        safetensors_close(tensors);
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    }
    return finish(tensors, add_shard(tensors, shard, data, size, NULL, NULL, failure), out);
}

void safetensors_close(Safetensors *tensors) {
    if (!tensors) {
        return;
    }
    for (int64_t i = 0; i < tensors->shard_count; i++) {
        json_decref(tensors->shards[i].header);
        mapping_free(&tensors->shards[i].mapping);
        free(tensors->shards[i].name);
    }
    free(tensors->shards);
    free(tensors->entries);
    free(tensors);
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

#endif
