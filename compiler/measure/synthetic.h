// Synthetic weights and tokens for bench and verify: random of sensible scale, reproducible from a seed on any thread count,
// with a controlled skew of the routing.
//
// Scale: matrix elements are uniform with variance 1 / depth, so that a product of a normalised token has variance about 1;
// norm weights lie within 1 +- 0.1, biases within +- 0.1. Padding of packed panels stays zero.
// Routing: router rows have variance 1.645 / hidden, so a token's logits are noise of the Gumbel distribution's variance
// (pi^2 / 6), and adding log p_e to logit e makes top-1 choose expert e with a probability close to p_e. log p_e enters
// honestly through the router itself: as its bias where the layer has one, otherwise as the router's weight for component 0 of
// the token, which synthetic_tokens sets to a constant. The popular experts are shuffled over the pool by the seed.
// Corrections change choices and do not make them all; coe weights lie around 0.5. Where choices are taken above a threshold, the
// logits are shifted by the same means so that expected_k are taken on average.
// Without inner residual and router bias only the first iteration is skewed: component 0 does not survive an iteration.
#ifndef CATENA_SYNTHETIC_H
#define CATENA_SYNTHETIC_H

#include <stddef.h>
#include <stdint.h>

#include "compiler/plan/routing.h"
#include "runtime/library.h"

// Fills one packed instance (plan->instance_bytes, any previous content). Parallel over panels. routing NULL: uniform.
void synthetic_fill(const Plan *plan, uint8_t *instance, uint64_t seed, const RoutingSkew *routing);
// Fills every instance of an image that packed_image_begin has begun; instance i of kind k gets its own seed.
// The caller finishes the image (packed_image_finish) if checksums are wanted.
void synthetic_fill_image(const Kind *kinds, int64_t count, void *image, uint64_t seed, const RoutingSkew *routing);

// tokens [tokens][hidden] of variance 1, representable in the layer's interface format. Another seed gives other tokens.
void synthetic_tokens(const Plan *plan, int64_t tokens, uint64_t seed, const RoutingSkew *routing, float *x);
// Rounds floats to the bf16 elements of an interface that takes bf16.
void synthetic_to_bf16(const float *from, int64_t count, uint16_t *to);

// splitmix64: the next number of a sequence.
static inline uint64_t synthetic_next(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
// Uniform in [-1, 1).
static inline float synthetic_uniform(uint64_t *state) {
    return (float)((int64_t)synthetic_next(state) >> 40) * 0x1p-23f;
}
// Normal, to the accuracy of a sum of four uniforms: mean 0, variance 1.
static inline float synthetic_normal(uint64_t *state) {
    uint64_t bits = synthetic_next(state);
    int32_t sum = (int16_t)bits + (int16_t)(bits >> 16) + (int16_t)(bits >> 32) + (int16_t)(bits >> 48);
    return (float)sum * (0x1p-15f * 0.8660254f);  // the variance of four uniforms on [-1, 1) is 4/3
}

#endif
