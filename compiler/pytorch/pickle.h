// A machine for Python's pickles that executes nothing: it builds a tree of plain values, in which calls of constructors are
// recorded, not made. Protocols 2 to 5. The bytes are not trusted: every length is checked, and memory is limited by their number.
//
// A tree it is not quite: the memo lets values be part of several others, or of themselves. Whoever walks one bounds depth and
// steps.
#ifndef CATENA_PICKLE_H
#define CATENA_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compiler/base/diagnostic.h"

typedef enum PickleKind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INTEGER,
    PICKLE_LONG,  // an integer beyond 64 bits: its bytes, little-endian two's complement
    PICKLE_FLOAT,
    PICKLE_TEXT,  // UTF-8, as the file has it
    PICKLE_BYTES,
    PICKLE_LIST,
    PICKLE_TUPLE,
    PICKLE_SET,
    PICKLE_DICT,       // dict, OrderedDict, defaultdict
    PICKLE_GLOBAL,     // a class or function by name
    PICKLE_PERSISTENT, // a reference to something outside of the pickle
    PICKLE_OBJECT,     // a call of a global (or of an object), and what was put into its result
} PickleKind;

typedef struct PickleValue PickleValue;

typedef struct PickleText {
    const char *data;  // a NUL follows
    size_t length;
} PickleText;

typedef struct PickleSequence {
    PickleValue **items;
    size_t count, capacity;
} PickleSequence;

typedef struct PickleEntry {
    PickleValue *key, *value;
} PickleEntry;

typedef struct PickleDict {
    PickleEntry *entries;  // in the file's order; of equal keys the last one counts
    size_t count, capacity;
} PickleDict;

typedef struct PickleObject {
    PickleValue *callable, *arguments;
    PickleValue *state;  // what __setstate__ would have been called with; may be NULL, as may the next two
    PickleValue *list;   // what was appended or added to it
    PickleValue *dict;   // what was stored under keys
} PickleObject;

struct PickleValue {
    PickleKind kind;
    union {
        bool boolean;
        int64_t integer;
        double number;
        PickleText text;          // TEXT, BYTES, LONG
        PickleSequence sequence;  // LIST, TUPLE, SET
        PickleDict dict;
        struct {
            const char *module, *name;
        } global;
        PickleValue *persistent;  // the reference itself
        PickleObject object;
    };
};

typedef struct Pickle Pickle;

// `file` is for messages. NULL with a diagnostic that names the byte. Values, stack and memo take at most 64 bytes for each of the
// pickle's and 64 MiB more, and never over 1 GiB: beyond that it is refused.
Pickle *pickle_read(const void *bytes, size_t size, const char *file, Diagnostics *diagnostics);
// The same with another limit of memory, in bytes.
Pickle *pickle_read_within(const void *bytes, size_t size, size_t limit, const char *file, Diagnostics *diagnostics);
void pickle_free(Pickle *pickle);

// Values live as long as the Pickle.
const PickleValue *pickle_root(const Pickle *pickle);

// The value under a text of a dict; NULL if there is none, or if it is no dict (or NULL).
const PickleValue *pickle_find(const PickleValue *dict, const char *key);

bool pickle_is_global(const PickleValue *value, const char *module, const char *name);
// Whether it is an object made by that function or class.
bool pickle_is_call(const PickleValue *value, const char *module, const char *name);
// Item of a list or tuple; NULL beyond its end, or if it is neither (or NULL).
const PickleValue *pickle_item(const PickleValue *sequence, size_t index);

#endif
