// The unpickler: an arena, a stack, a memo, and a loop over opcodes. See pickle.h; what each opcode does is in pickle_operations.c.
#include "pickle.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "unpickler.h"

// --- an arena: values may refer to each other in circles, so they are freed all at once --------------------------------------
enum { CHUNK_BYTES = 1 << 16, ALIGNMENT = 16 };

typedef struct Chunk {
    struct Chunk *next;
    size_t used, size;
    _Alignas(ALIGNMENT) uint8_t data[];
} Chunk;

struct Pickle {
    Chunk *chunks;
    PickleValue *root;
};

static const size_t limit_per_byte = 64, limit_least = (size_t)64 << 20, limit_largest = (size_t)1 << 30;

// Whether `bytes` more bytes are within the limit.
static bool charge(Unpickler *u, size_t bytes) {
    u->exhausted |= bytes > u->limit - u->taken;
    u->taken += u->exhausted ? 0 : bytes;
    return !u->exhausted;
}

void *unpickler_take(Unpickler *u, size_t bytes) {
    Pickle *pickle = u->pickle;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    Chunk *chunk = pickle->chunks;
    if (!chunk || chunk->size - chunk->used < bytes) {
        size_t size = bytes > CHUNK_BYTES / 4 ? bytes : CHUNK_BYTES;
        Chunk *fresh = charge(u, sizeof *fresh + size) ? calloc(1, sizeof *fresh + size) : NULL;
        if (!fresh) {
            return NULL;
        }
        fresh->size = size;
        bool alone = chunk && size == bytes;  // behind the current one, which goes on being filled
        fresh->next = alone ? chunk->next : chunk;
        *(alone ? &chunk->next : &pickle->chunks) = fresh;
        chunk = fresh;
    }
    void *place = chunk->data + chunk->used;
    chunk->used += bytes;
    return place;
}

void pickle_free(Pickle *pickle) {
    while (pickle && pickle->chunks) {
        Chunk *next = pickle->chunks->next;
        free(pickle->chunks);
        pickle->chunks = next;
    }
    free(pickle);
}

// --- stack and messages ------------------------------------------------------------------------------------------------------
PickleValue unpickler_mark = {.kind = PICKLE_NONE};

bool unpickler_fail(Unpickler *u, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    diagnostics_add(u->diagnostics, u->file, 0, 0, "byte %zu of the pickle: %s", u->operation, text);
    return false;
}

bool unpickler_fail_memory(Unpickler *u) {
    if (u->exhausted) {
        return unpickler_fail(u, "the values of these %zu bytes need more than %zu bytes of memory", u->size, u->limit);
    }
    return unpickler_fail(u, "out of memory");
}

bool unpickler_grow(Unpickler *u, PickleValue ***items, size_t needed, size_t *capacity) {
    if (needed <= *capacity) {
        return true;
    }
    size_t wanted = *capacity * 2 > needed ? *capacity * 2 : needed < 64 ? 64 : needed;
    PickleValue **grown = charge(u, (wanted - *capacity) * sizeof *grown) ? realloc(*items, wanted * sizeof *grown) : NULL;
    if (!grown) {
        return false;
    }
    memset(grown + *capacity, 0, (wanted - *capacity) * sizeof *grown);
    *items = grown;
    *capacity = wanted;
    return true;
}

bool unpickler_push(Unpickler *u, PickleValue *value) {
    if (!value || !unpickler_grow(u, &u->stack, u->depth + 1, &u->stack_capacity)) {
        return unpickler_fail_memory(u);
    }
    u->stack[u->depth++] = value;
    return true;
}

PickleValue *unpickler_value(Unpickler *u, PickleKind kind) {
    PickleValue *value = unpickler_take(u, sizeof *value);
    if (value) {
        value->kind = kind;
    }
    return value;
}

PickleValue *unpickler_peek(Unpickler *u, size_t below) {
    if (u->depth <= below || u->stack[u->depth - 1 - below] == &unpickler_mark) {
        unpickler_fail(u, "it takes a value from the stack, which has none");
        return NULL;
    }
    return u->stack[u->depth - 1 - below];
}

PickleValue *unpickler_pop(Unpickler *u) {
    PickleValue *value = unpickler_peek(u, 0);
    u->depth -= value ? 1 : 0;
    return value;
}

size_t unpickler_after_mark(Unpickler *u) {
    for (size_t i = u->depth; i > 0; i--) {
        if (u->stack[i - 1] == &unpickler_mark) {
            return i;
        }
    }
    unpickler_fail(u, "it takes values up to a mark, and there is none");
    return 0;
}

