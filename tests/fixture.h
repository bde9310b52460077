// Layers, weights and instances that several suites make from a seed.
#ifndef CATENA_FIXTURE_H
#define CATENA_FIXTURE_H

#include <stdint.h>

#include "compiler/plan/planner.h"
#include "runtime/instance.h"

// A layer that a test writes out, its factors made 1 where they are 0 (and expected_k k): such a field changes nothing.
Layer fixture_neutral(Layer layer);

// A random small layer: every field of the description varies, combinations are those that a description may have
// (compiler/description/check.c accepts all of them), sizes bracket vector lengths and panels.
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

// Packed weights that are all zero for the library $D/`library_path`, as a sparse file `name` ("$D/..."): enough to run a library
// of any size.
void fixture_zero_weights(const char *name, const char *library_path);

#endif
