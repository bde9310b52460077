// The opcodes of CPython's Lib/pickletools.py: a table says what follows each and what it does to the stack. The text-based ones of
// protocols 0 and 1, extension registries and out-of-band buffers are missing: they are errors.
#include <inttypes.h>
#include <string.h>

#include "unpickler.h"

// Values without content are shared.
enum { FALSE, TRUE, NONE, CONSTANTS };
static PickleValue constants[CONSTANTS] = {
    [FALSE] = {PICKLE_BOOL, {false}}, [TRUE] = {PICKLE_BOOL, {true}}, [NONE] = {PICKLE_NONE, {false}}};
static PickleValue empty_tuple = {.kind = PICKLE_TUPLE};

static bool check_protocol(Unpickler *u) {
    return (*u->data >= PICKLE_FIRST_PROTOCOL && *u->data <= PICKLE_LAST_PROTOCOL) ||
           unpickler_fail(u, "protocol %d, expected %d to %d", *u->data, PICKLE_FIRST_PROTOCOL, PICKLE_LAST_PROTOCOL);
}

static bool check_frame(Unpickler *u) {
    return unpickler_little_endian(u->data, u->length) <= u->size - u->position ||
           unpickler_fail(u, "a frame that is longer than the rest");
}

static bool stop(Unpickler *u) {
    u->root = unpickler_pop(u);
    u->stopped = true;
    return u->root != NULL;
}

static bool push_constant(Unpickler *u) {
    return unpickler_push(u, &constants[u->parameter]);
}

static bool push_mark(Unpickler *u) {
    return unpickler_push(u, &unpickler_mark);
}

static bool drop(Unpickler *u) {
    if (u->depth && u->stack[u->depth - 1] == &unpickler_mark) {
        u->depth--;
        return true;
    }
    return unpickler_pop(u) != NULL;
}

static bool drop_to_mark(Unpickler *u) {
    size_t first = unpickler_after_mark(u);
    u->depth = first ? first - 1 : u->depth;
    return first > 0;
}

static bool duplicate(Unpickler *u) {
    PickleValue *top = unpickler_peek(u, 0);
    return top && unpickler_push(u, top);
}

static PickleValue *text_new(Unpickler *u, PickleKind kind, const uint8_t *data, size_t length) {
    PickleValue *value = unpickler_value(u, kind);
    char *copy = value ? unpickler_take(u, length + 1) : NULL;
    if (!copy) {
        return NULL;
    }
    memcpy(copy, data, length);
    value->text = (PickleText){copy, length};
    return value;
}

static bool push_text(Unpickler *u) {
    return unpickler_push(u, text_new(u, (PickleKind)u->parameter, u->data, u->length));
}

static bool push_number(Unpickler *u, int64_t integer) {
    PickleValue *value = unpickler_value(u, PICKLE_INTEGER);
    if (value) {
        value->integer = integer;
    }
    return unpickler_push(u, value);
}

static bool push_unsigned(Unpickler *u) {
    return push_number(u, (int64_t)unpickler_little_endian(u->data, u->length));
}

static bool push_signed(Unpickler *u) {
    const uint8_t *data = u->data;
    size_t length = u->length;
    if (length > sizeof(int64_t)) {
        return unpickler_push(u, text_new(u, PICKLE_LONG, data, length));
    }
    uint64_t bits = unpickler_little_endian(data, length);
    if (length && length < sizeof bits && data[length - 1] & 0x80) {
        bits |= UINT64_MAX << (8 * length);
    }
    return push_number(u, (int64_t)bits);
}

static bool push_float(Unpickler *u) {
    uint64_t bits = 0;
    for (size_t i = 0; i < u->length; i++) {  // big-endian
        bits = bits << 8 | u->data[i];
    }
    PickleValue *value = unpickler_value(u, PICKLE_FLOAT);
    if (value) {
        memcpy(&value->number, &bits, sizeof bits);
    }
    return unpickler_push(u, value);
}

static bool push_empty(Unpickler *u) {
    return unpickler_push(u, unpickler_value(u, (PickleKind)u->parameter));
}

// Replaces `count` values from `first` on by one; a mark before them goes too.
static bool gather(Unpickler *u, PickleKind kind, size_t first, size_t count, bool marked) {
    PickleValue *value = kind == PICKLE_TUPLE && !count ? &empty_tuple : unpickler_value(u, kind);
    if (value && count) {
        value->sequence.items = unpickler_take(u, count * sizeof *value->sequence.items);
        if (!value->sequence.items) {
            return unpickler_fail_memory(u);
        }
        memcpy(value->sequence.items, u->stack + first, count * sizeof *value->sequence.items);
        value->sequence.count = value->sequence.capacity = count;
    }
    u->depth = first - (marked ? 1 : 0);
    return unpickler_push(u, value);
}

