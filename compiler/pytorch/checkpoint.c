// Opening checkpoints: the list of tensors and the arguments. Data are read and written in data.c. See checkpoint.h.
#include "checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "open.h"

enum {
    MAX_DEPTH = 32,        // of dicts and lists in each other
    MAX_NAME_BYTES = 1024, // of a tensor's name
    // The longest pickle: real ones have less than 300 bytes for each tensor.
    MAX_PICKLE_BYTES = 1 << 27,
};

// --- tensors -----------------------------------------------------------------------------------------------------------------
// A walk through dicts that may contain each other. Honest files spend a step per value; the budget ends the others.
typedef struct Walk {
    TorchCheckpoint *checkpoint;
    Diagnostics *diagnostics;
    int64_t capacity;
    int64_t budget;
    char name[MAX_NAME_BYTES + 1];
} Walk;

static bool complain(Walk *walk, const char *problem) {
    diagnostics_add(walk->diagnostics, walk->checkpoint->path, 0, 0, "tensor '%s': %s", walk->name, problem);
    return false;
}

static bool spend(Walk *walk, int64_t steps) {
    walk->budget -= steps;
    if (walk->budget < 0) {
        diagnostics_add(walk->diagnostics, walk->checkpoint->path, 0, 0,
                        "its values contain each other more often than the pickle's size explains");
    }
    return walk->budget >= 0;
}

static bool locate(Walk *walk, TorchTensor *tensor, const char *key, int64_t storage_bytes) {
    char name[TORCH_KEY_BYTES + 8];
    snprintf(name, sizeof name, "data/%s", key);
    tensor->entry = torch_archive_find(walk->checkpoint->archive, name, &tensor->entry_bytes);
    if (tensor->entry < 0) {
        diagnostics_add(walk->diagnostics, walk->checkpoint->path, 0, 0, "tensor '%s': the archive has no entry '%s'", walk->name,
                        name);
        return false;
    }
    if (tensor->entry_bytes != storage_bytes) {
        diagnostics_add(walk->diagnostics, walk->checkpoint->path, 0, 0,
                        "tensor '%s': its storage '%s' has %" PRId64 " bytes, expected %" PRId64, walk->name, name,
                        tensor->entry_bytes, storage_bytes);
        return false;
    }
    return true;
}

// A wrong tensor is a problem of its own: the walk goes on, unless there is no memory.
static bool add_tensor(Walk *walk, const PickleValue *value) {
    TorchCheckpoint *checkpoint = walk->checkpoint;
    TorchTensor tensor = {0};
    char key[TORCH_KEY_BYTES];
    int64_t storage_bytes;
    const char *problem = torch_tensor_parse(value, &tensor, key, &storage_bytes);
    if (problem) {
        complain(walk, problem);
        return true;
    }
    if (!locate(walk, &tensor, key, storage_bytes)) {
        return true;
    }
    if (checkpoint->count == walk->capacity) {
        int64_t capacity = walk->capacity ? walk->capacity * 2 : 64;
        TorchTensor *grown = realloc(checkpoint->tensors, (size_t)capacity * sizeof *grown);
        if (!grown) {
            return complain(walk, "out of memory");
        }
        checkpoint->tensors = grown;
        walk->capacity = capacity;
    }
    tensor.name = strdup(walk->name);
    if (!tensor.name) {
        return complain(walk, "out of memory");
    }
    checkpoint->tensors[checkpoint->count++] = tensor;
    return true;
}

// Appends a key to the name; false if it is no part of a name. *length is the new one, perhaps more than there is room for.
static bool append_key(Walk *walk, const PickleValue *key, size_t *length) {
    char number[32];
    const char *text = number;
    if (key->kind == PICKLE_TEXT && strlen(key->text.data) == key->text.length) {
        text = key->text.data;
    } else if (key->kind == PICKLE_INTEGER) {
        snprintf(number, sizeof number, "%" PRId64, key->integer);
    } else {
        return false;
    }
    size_t room = sizeof walk->name - *length;
    int added = snprintf(walk->name + *length, room, "%s%s", *length ? "." : "", text);
    *length += (size_t)added;
    return true;
}

