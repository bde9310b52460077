// Reading and loading compiled libraries. A library carries a JSON description in its ELF section ".catena":
// {"catena": "0.1.0", "llvm": "19.1.7", "name": "coe_2x4of64", "target": "avx512", "arch": "x86_64",
//  "spec": "<text of the description>", "compute": ["fp32", ...], "plans": ["<canonical text of each layer's plan>", ...],
//  "wisdom": [<where each layer's plan comes from, see compiler/wisdom/origin.h>, ...]}
#ifndef CATENA_ARTIFACT_H
#define CATENA_ARTIFACT_H

#include <jansson.h>

#include "compiler/base/diagnostic.h"
#include "compiler/description/model.h"
#include "runtime/library.h"

// What a library says of itself. Owned; free with artifact_free.
typedef struct Artifact {
    char *path;
    char *description;  // the JSON text
    char name[MODEL_NAME_BYTES];
    char target[16];
    Model *model;       // parsed from the embedded spec (with compute as compiled)
    Plan *plans;        // model->layer_count plans, parsed from their text
    json_t *origins;    // of each plan, a list of what compiler/wisdom/origin.h describes
} Artifact;

// Reads a library's description without loading it (any architecture). NULL with diagnostics if it is not a catena library.
Artifact *artifact_read(const char *path, Diagnostics *diagnostics);
void artifact_free(Artifact *artifact);

// The kinds that the library carries, rebuilt from its description: model->layer_count of them, owned by the caller (free).
// With them packed images can be made without loading the library. NULL when out of memory.
Kind *artifact_kinds(const Artifact *artifact);

// A library loaded into this process, with its functions found by name.
typedef struct Loaded {
    Artifact *artifact;
    void *handle;
    Status (*open)(const char *weights, const Options *options, Library **out, char *error, size_t error_size);
    Status (*open_memory)(const void *packed, size_t bytes, const Options *options, Library **out, char *error, size_t error_size);
    Status (*pack)(const char *weights, const char *path, char *error, size_t error_size);
    int (*find)(const Library *library, const char *name, int64_t index);
    Status (*forward)(Library *, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride);
    Status (*forward_routing)(Library *, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,
                              int32_t *experts, float *weights);
    Status (*forward_routed)(Library *, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,
                             const int32_t *experts, const float *weights);
    Status (*forward_with)(Library *, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,
                           const Extra *extra);
    Status (*importance)(const float *attention, int64_t heads, int64_t queries, int64_t keys, int rule, float *importance);
    double (*adapt_lambda)(double lambda, double sparsity, double target);
    int64_t (*nonfinite)(const Library *, int64_t *first);
    const char *(*error)(const Library *);
    void (*close)(Library *);
} Loaded;

// Loads a library; NULL with diagnostics (wrong architecture, missing symbol, ...).
Loaded *loaded_open(const char *path, Diagnostics *diagnostics);
void loaded_close(Loaded *loaded);

#endif
