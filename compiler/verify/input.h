// Inputs of verification: what tokens each case feeds to a layer.
#ifndef CATENA_VERIFY_INPUT_H
#define CATENA_VERIFY_INPUT_H

#include "compiler/oracle/oracle.h"
#include "verify.h"

// Fills x [tokens][hidden]. weights: the layer's own, for inputs aimed at its router. seed: another one, other tokens.
typedef void VerifyFill(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x);

typedef struct VerifyInput {
    const char *name;
    VerifyFill *fill;
    int64_t tokens;    // at most; big layers take fewer
    ErrorModel model;  // likely bounds hold for random data only
    VerifyHeights heights;  // of its first token
} VerifyInput;

// The adversarial inputs; *count receives their number.
const VerifyInput *verify_inputs(int64_t *count);
// A random case: independent normal tokens.
VerifyFill verify_fill_random;
// Tokens of the i-th random case: 0, 1, 2, around the tallest tile of the plan, then anything up to `limit`.
int64_t verify_random_tokens(const Plan *plan, int64_t i, uint64_t seed, int64_t limit);
// Makes pairs of experts indistinguishable for the router (equal rows, biases and corrections), so that ties occur in every case.
void verify_tie_experts(const Plan *plan, uint8_t *instance);

#endif