static bool walk_dict(Walk *walk, const PickleValue *dict, size_t length, int depth) {
    for (size_t i = 0; i < dict->dict.count; i++) {
        const PickleEntry *entry = &dict->dict.entries[i];
        size_t longer = length;
        bool tensor = torch_tensor_is(entry->value), nested = entry->value->kind == PICKLE_DICT;
        walk->name[length] = '\0';
        if (!spend(walk, 1)) {
            return false;
        }
        if ((!tensor && !nested) || !append_key(walk, entry->key, &longer)) {
            continue;
        }
        if (longer > MAX_NAME_BYTES || depth == MAX_DEPTH) {
            return complain(walk, depth == MAX_DEPTH ? "dicts in dicts deeper than 32" : "a name longer than 1024 bytes");
        }
        if (tensor ? !spend(walk, (int64_t)longer) || !add_tensor(walk, entry->value)
                   : !walk_dict(walk, entry->value, longer, depth + 1)) {
            return false;
        }
    }
    return true;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const TorchTensor *)a)->name, ((const TorchTensor *)b)->name);
}

// Names are as long as what leads to them, so more than a byte of the pickle each; prefixes count again for every tensor.
static int64_t budget_of(int64_t pickle_bytes) {
    return 64 * pickle_bytes + 4096;
}

static void collect_tensors(TorchCheckpoint *checkpoint, int64_t pickle_bytes, Diagnostics *diagnostics) {
    const PickleValue *root = torch_checkpoint_root(checkpoint);
    static const char *const places[] = {"model", "state_dict"};
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        const PickleValue *found = pickle_find(torch_checkpoint_root(checkpoint), places[p]);
        if (found && found->kind == PICKLE_DICT) {
            root = found;
            break;
        }
    }
    Walk walk = {.checkpoint = checkpoint, .diagnostics = diagnostics, .budget = budget_of(pickle_bytes)};
    if (root->kind != PICKLE_DICT) {
        diagnostics_add(diagnostics, checkpoint->path, 0, 0,
                        "what was saved is not a dict, expected a state dict or a dict that has one under \"model\"");
        return;
    }
    walk_dict(&walk, root, 0, 0);
    if (checkpoint->count) {
        qsort(checkpoint->tensors, (size_t)checkpoint->count, sizeof *checkpoint->tensors, compare_names);
    }
    for (int64_t i = 1; i < checkpoint->count; i++) {
        if (!compare_names(&checkpoint->tensors[i - 1], &checkpoint->tensors[i])) {
            diagnostics_add(diagnostics, checkpoint->path, 0, 0, "two tensors are named '%s'", checkpoint->tensors[i].name);
        }
    }
}

// --- arguments ---------------------------------------------------------------------------------------------------------------
static json_t *plain_value(Walk *walk, const PickleValue *value, int depth);

