// Where the tokens of a call go: how they spread over experts, or a trace that was recorded elsewhere.
#ifndef CATENA_ROUTING_H
#define CATENA_ROUTING_H

#include <stdbool.h>
#include <stdint.h>

#include "compiler/base/diagnostic.h"
#include "templates/layer.h"

enum { ROUTING_TEXT_BYTES = 512 };

typedef enum RoutingKind { ROUTING_UNIFORM, ROUTING_ZIPF, ROUTING_ONE } RoutingKind;

typedef struct RoutingSkew {
    RoutingKind kind;
    double exponent;  // zipf: popularity of the n-th expert is n^-exponent
} RoutingSkew;

// Parses "uniform", "zipf:S" (S >= 0) or "one". Returns 0, or -1 if the text is anything else: routing_parse also reads
// "trace:PREFIX".
int routing_skew_parse(const char *text, RoutingSkew *routing);

typedef struct Routing {
    bool is_trace;
    RoutingSkew synthetic;  // otherwise
    char text[ROUTING_TEXT_BYTES];  // as given; a trace's prefix follows "trace:"
} Routing;

// Reads uniform | zipf:S | one | trace:PREFIX (or PREFIX.experts.npy). Returns 0, or -1 if the text is anything else.
int routing_parse(const char *text, Routing *routing);

// Routing recorded elsewhere, its order kept: [iterations][tokens][top_k]. Owned; free with routing_trace_free.
typedef struct RoutingTrace {
    int64_t tokens;
    int32_t *experts;
    float *weights;
} RoutingTrace;

// Reads PREFIX.experts.npy and PREFIX.weights.npy (`prefix` may also be the name of the first) and checks that they fit the layer.
// Returns 0, or -1 with diagnostics.
int routing_trace_read(const char *prefix, const Layer *layer, RoutingTrace *trace, Diagnostics *diagnostics);
void routing_trace_free(RoutingTrace *trace);
// Copies the routing of `count` tokens from token `first` on, from the start again at the end: [iterations][count][top_k].
void routing_trace_window(const RoutingTrace *trace, const Layer *layer, int64_t first, int64_t count, int32_t *experts,
                          float *weights);

// Whether both chose the same experts for a token in every iteration, in any order: only then can outputs be compared.
bool routing_same_choices(const Layer *layer, int64_t tokens, int64_t token, const int32_t *a, const int32_t *b);

#endif
