// Layers, weights and instances that several suites make from a seed.
#ifndef CATENA_FIXTURE_H
#define CATENA_FIXTURE_H

#include <stdint.h>

#include "compiler/description/model.h"
#include "compiler/oracle/oracle.h"
#include "compiler/plan/planner.h"
#include "runtime/instance.h"

// A layer that a test writes out, its factors made 1 where they are 0 (and expected_k k): such a field changes nothing.
Layer fixture_neutral(Layer layer);

// A random small layer: every field of the description varies, combinations are those that a description may have (spec_check.c
// accepts all of them), sizes bracket vector lengths and panels.
Layer fixture_layer(uint64_t seed);

// A description of one layer named "sparse" with that content, as text; owned by the caller.
char *fixture_spec(const char *name, const Layer *layer);

// A kind of one instance with the default plan of a target for a machine with small caches.
Kind fixture_kind(const Layer *layer, const char *target);

// Packed random weights for a kind, aligned to a page, with a valid header; owned: free().
void *fixture_image(const Kind *kind, uint64_t seed, size_t *bytes);

// Random tokens [tokens][hidden] in the layer's interface format (float or bf16 elements); owned.
void *fixture_tokens(const Plan *plan, int64_t tokens, uint64_t seed);

// Random k of each token, k_min..top_k, the ends among them; NULL if the layer takes none. Owned.
int32_t *fixture_k(const Layer *layer, int64_t tokens, uint64_t seed);

// Bytes of one interface element.
size_t fixture_element(const Layer *layer);

// An instance of the natively compiled skeleton with plain tiles. One kind at a time: the plan is a global variable.
Library *fixture_native(const Kind *kind, const void *image, size_t bytes, int threads, int64_t max_tokens);

// Instances of one entry of a description, their weights read from a checkpoint, run by the same skeleton.
typedef struct FixtureCheckpoint {
    Kind kind;
    Library *library;
} FixtureCheckpoint;
FixtureCheckpoint *fixture_checkpoint_open(const ModelLayer *entry, const char *weights);
void fixture_checkpoint_close(FixtureCheckpoint *checkpoint);
// The oracle's weights of one instance; to free with oracle_weights_free.
void fixture_checkpoint_weights(const FixtureCheckpoint *checkpoint, int64_t instance, OracleWeights *weights);

// What a forward was given and what it left: y and x in the interface's format.
typedef struct FixtureForward {
    int64_t tokens;
    const void *x, *y;
    const int32_t *k;        // of each token; NULL: top_k
    const int32_t *experts;  // as the library reported them; NULL: it did not, and the oracle routes by itself
    const float *weights;
    const float *scores;     // NULL: not reported
} FixtureForward;

// Fails unless the choices are right, and y and the scores within the oracle's bounds (compiler/oracle/error.h derives them for
// each element from its data, and they hold for every order of the sums).
void fixture_expect_oracle(const Layer *layer, const OracleWeights *weights, const FixtureForward *found, ErrorModel model,
                           const char *what);

// Packed weights that are all zero for the library $D/`library_path`, as a sparse file `name` ("$D/..."): enough to run a library
// of any size.
void fixture_zero_weights(const char *name, const char *library_path);

#endif