static json_t *plain_list(Walk *walk, const PickleValue *value, int depth) {
    json_t *list = depth < MAX_DEPTH ? json_array() : NULL;
    for (size_t i = 0; list && i < value->sequence.count; i++) {
        json_t *item = plain_value(walk, value->sequence.items[i], depth + 1);
        if (!item || json_array_append_new(list, item)) {  // a list with something else in it is something else
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

// NULL if it has no form in JSON, or the budget is spent.
static json_t *plain_value(Walk *walk, const PickleValue *value, int depth) {
    if (!spend(walk, value->kind == PICKLE_TEXT ? (int64_t)value->text.length + 1 : 1)) {
        return NULL;
    }
    switch (value->kind) {
    case PICKLE_NONE: return json_null();
    case PICKLE_BOOL: return json_boolean(value->boolean);
    case PICKLE_INTEGER: return json_integer(value->integer);
    case PICKLE_FLOAT: return isfinite(value->number) ? json_real(value->number) : NULL;
    case PICKLE_TEXT: return json_stringn(value->text.data, value->text.length);
    case PICKLE_LIST:
    case PICKLE_TUPLE: return plain_list(walk, value, depth);
    case PICKLE_GLOBAL:
        return spend(walk, (int64_t)(strlen(value->global.module) + strlen(value->global.name)))
                   ? json_sprintf("%s.%s", value->global.module, value->global.name)
                   : NULL;
    default: return NULL;
    }
}

static void collect_arguments(TorchCheckpoint *checkpoint, int64_t pickle_bytes, Diagnostics *diagnostics) {
    const PickleValue *found = pickle_find(torch_checkpoint_root(checkpoint), "args");
    const PickleValue *dict = pickle_is_call(found, "argparse", "Namespace") ? found->object.state : found;
    if (!dict || dict->kind != PICKLE_DICT) {
        return;
    }
    Walk walk = {.checkpoint = checkpoint, .diagnostics = diagnostics, .budget = budget_of(pickle_bytes)};
    checkpoint->arguments = json_object();
    for (size_t i = 0; checkpoint->arguments && walk.budget >= 0 && i < dict->dict.count; i++) {
        const PickleEntry *entry = &dict->dict.entries[i];
        bool named = entry->key->kind == PICKLE_TEXT && strlen(entry->key->text.data) == entry->key->text.length;
        json_t *value = named && spend(&walk, (int64_t)entry->key->text.length) ? plain_value(&walk, entry->value, 0) : NULL;
        if (value) {
            json_object_set_new(checkpoint->arguments, entry->key->text.data, value);  // refuses keys that are not UTF-8
        }
    }
}

// --- opening -----------------------------------------------------------------------------------------------------------------
static int check_byteorder(TorchCheckpoint *checkpoint, Diagnostics *diagnostics) {
    static const char little[] = "little";
    char order[sizeof little] = "";
    int64_t bytes, entry = torch_archive_find(checkpoint->archive, "byteorder", &bytes);
    if (entry < 0) {  // before PyTorch 2.1
        return 0;
    }
    if (bytes >= (int64_t)sizeof order) {
        bytes = sizeof order - 1;
    }
    if (torch_archive_read(checkpoint->archive, entry, 0, order, bytes, diagnostics)) {
        return -1;
    }
    if (strcmp(order, little)) {
        diagnostics_add(diagnostics, checkpoint->path, 0, 0, "its byte order is '%s', expected '%s'", order, little);
        return -1;
    }
    return 0;
}

static int read_pickle(TorchCheckpoint *checkpoint, int64_t *bytes, Diagnostics *diagnostics) {
    int64_t entry = torch_archive_find(checkpoint->archive, "data.pkl", bytes);
    if (entry < 0 || *bytes > MAX_PICKLE_BYTES || (size_t)*bytes > checkpoint->mapping.size) {
        diagnostics_add(diagnostics, checkpoint->path, 0, 0, "data.pkl is larger than the file or than any real one");
        return -1;
    }
    uint8_t *data = malloc((size_t)*bytes + 1);
    if (!data) {
        diagnostics_add(diagnostics, checkpoint->path, 0, 0, "out of memory");
        return -1;
    }
    if (!torch_archive_read(checkpoint->archive, entry, 0, data, *bytes, diagnostics)) {
        checkpoint->pickle = pickle_read(data, (size_t)*bytes, checkpoint->path, diagnostics);
    }
    free(data);
    return checkpoint->pickle ? 0 : -1;
}

// Takes the mapping; `owned`: it is unmapped when the checkpoint is closed.
static TorchCheckpoint *open_mapping(Mapping mapping, bool owned, const char *path, Diagnostics *diagnostics) {
    TorchCheckpoint *checkpoint = calloc(1, sizeof *checkpoint);
    size_t problems = diagnostics->count;
    int64_t pickle_bytes;
    if (!checkpoint || !(checkpoint->path = strdup(path))) {
        free(checkpoint);
        diagnostics_add(diagnostics, path, 0, 0, "out of memory");
        if (owned) {
            mapping_free(&mapping);
        }
        return NULL;
    }
    checkpoint->mapping = mapping;
    checkpoint->owned = owned;
    checkpoint->archive = torch_archive_open(mapping.data, mapping.size, checkpoint->path, diagnostics);
    if (checkpoint->archive && !check_byteorder(checkpoint, diagnostics) && !read_pickle(checkpoint, &pickle_bytes, diagnostics)) {
        collect_tensors(checkpoint, pickle_bytes, diagnostics);
        collect_arguments(checkpoint, pickle_bytes, diagnostics);
    }
    if (diagnostics->count > problems) {
        torch_checkpoint_close(checkpoint);
        return NULL;
    }
    return checkpoint;
}

TorchCheckpoint *torch_checkpoint_open_memory(const void *data, size_t size, const char *name, Diagnostics *diagnostics) {
    return open_mapping((Mapping){(void *)data, size}, false, name, diagnostics);
}

TorchCheckpoint *torch_checkpoint_open(const char *path, Diagnostics *diagnostics) {
    char error[512];
    const Failure failure = {error, sizeof error};
    Mapping mapping;
    if (file_map(path, &mapping, &failure) != LIBRARY_OK) {
        diagnostics_add(diagnostics, NULL, 0, 0, "%s", error);
        return NULL;
    }
    return open_mapping(mapping, true, path, diagnostics);
}

void torch_checkpoint_close(TorchCheckpoint *checkpoint) {
    if (!checkpoint) {
        return;
    }
    for (int64_t i = 0; i < checkpoint->count; i++) {
        free(checkpoint->tensors[i].name);
    }
    free(checkpoint->tensors);
    json_decref(checkpoint->arguments);
    pickle_free(checkpoint->pickle);
    torch_archive_close(checkpoint->archive);
    if (checkpoint->owned) {
        mapping_free(&checkpoint->mapping);
    }
    free(checkpoint->path);
    free(checkpoint);
}

const PickleValue *torch_checkpoint_root(const TorchCheckpoint *checkpoint) {
    return pickle_root(checkpoint->pickle);
}

int64_t torch_checkpoint_count(const TorchCheckpoint *checkpoint) {
    return checkpoint->count;
}

const TorchTensor *torch_checkpoint_tensor(const TorchCheckpoint *checkpoint, int64_t index) {
    return &checkpoint->tensors[index];
}

const TorchTensor *torch_checkpoint_find(const TorchCheckpoint *checkpoint, const char *name) {
    const TorchTensor key = {.name = (char *)name};
    return checkpoint->count ? bsearch(&key, checkpoint->tensors, (size_t)checkpoint->count, sizeof key, compare_names) : NULL;
}

bool torch_checkpoint_view(TorchCheckpoint *checkpoint, int64_t index, int rank, const int64_t *shape) {
    TorchTensor *tensor = &checkpoint->tensors[index];
    int64_t strides[TORCH_MAX_RANK], bytes = tensor->element_bytes;
    for (int i = rank; i-- > 0;) {
        strides[i] = bytes / tensor->element_bytes;
        if (__builtin_mul_overflow(bytes, shape[i], &bytes)) {
            return false;
        }
    }
    if (!tensor->contiguous || bytes != tensor->bytes) {
        return false;
    }
    tensor->rank = rank;
    memcpy(tensor->shape, shape, (size_t)rank * sizeof *shape);
    memcpy(tensor->strides, strides, (size_t)rank * sizeof *strides);
    return true;
}

const json_t *torch_checkpoint_arguments(const TorchCheckpoint *checkpoint) {
    return checkpoint->arguments;
}
