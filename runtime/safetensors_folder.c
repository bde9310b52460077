// Which files a checkpoint is made of: those that an index names, and the rest of their set; or, without an index, one file or a
// set of shards, "model-00001-of-00003.safetensors". A file that is absent or cannot be read matters to those who need a tensor of
// it.
#define _GNU_SOURCE 1
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "safetensors_parts.h"

#if RUNTIME_SAFETENSORS
#define XXH_INLINE_ALL
#include <xxhash.h>

static const char single_name[] = "model.safetensors", index_name[] = "model.safetensors.index.json", ending[] = ".safetensors";

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

// "model-00002-of-00003.safetensors": stem "model-", number 2, total 3, rest "-of-00003.safetensors".
typedef struct ShardName {
    char *name;
    size_t stem, digits;
    long number, total;
} ShardName;

static const char *rest_of(const ShardName *shard) {
    return shard->name + shard->stem + shard->digits;
}

// The digits that end at `end`, as a number; false if there are none, or too many.
static bool read_digits(const char *text, size_t end, size_t *begin, long *number) {
    enum { MOST = 9 };
    *begin = end;
    while (*begin && text[*begin - 1] >= '0' && text[*begin - 1] <= '9') {
        --*begin;
    }
    *number = strtol(text + *begin, NULL, 10);
    return end > *begin && end - *begin <= MOST;
}

static bool parse_shard(const char *name, ShardName *shard) {
    static const char between[] = "-of-";
    size_t length = strlen(name), tail = sizeof ending - 1, gap = sizeof between - 1, total = 0, first = 0;
    bool matches = length > tail && !strcmp(name + length - tail, ending) &&
                   read_digits(name, length - tail, &total, &shard->total) && total > gap &&
                   !strncmp(name + total - gap, between, gap) && read_digits(name, total - gap, &first, &shard->number) &&
                   first > 1 && name[first - 1] == '-';
    shard->stem = first;
    shard->digits = total - gap - first;
    return matches;
}

bool safetensors_is_shard(const char *path) {
    ShardName shard;
    return parse_shard(safetensors_base(path), &shard);
}

static int compare_set(const ShardName *a, const ShardName *b) {
    size_t common = a->stem < b->stem ? a->stem : b->stem;
    int order = strncmp(a->name, b->name, common);
    order = order ? order : (a->stem > b->stem) - (a->stem < b->stem);
    return order ? order : strcmp(rest_of(a), rest_of(b));
}

static int compare_shards(const void *a, const void *b) {
    const ShardName *x = a, *y = b;
    int order = compare_set(x, y);
    order = order ? order : (x->number > y->number) - (x->number < y->number);
    return order ? order : strcmp(x->name, y->name);
}

// What a folder has: names of shards, sorted by set and number; and one of a file of weights in another format, or of no usual
// name.
typedef struct Folder {
    ShardName *shards;
    size_t count, room;
    char *other;
} Folder;

static bool is_other_weights(const char *name) {
    static const char *const endings[] = {ending, ".bin", ".gguf", ".pth", ".pt", ".ckpt", ".h5", ".msgpack"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t tail = strlen(endings[i]);
        if (length > tail && !strcmp(name + length - tail, endings[i]) && *name != '.') {
            return true;
        }
    }
    return false;
}

static bool folder_add(Folder *folder, const char *name) {
    ShardName shard = {0};
    if (!parse_shard(name, &shard)) {  // of others the first in the order of names, so that a message is the same every time
        if (is_other_weights(name) && (!folder->other || strcmp(name, folder->other) < 0)) {
            free(folder->other);
            folder->other = strdup(name);
        }
        return true;
    }
    if (folder->count == folder->room) {
        size_t room = folder->room ? 2 * folder->room : 16;
        ShardName *shards = realloc(folder->shards, room * sizeof *shards);
        if (!shards) {
            return false;
        }
        folder->shards = shards;
        folder->room = room;
    }
    shard.name = strdup(name);
    folder->shards[folder->count] = shard;
    folder->count += shard.name != NULL;
    return shard.name;
}

static void folder_free(Folder *folder) {
    for (size_t i = 0; i < folder->count; i++) {
        free(folder->shards[i].name);
    }
    free(folder->shards);
    free(folder->other);
}

// A folder that cannot be listed has none: an index may still name files that can be read.
static Status folder_read(Folder *folder, const char *path, const Failure *failure) {
    *folder = (Folder){0};
    DIR *directory = opendir(path);
    bool complete = true;
    for (struct dirent *entry; directory && complete && (entry = readdir(directory));) {
        complete = folder_add(folder, entry->d_name);
    }
    if (directory) {
        closedir(directory);
    }
    if (!complete) {
        folder_free(folder);
        return out_of_memory(failure);
    }
    if (folder->count) {
        qsort(folder->shards, folder->count, sizeof *folder->shards, compare_shards);
    }
    return LIBRARY_OK;
}

// The shards of the set that begins at `first`.
static size_t set_size(const Folder *folder, size_t first) {
    size_t end = first + 1;
    while (end < folder->count && !compare_set(&folder->shards[first], &folder->shards[end])) {
        end++;
    }
    return end - first;
}

