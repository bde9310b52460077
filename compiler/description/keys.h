// The keys of a description as tables: what the parser reads, what it suggests for a misspelt key, and what examples/schema.json is
// made from (schema.c). A new field of Layer is one row in keys.c.
#ifndef CATENA_SPEC_KEYS_H
#define CATENA_SPEC_KEYS_H

#include "model.h"

typedef enum KeyType {
    KEY_IGNORED,  // any value: for editors
    KEY_INTEGER,  // int64_t
    KEY_REAL,  // float
    KEY_FLAG,  // int32_t 0 or 1
    KEY_CHOICE,  // int32_t index into choices
    KEY_IDENTIFIER,  // char[text_bytes]
    KEY_PATTERN,  // char[text_bytes]: name of a tensor with {layer}, {iteration}, {expert}
    KEY_TENSOR,  // TensorSource: a name, or an object with a name and how the matrix lies in the tensor
    KEY_ROUTING,  // char[text_bytes]: a routing of the workload
    KEY_COUNTS,  // a list of token counts, each a number or an object with its weight: the fields of Workload
    KEY_SECTION,  // an object with keys of its own, at the same base
    KEY_LAYERS,  // the list of layers: each a section at a base of its own
} KeyType;

typedef struct Section Section;

typedef struct Key {
    const char *name;
    const char *help;  // what it means, for examples/schema.json
    KeyType type;
    bool required;  // in its section; a section that is absent takes every default
    size_t offset;  // within the section's base: ModelLayer below "layers", Model above
    double minimum, maximum;  // of numbers (all bounds are exact in double)
    bool not_zero;  // though 0 is within them
    double fallback;  // value when absent: number, flag or index into choices
    const char *const *choices;  // NULL-terminated
    size_t text_bytes;  // capacity of a text, with its zero
    const Section *section;  // of KEY_SECTION, KEY_TENSOR, KEY_COUNTS and KEY_LAYERS
} Key;

struct Section {
    const char *name;  // for messages: "router"
    const Key *keys;
    size_t count;
};

// Most choices of a token in an iteration: choosing is a scan of the pool for each. A macro, so that texts can say it.
#define SPEC_MAX_TOP_K 1024
#define SPEC_DIGITS_OF(number) #number
#define SPEC_DIGITS(number) SPEC_DIGITS_OF(number)
// Largest factor of anything.
enum { SPEC_MAX_FACTOR = 1000000 };

// The whole description.
extern const Section spec_root;
// A layer's router; its base is a ModelLayer.
extern const Section spec_router;

#endif
