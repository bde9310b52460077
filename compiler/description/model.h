// A parsed and validated description: what semantics allow, no choices yet.
#ifndef CATENA_MODEL_H
#define CATENA_MODEL_H

#include "compiler/base/diagnostic.h"
#include "templates/layer.h"

enum { MODEL_NAME_BYTES = 64, MODEL_MAX_LAYERS = 64, WORKLOAD_MAX_TOKENS = 32, WORKLOAD_ROUTING_BYTES = 256 };

// A workload's token counts, in descriptions and in --tokens: from 1 to this; weights above 0, up to that, in fp32.
enum { WORKLOAD_MAX_COUNT = 1 << 20 };
#define WORKLOAD_MAX_WEIGHT 1e6

typedef struct ModelLayer {
    char name[LAYER_NAME_BYTES];
    int64_t count;
    Layer layer;
    Checkpoint checkpoint;
} ModelLayer;

// A token count and how much it matters.
typedef struct WorkloadCount {
    int64_t count;
    float weight;
} WorkloadCount;

// What the layers are optimised for.
typedef struct Workload {
    int64_t tokens[WORKLOAD_MAX_TOKENS];
    float weights[WORKLOAD_MAX_TOKENS];  // of the token counts
    int64_t token_counts;
    char routing[WORKLOAD_ROUTING_BYTES];  // uniform | zipf:S | one | trace:PREFIX
} Workload;

typedef struct Model {
    char name[MODEL_NAME_BYTES];  // a C identifier: prefix of the library's functions
    int64_t layer_count;
    ModelLayer layers[MODEL_MAX_LAYERS];
    Workload workload;
    char *source;  // the description's own text, owned; embedded in libraries
} Model;

// Names in descriptions. The functions ..._find return -1 if nothing has that name.
const char *format_name(Format format);
int format_find(const char *name);
const char *compute_name(Compute compute);
int compute_find(const char *name);

// Reads a description from a file. On failure returns NULL with every problem found in `diagnostics` (file:line:column).
Model *model_read_file(const char *path, Diagnostics *diagnostics);
// The same from memory; `name` is used in messages.
Model *model_read_text(const char *text, size_t bytes, const char *name, Diagnostics *diagnostics);
void model_free(Model *model);

#endif
