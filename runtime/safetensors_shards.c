// Sets of shards in a folder, by their files' names. See safetensors_parts.h.
#define _GNU_SOURCE 1
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "safetensors_parts.h"

#if RUNTIME_SAFETENSORS

static const char ending[] = ".safetensors";

const char *safetensors_shard_rest(const ShardName *shard) {
    return shard->name + shard->stem + shard->digits;
}

// The digits that end at `end`, as a number; false if there are none, or too many.
static bool read_digits(const char *text, size_t end, size_t *begin, long *number) {
    enum { MOST = 9 };
    *begin = end;
    while (*begin && text[*begin - 1] >= '0' && text[*begin - 1] <= '9') {
        --*begin;
    }
    size_t digits = end - *begin;
    *number = 0;
    for (size_t i = *begin; digits <= MOST && i < end; i++) {
        *number = 10 * *number + (text[i] - '0');
    }
    return digits && digits <= MOST;
}

static bool parse_shard(const char *name, ShardName *shard) {
    static const char between[] = "-of-";
    size_t length = strlen(name), tail = sizeof ending - 1, gap = sizeof between - 1, total = 0, first = 0;
    bool matches = safetensors_ends_with(name, ending) && read_digits(name, length - tail, &total, &shard->total) && total > gap &&
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
    return order ? order : strcmp(safetensors_shard_rest(a), safetensors_shard_rest(b));
}

static int compare_shards(const void *a, const void *b) {
    const ShardName *x = a, *y = b;
    int order = compare_set(x, y);
    order = order ? order : (x->number > y->number) - (x->number < y->number);
    return order ? order : strcmp(x->name, y->name);
}

static bool is_other_weights(const char *name) {
    static const char *const endings[] = {ending, ".bin", ".gguf", ".pth", ".pt", ".ckpt", ".h5", ".msgpack"};
    bool found = false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings && *name != '.'; i++) {
        found = found || safetensors_ends_with(name, endings[i]);
    }
    return found;
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

void safetensors_folder_free(Folder *folder) {
    for (size_t i = 0; i < folder->count; i++) {
        free(folder->shards[i].name);
    }
    free(folder->shards);
    free(folder->other);
    *folder = (Folder){0};
}

Status safetensors_folder_read(Folder *folder, const char *path, const Failure *failure) {
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
        safetensors_folder_free(folder);
        return failure_set(failure, LIBRARY_OUT_OF_MEMORY, "out of memory");
    }
    if (folder->count) {
        qsort(folder->shards, folder->count, sizeof *folder->shards, compare_shards);
    }
    return LIBRARY_OK;
}

size_t safetensors_set_size(const Folder *folder, size_t first) {
    size_t end = first + 1;
    while (end < folder->count && !compare_set(&folder->shards[first], &folder->shards[end])) {
        end++;
    }
    return end - first;
}

size_t safetensors_set_choose(const Folder *folder, size_t *first) {
    static const char usual[] = "model-";
    size_t sets = 0, usuals = 0, size = 0, usual_first = 0;
    for (size_t i = 0; i < folder->count; i += size) {
        size = safetensors_set_size(folder, i);
        sets++;
        if (folder->shards[i].stem == sizeof usual - 1 && !strncmp(folder->shards[i].name, usual, sizeof usual - 1)) {
            usuals++;
            usual_first = i;
        }
    }
    *first = usuals ? usual_first : 0;
    return sets == 1 || usuals == 1 ? safetensors_set_size(folder, *first) : 0;
}

#endif