// Notes the first shard of a set that is not there. They are counted from 1, or from 0.
static Status note_absent(Safetensors *tensors, const char *path, const ShardName *shards, size_t count, const Failure *failure) {
    long next = shards[0].number ? 1 : 0, last = shards[0].total - (shards[0].number ? 0 : 1);
    for (size_t i = 0; i < count && shards[i].number <= next; i++) {
        next = shards[i].number + 1;
    }
    if (next > last || tensors->unread) {
        return LIBRARY_OK;
    }
    if (asprintf(&tensors->unread, "%.*s/%.*s%0*ld%s", file_folder_length(path), path, (int)shards[0].stem, shards[0].name,
                 (int)shards[0].digits, next, rest_of(&shards[0])) < 0) {
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

// The set that is meant where there is no index: the only one, or the only one whose names begin with "model-". Its size; 0: there
// are several.
static size_t choose_set(const Folder *folder, size_t *first) {
    static const char usual[] = "model-";
    size_t sets = 0, usuals = 0, size = 0, usual_first = 0;
    for (size_t i = 0; i < folder->count; i += size) {
        size = set_size(folder, i);
        sets++;
        if (folder->shards[i].stem == sizeof usual - 1 && !strncmp(folder->shards[i].name, usual, sizeof usual - 1)) {
            usuals++;
            usual_first = i;
        }
    }
    *first = usuals ? usual_first : 0;
    return sets == 1 || usuals == 1 ? set_size(folder, *first) : 0;
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
    Folder folder;
    char *path = folder_of(tensors);
    Status status = path ? folder_read(&folder, path, failure) : out_of_memory(failure);
    for (size_t i = 0, size; status == LIBRARY_OK && i < folder.count; i += size) {
        bool named = false;
        size = set_size(&folder, i);
        for (size_t s = i; s < i + size; s++) {
            named = named || json_object_get(seen, folder.shards[s].name);
        }
        for (size_t s = i; named && status == LIBRARY_OK && s < i + size; s++) {
            if (!json_object_get(seen, folder.shards[s].name)) {
                status = add_one(tensors, join(path, folder.shards[s].name), failure);
            }
        }
    }
    if (path && status != LIBRARY_OUT_OF_MEMORY) {
        folder_free(&folder);
    }
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
        const ShardName *first = &folder->shards[0], *other = &folder->shards[set_size(folder, 0)];
        return failure_set(
            failure, LIBRARY_IO_ERROR,
            "'%s' holds several sets of shards, such as those of '%s' and '%s', and no %s says which is meant: remove "
            "one, or name an index",
            path, first->name, other->name, index_name);
    }
    bool safe = folder->other && strlen(folder->other) >= sizeof ending &&
                !strcmp(folder->other + strlen(folder->other) - (sizeof ending - 1), ending);
    return failure_set(failure, LIBRARY_IO_ERROR, "'%s' holds neither %s nor %s nor shards of one%s%s%s%s", path, index_name,
                       single_name, folder->other ? "; it has '" : "", folder->other ? folder->other : "", folder->other ? "'" : "",
                       !folder->other ? ""
                       : safe         ? ": to use it, name the file itself"
                                      : ", which is not safetensors: save the model as safetensors first");
}

static Status add_shards(Safetensors *tensors, const char *path, const Failure *failure) {
    Folder folder;
    size_t first = 0;
    Status status = folder_read(&folder, path, failure);
    if (status != LIBRARY_OK) {
        return status;
    }
    size_t size = folder.count ? choose_set(&folder, &first) : 0;
    status = size ? add_set(tensors, path, folder.shards + first, size, failure) : refuse_folder(path, &folder, failure);
    folder_free(&folder);
    return status;
}

bool safetensors_recognise(const char *folder) {
    char *index = join(folder, index_name), *single = join(folder, single_name);
    Folder found;
    bool there = (index && exists(index)) || (single && exists(single));
    if (!there && folder_read(&found, folder, NULL) == LIBRARY_OK) {
        there = found.count;
        folder_free(&found);
    }
    free(index);
    free(single);
    return there;
}

// An index whose files are all gone says nothing against one file of all tensors.
Status safetensors_add_folder(Safetensors *tensors, const char *path, const Failure *failure) {
    char *index = join(path, index_name), *single = join(path, single_name);
    Status status = index && single ? LIBRARY_OK : out_of_memory(failure);
    if (status == LIBRARY_OK && exists(index)) {
        status = add_index(tensors, index, failure);
        if (status == LIBRARY_OK && !(!tensors->shard_count && exists(single))) {
            status = check_read(tensors, index, failure);
        } else if (status == LIBRARY_OK) {
            status = safetensors_add_file(tensors, single, failure);
        }
    } else if (status == LIBRARY_OK && exists(single)) {
        status = safetensors_add_file(tensors, single, failure);
    } else if (status == LIBRARY_OK) {
        status = add_shards(tensors, path, failure);
    }
    free(index);
    free(single);
    return status;
}

#endif
