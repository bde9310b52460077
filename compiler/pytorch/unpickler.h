// What pickle.c, the machine that reads pickles, and pickle_operations.c, its operations, share.
#ifndef CATENA_UNPICKLER_H
#define CATENA_UNPICKLER_H

#include "pickle.h"

enum { PICKLE_FIRST_PROTOCOL = 2, PICKLE_LAST_PROTOCOL = 5 };

typedef struct Unpickler {
    Pickle *pickle;
    const uint8_t *bytes;
    size_t size, position;
    size_t operation;  // where the current one began,
    const uint8_t *data;  // its argument
    size_t length;
    int parameter;  // and what distinguishes it from others that do alike
    PickleValue **stack;
    size_t depth, stack_capacity;
    PickleValue **memo;
    size_t memo_count, memo_capacity;
    size_t limit, taken;  // bytes of memory
    bool exhausted;       // there is memory, but not within the limit
    bool stopped;
    PickleValue *root;  // once it has stopped
    const char *file;
    Diagnostics *diagnostics;
} Unpickler;

// A mark lies between values on the stack, and nowhere else.
extern PickleValue unpickler_mark;

// What follows an opcode. FIXED: Operation.bytes bytes; COUNTED: a length of Operation.bytes bytes, then that many bytes; LINES:
// two lines.
typedef enum Argument { FIXED, COUNTED, LINES } Argument;

typedef struct Operation {
    bool (*operate)(Unpickler *u);  // false with a diagnostic
    Argument argument;
    int bytes;
    int parameter;
} Operation;

// By opcode; `operate` is NULL where there is none.
extern const Operation pickle_operations[256];

// Adds a diagnostic that names the operation's place; returns false.
bool unpickler_fail(Unpickler *u, const char *format, ...) __attribute__((format(printf, 2, 3)));
// For memory that was not given: the limit's fault, or the machine's.
bool unpickler_fail_memory(Unpickler *u);

// Zeroed memory that lives as long as the Pickle, and a value in it; NULL without memory.
void *unpickler_take(Unpickler *u, size_t bytes);
PickleValue *unpickler_value(Unpickler *u, PickleKind kind);
// Makes a list outside of the arena at least `needed` long; false without memory.
bool unpickler_grow(Unpickler *u, PickleValue ***items, size_t needed, size_t *capacity);

// value NULL means that there was no memory for it.
bool unpickler_push(Unpickler *u, PickleValue *value);
// The value `below` the top, or NULL with an error: there is none, or it is a mark.
PickleValue *unpickler_peek(Unpickler *u, size_t below);
PickleValue *unpickler_pop(Unpickler *u);
// Where the values after the last mark begin; who takes them sets depth to one less. 0 with an error if there is no mark.
size_t unpickler_after_mark(Unpickler *u);

uint64_t unpickler_little_endian(const uint8_t *data, size_t length);

#endif