static bool gather_marked(Unpickler *u) {
    size_t first = unpickler_after_mark(u);
    return first && gather(u, (PickleKind)u->parameter, first, u->depth - first, true);
}

static bool tuple_counted(Unpickler *u) {
    size_t count = (size_t)u->parameter;
    for (size_t i = 0; i < count; i++) {
        if (!unpickler_peek(u, i)) {
            return false;
        }
    }
    return gather(u, PICKLE_TUPLE, u->depth - count, count, false);
}

// --- filling collections -----------------------------------------------------------------------------------------------------
// Room for `more` elements, doubled so that what is left behind in the arena stays below what is used.
static void *extend(Unpickler *u, const void *old, size_t count, size_t more, size_t *capacity, size_t element) {
    if (count + more <= *capacity) {
        return (void *)old;
    }
    size_t wanted = *capacity * 2 > count + more ? *capacity * 2 : count + more;
    void *grown = unpickler_take(u, wanted * element);
    if (grown) {
        memcpy(grown, old ? old : "", count * element);
        *capacity = wanted;
    }
    return grown;
}

// An object's part of a kind, made when it is first needed.
static PickleValue *part(Unpickler *u, PickleValue **place, PickleKind kind) {
    if (!*place) {
        *place = unpickler_value(u, kind);
    }
    return *place;
}

static bool add_items(Unpickler *u, PickleValue *target, PickleValue **items, size_t count) {
    if (target->kind == PICKLE_OBJECT) {
        target = part(u, &target->object.list, PICKLE_LIST);
    } else if (target->kind != PICKLE_LIST && target->kind != PICKLE_SET) {
        return unpickler_fail(u, "it adds items to a value that is not a list");
    }
    if (!target || !count) {
        return target ? true : unpickler_fail_memory(u);
    }
    PickleSequence *sequence = &target->sequence;
    PickleValue **room = extend(u, sequence->items, sequence->count, count, &sequence->capacity, sizeof *room);
    if (!room) {
        return unpickler_fail_memory(u);
    }
    memcpy(room + sequence->count, items, count * sizeof *room);
    sequence->items = room;
    sequence->count += count;
    return true;
}

static bool add_entries(Unpickler *u, PickleValue *target, PickleValue **pairs, size_t count) {
    if (count % 2) {
        return unpickler_fail(u, "a key without a value");
    }
    if (target->kind == PICKLE_OBJECT) {
        target = part(u, &target->object.dict, PICKLE_DICT);
    } else if (target->kind != PICKLE_DICT) {
        return unpickler_fail(u, "it stores under a key of a value that is not a dict");
    }
    if (!target || !count) {
        return target ? true : unpickler_fail_memory(u);
    }
    PickleDict *dict = &target->dict;
    PickleEntry *room = extend(u, dict->entries, dict->count, count / 2, &dict->capacity, sizeof *room);
    if (!room) {
        return unpickler_fail_memory(u);
    }
    dict->entries = room;
    for (size_t i = 0; i < count; i += 2) {
        room[dict->count++] = (PickleEntry){pairs[i], pairs[i + 1]};
    }
    return true;
}

typedef bool Fill(Unpickler *u, PickleValue *target, PickleValue **values, size_t count);

// The values after the last mark go into what lies before it.
static bool fill_marked(Unpickler *u, Fill *fill) {
    size_t first = unpickler_after_mark(u), count = u->depth - first;
    if (!first) {
        return false;
    }
    u->depth = first - 1;
    PickleValue *target = unpickler_peek(u, 0);
    return target && fill(u, target, u->stack + first, count);
}

static bool fill_counted(Unpickler *u, Fill *fill, size_t count) {
    PickleValue *target = NULL;
    for (size_t i = 0; i <= count; i++) {
        target = unpickler_peek(u, i);
        if (!target) {
            return false;
        }
    }
    u->depth -= count;
    return fill(u, target, u->stack + u->depth, count);
}

static bool append(Unpickler *u) {
    return fill_counted(u, add_items, 1);
}

static bool append_marked(Unpickler *u) {
    return fill_marked(u, add_items);
}

static bool set_item(Unpickler *u) {
    return fill_counted(u, add_entries, 2);
}

static bool set_items_marked(Unpickler *u) {
    return fill_marked(u, add_entries);
}

