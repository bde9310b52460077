// What a compiled library carries and what its exported functions do. Internal to libraries: users see the generated NAME.h,
// whose functions NAME_open, NAME_forward, ... are the library_... functions below with the library's own contents bound.
#ifndef CATENA_LIBRARY_H
#define CATENA_LIBRARY_H

#include <stddef.h>

#include "templates/skeleton.h"

// A named layer of a library: `count` instances of one shape.
typedef struct Kind {
    char name[LAYER_NAME_BYTES];
    int64_t count;
    Plan plan;
    Checkpoint checkpoint;
} Kind;

// CPU features that a library's code needs, by the names of targets/; a zero-terminated list of names in one string each.
enum { LIBRARY_NAME_BYTES = 64, LIBRARY_FEATURES_BYTES = 256 };

// Contents of one library, emitted by the compiler as constants.
typedef struct Contents {
    char name[LIBRARY_NAME_BYTES];          // prefix of the exported functions
    char target[16];                        // avx512, avx2, neon, generic
    char features[LIBRARY_FEATURES_BYTES];  // space-separated names as in runtime/cpu.c: "avx512f avx512bw ..."
    int64_t kinds;                          // number of entries of the arrays that follow as separate symbols
} Contents;

// Emitted symbols (hidden): the descriptor's parts.
extern const Contents library_contents;
extern const Kind library_kinds[];
extern LayerForward *const library_forwards[];  // per kind
extern const char library_description[];        // JSON: what describe() returns

// Status of a call. Negative: an error, with a text from library_error. LIBRARY_NONFINITE: done, but some rows are NaN.
typedef enum Status {
    LIBRARY_OK = 0,
    LIBRARY_NONFINITE = 1,
    LIBRARY_INVALID_ARGUMENT = -1,
    LIBRARY_UNSUPPORTED_CPU = -2,
    LIBRARY_BAD_WEIGHTS = -3,   // the file is damaged, of another layout, or lacks a tensor
    LIBRARY_IO_ERROR = -4,
    LIBRARY_OUT_OF_MEMORY = -5,
    LIBRARY_BUSY = -6,          // the instance is inside another call
} Status;

typedef struct Options {
    size_t size;            // sizeof(Options) of the caller's header
    int32_t threads;        // 0: all physical cores that this process may use (affinity and cgroup quota)
    int32_t check;          // 1: verify the checksums of packed weights while opening
    int64_t max_tokens;     // tokens per chunk of the workspace, at most the plan's; 0: the plan's choice
    const char *cache;      // open of a checkpoint: packed file, made once per source, then mapped; NULL: pack in memory
    int32_t bind;           // 1: bind worker threads to cores (never the caller's)
    int32_t huge_pages;     // 1: ask for huge pages for anonymous weights and workspace
    int32_t interleave;     // 1: spread anonymous weights over the NUMA nodes, page by page
} Options;

typedef struct Library Library;  // an open instance: weights, workspace, team size

// What a router did in one iteration of a forward. Formulas and their sources: figures.h.
typedef struct Figures {
    double sparsity;
    double l1;
    double balance_switch;
    double balance_sequence;
    double entropy;
    int64_t routed;
} Figures;

// What a forward can be given and asked for beyond x and y. Each pointer may be NULL. k: layer.top_k.
typedef struct Extra {
    size_t size;                   // sizeof(Extra) of the caller's header
    int32_t *experts;              // out: [iterations][tokens][k]
    float *weights;                // out: the same shape
    const int32_t *given_experts;  // in: routing that replaces the router's
    const float *given_weights;
    const int32_t *k;              // in: [tokens], how many each token chooses (layer.k_per_token only)
    const float *importance;       // in: [tokens] within 0..1, from which k follows; not together with k
    int64_t *load;                 // out: [iterations][choices], tokens that chose each
    float *scores;                 // out: [iterations][tokens][choices]
    Figures *figures;              // out: [iterations], figures_size bytes from one to the next
    size_t figures_size;           // sizeof(Figures) of the caller's header
    int64_t sequence_tokens;       // tokens of a sequence, for figures.balance_sequence; 0: all of them are one
} Extra;

// How importances follow from attention; see importance.h.
typedef enum ImportanceRule {
    IMPORTANCE_RECEIVE_MAX,
    IMPORTANCE_RECEIVE_SUM,
    IMPORTANCE_GIVE_MAX,
    IMPORTANCE_RULE_COUNT
} ImportanceRule;

// The functions behind NAME_...; `error` (may be NULL) receives a text of at most error_size bytes.
Status library_open(const char *weights, const Options *options, Library **out, char *error, size_t error_size);
Status library_open_memory(const void *packed, size_t bytes, const Options *options, Library **out, char *error, size_t error_size);
Status library_pack(const char *weights, const char *path, char *error, size_t error_size);
int library_find(const Library *library, const char *name, int64_t index);
Status library_forward(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride);
Status library_forward_routing(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                               int64_t y_stride, int32_t *experts, float *weights);
Status library_forward_routed(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y,
                              int64_t y_stride, const int32_t *experts, const float *weights);
Status library_forward_with(Library *library, int layer, int64_t tokens, const void *x, int64_t x_stride, void *y, int64_t y_stride,
                            const Extra *extra);
Status library_importance(const float *attention, int64_t heads, int64_t queries, int64_t keys, int rule, float *importance);
double library_adapt_lambda(double lambda, double sparsity, double target);
int64_t library_nonfinite(const Library *library, int64_t *first);
const char *library_error(const Library *library);
const char *library_describe(void);
void library_close(Library *library);

#endif