uint64_t unpickler_little_endian(const uint8_t *data, size_t length) {
    uint64_t number = 0;
    for (size_t i = 0; i < length; i++) {
        number |= (uint64_t)data[i] << (8 * i);
    }
    return number;
}

// --- the loop ----------------------------------------------------------------------------------------------------------------
// How many bytes of argument there are from `position` on, without the count; moves `position` to the first of them.
static bool argument_length(Unpickler *u, const Operation *operation, uint64_t *length) {
    const uint8_t *data = u->bytes + u->position;
    size_t rest = u->size - u->position;
    if (operation->argument == LINES) {
        const uint8_t *first = memchr(data, '\n', rest);
        const uint8_t *second = first ? memchr(first + 1, '\n', rest - (size_t)(first + 1 - data)) : NULL;
        *length = second ? (uint64_t)(second + 1 - data) : rest + 1ull;
    } else if (operation->argument == FIXED || rest < (size_t)operation->bytes) {
        *length = (uint64_t)operation->bytes;
    } else {
        *length = unpickler_little_endian(data, (size_t)operation->bytes);
        u->position += (size_t)operation->bytes;
        rest -= (size_t)operation->bytes;
    }
    return *length <= rest || unpickler_fail(u, "truncated: it ends within an operation");
}

static bool step(Unpickler *u) {
    u->operation = u->position;
    if (u->position == u->size) {
        return unpickler_fail(u, "truncated: it ends without a stop");
    }
    uint8_t code = u->bytes[u->position++];
    const Operation *operation = &pickle_operations[code];
    if (!operation->operate) {
        return unpickler_fail(u, "unknown operation 0x%02x", code);
    }
    uint64_t length;
    if (!argument_length(u, operation, &length)) {
        return false;
    }
    u->data = u->bytes + u->position;
    u->length = (size_t)length;
    u->parameter = operation->parameter;
    u->position += u->length;
    return operation->operate(u);
}

Pickle *pickle_read(const void *bytes, size_t size, const char *file, Diagnostics *diagnostics) {
    bool large = size > (limit_largest - limit_least) / limit_per_byte;
    return pickle_read_within(bytes, size, large ? limit_largest : limit_least + size * limit_per_byte, file, diagnostics);
}

Pickle *pickle_read_within(const void *bytes, size_t size, size_t limit, const char *file, Diagnostics *diagnostics) {
    Unpickler u = {.bytes = bytes, .size = size, .limit = limit, .file = file, .diagnostics = diagnostics};
    u.pickle = calloc(1, sizeof *u.pickle);
    bool good = u.pickle ? true : unpickler_fail_memory(&u);
    if (good && (size < 2 || u.bytes[0] != 0x80)) {
        good = unpickler_fail(&u, "not a pickle of protocol %d or later", PICKLE_FIRST_PROTOCOL);
    }
    while (good && !u.stopped) {
        good = step(&u);
    }
    free(u.stack);
    free(u.memo);
    if (!good) {
        pickle_free(u.pickle);
        return NULL;
    }
    u.pickle->root = u.root;
    return u.pickle;
}

// --- looking into values -----------------------------------------------------------------------------------------------------
const PickleValue *pickle_root(const Pickle *pickle) {
    return pickle->root;
}

const PickleValue *pickle_find(const PickleValue *dict, const char *key) {
    size_t length = strlen(key);
    for (size_t i = dict && dict->kind == PICKLE_DICT ? dict->dict.count : 0; i-- > 0;) {
        const PickleValue *found = dict->dict.entries[i].key;
        if (found->kind == PICKLE_TEXT && found->text.length == length && !memcmp(found->text.data, key, length)) {
            return dict->dict.entries[i].value;
        }
    }
    return NULL;
}

bool pickle_is_global(const PickleValue *value, const char *module, const char *name) {
    return value && value->kind == PICKLE_GLOBAL && !strcmp(value->global.module, module) && !strcmp(value->global.name, name);
}

bool pickle_is_call(const PickleValue *value, const char *module, const char *name) {
    return value && value->kind == PICKLE_OBJECT && pickle_is_global(value->object.callable, module, name);
}

const PickleValue *pickle_item(const PickleValue *sequence, size_t index) {
    bool found = sequence && (sequence->kind == PICKLE_LIST || sequence->kind == PICKLE_TUPLE) && index < sequence->sequence.count;
    return found ? sequence->sequence.items[index] : NULL;
}