// --- the memo ----------------------------------------------------------------------------------------------------------------
static bool memo_store(Unpickler *u, uint64_t index) {
    PickleValue *value = unpickler_peek(u, 0);
    if (!value) {
        return false;
    }
    if (index >= u->size) {  // picklers count up from 0, an operation for each
        return unpickler_fail(u, "place %" PRIu64 " in the memo of a pickle of %zu bytes", index, u->size);
    }
    if (!unpickler_grow(u, &u->memo, (size_t)index + 1, &u->memo_capacity)) {
        return unpickler_fail_memory(u);
    }
    u->memo_count += !u->memo[index];
    u->memo[index] = value;
    return true;
}

static bool memo_put(Unpickler *u) {
    return memo_store(u, unpickler_little_endian(u->data, u->length));
}

static bool memo_next(Unpickler *u) {
    return memo_store(u, u->memo_count);
}

static bool memo_get(Unpickler *u) {
    uint64_t index = unpickler_little_endian(u->data, u->length);
    if (index >= u->memo_capacity || !u->memo[index]) {
        return unpickler_fail(u, "nothing at place %" PRIu64 " of the memo", index);
    }
    return unpickler_push(u, u->memo[index]);
}

// --- globals and calls -------------------------------------------------------------------------------------------------------
static bool push_global(Unpickler *u, const char *module, const char *name) {
    PickleValue *value = unpickler_value(u, PICKLE_GLOBAL);
    if (value) {
        value->global.module = module;
        value->global.name = name;
    }
    return unpickler_push(u, value);
}

// The argument is "module\nname\n".
static bool global_lines(Unpickler *u) {
    const uint8_t *end = memchr(u->data, '\n', u->length);
    size_t first = (size_t)(end - u->data);
    PickleValue *module = text_new(u, PICKLE_TEXT, u->data, first);
    PickleValue *name = text_new(u, PICKLE_TEXT, end + 1, u->length - first - 2);
    return module && name ? push_global(u, module->text.data, name->text.data) : unpickler_fail_memory(u);
}

static bool global_stacked(Unpickler *u) {
    PickleValue *name = unpickler_pop(u), *module = name ? unpickler_pop(u) : NULL;
    if (!module) {
        return false;
    }
    if (name->kind != PICKLE_TEXT || module->kind != PICKLE_TEXT) {
        return unpickler_fail(u, "the name of a global is not a text");
    }
    return push_global(u, module->text.data, name->text.data);
}

static bool push_persistent(Unpickler *u) {
    PickleValue *reference = unpickler_pop(u), *value = reference ? unpickler_value(u, PICKLE_PERSISTENT) : NULL;
    if (value) {
        value->persistent = reference;
    }
    return reference && unpickler_push(u, value);
}

// Dicts that are made by calls are dicts; anything else is recorded.
static bool call(Unpickler *u, PickleValue *callable, PickleValue *arguments) {
    if (callable->kind != PICKLE_GLOBAL && callable->kind != PICKLE_OBJECT) {
        return unpickler_fail(u, "it calls a value that is neither a global nor an object");
    }
    if (arguments->kind != PICKLE_TUPLE) {
        return unpickler_fail(u, "a call's arguments are not a tuple");
    }
    bool ordered = pickle_is_global(callable, "collections", "OrderedDict") && !arguments->sequence.count;
    if (ordered || pickle_is_global(callable, "collections", "defaultdict")) {
        return unpickler_push(u, unpickler_value(u, PICKLE_DICT));
    }
    PickleValue *object = unpickler_value(u, PICKLE_OBJECT);
    if (object) {
        object->object.callable = callable;
        object->object.arguments = arguments;
    }
    return unpickler_push(u, object);
}

// REDUCE and NEWOBJ: a function or a class, and a tuple.
static bool call_stacked(Unpickler *u) {
    PickleValue *arguments = unpickler_pop(u), *callable = arguments ? unpickler_pop(u) : NULL;
    return callable && call(u, callable, arguments);
}

// Arguments by name are not kept: nothing reads them.
static bool call_named(Unpickler *u) {
    return unpickler_pop(u) && call_stacked(u);
}

static bool build(Unpickler *u) {
    PickleValue *state = unpickler_pop(u), *target = state ? unpickler_peek(u, 0) : NULL;
    if (!target) {
        return false;
    }
    switch (target->kind) {
    case PICKLE_OBJECT: target->object.state = state; return true;
    case PICKLE_DICT:
    case PICKLE_LIST:
    case PICKLE_SET: return true;  // attributes of an OrderedDict, such as the versions that torch puts at a state dict
    default: return unpickler_fail(u, "it gives a state to a value that cannot have one");
    }
}

// --- the table ---------------------------------------------------------------------------------------------------------------
// clang-format off
const Operation pickle_operations[256] = {
    [0x80] = {check_protocol, FIXED, 1, 0},             // PROTO
    [0x95] = {check_frame, FIXED, 8, 0},                // FRAME
    ['.'] = {stop, FIXED, 0, 0},                        // STOP
    ['('] = {push_mark, FIXED, 0, 0},                   // MARK
    ['0'] = {drop, FIXED, 0, 0},                        // POP
    ['1'] = {drop_to_mark, FIXED, 0, 0},                // POP_MARK
    ['2'] = {duplicate, FIXED, 0, 0},                   // DUP
    ['N'] = {push_constant, FIXED, 0, NONE},            // NONE
    [0x88] = {push_constant, FIXED, 0, TRUE},           // NEWTRUE
    [0x89] = {push_constant, FIXED, 0, FALSE},          // NEWFALSE
    ['J'] = {push_signed, FIXED, 4, 0},                 // BININT
    ['K'] = {push_unsigned, FIXED, 1, 0},               // BININT1
    ['M'] = {push_unsigned, FIXED, 2, 0},               // BININT2
    [0x8a] = {push_signed, COUNTED, 1, 0},              // LONG1
    [0x8b] = {push_signed, COUNTED, 4, 0},              // LONG4
    ['G'] = {push_float, FIXED, 8, 0},                  // BINFLOAT
    ['T'] = {push_text, COUNTED, 4, PICKLE_TEXT},       // BINSTRING, of Python 2
    ['U'] = {push_text, COUNTED, 1, PICKLE_TEXT},       // SHORT_BINSTRING
    ['X'] = {push_text, COUNTED, 4, PICKLE_TEXT},       // BINUNICODE
    [0x8c] = {push_text, COUNTED, 1, PICKLE_TEXT},      // SHORT_BINUNICODE
    [0x8d] = {push_text, COUNTED, 8, PICKLE_TEXT},      // BINUNICODE8
    ['B'] = {push_text, COUNTED, 4, PICKLE_BYTES},      // BINBYTES
    ['C'] = {push_text, COUNTED, 1, PICKLE_BYTES},      // SHORT_BINBYTES
    [0x8e] = {push_text, COUNTED, 8, PICKLE_BYTES},     // BINBYTES8
    [0x96] = {push_text, COUNTED, 8, PICKLE_BYTES},     // BYTEARRAY8
    [']'] = {push_empty, FIXED, 0, PICKLE_LIST},        // EMPTY_LIST
    ['}'] = {push_empty, FIXED, 0, PICKLE_DICT},        // EMPTY_DICT
    [0x8f] = {push_empty, FIXED, 0, PICKLE_SET},        // EMPTY_SET
    [')'] = {tuple_counted, FIXED, 0, 0},               // EMPTY_TUPLE
    [0x85] = {tuple_counted, FIXED, 0, 1},              // TUPLE1
    [0x86] = {tuple_counted, FIXED, 0, 2},              // TUPLE2
    [0x87] = {tuple_counted, FIXED, 0, 3},              // TUPLE3
    ['t'] = {gather_marked, FIXED, 0, PICKLE_TUPLE},    // TUPLE
    [0x91] = {gather_marked, FIXED, 0, PICKLE_SET},     // FROZENSET
    ['a'] = {append, FIXED, 0, 0},                      // APPEND
    ['e'] = {append_marked, FIXED, 0, 0},               // APPENDS
    [0x90] = {append_marked, FIXED, 0, 0},              // ADDITEMS
    ['s'] = {set_item, FIXED, 0, 0},                    // SETITEM
    ['u'] = {set_items_marked, FIXED, 0, 0},            // SETITEMS
    ['q'] = {memo_put, FIXED, 1, 0},                    // BINPUT
    ['r'] = {memo_put, FIXED, 4, 0},                    // LONG_BINPUT
    [0x94] = {memo_next, FIXED, 0, 0},                  // MEMOIZE
    ['h'] = {memo_get, FIXED, 1, 0},                    // BINGET
    ['j'] = {memo_get, FIXED, 4, 0},                    // LONG_BINGET
    ['c'] = {global_lines, LINES, 0, 0},                // GLOBAL
    [0x93] = {global_stacked, FIXED, 0, 0},             // STACK_GLOBAL
    ['Q'] = {push_persistent, FIXED, 0, 0},             // BINPERSID
    ['R'] = {call_stacked, FIXED, 0, 0},                // REDUCE
    [0x81] = {call_stacked, FIXED, 0, 0},               // NEWOBJ
    [0x92] = {call_named, FIXED, 0, 0},                 // NEWOBJ_EX
    ['b'] = {build, FIXED, 0, 0},                       // BUILD
};
// clang-format on
