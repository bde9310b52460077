// The oracle: what the description means (docs/description.md), in scalar C with double accumulation, and how far a correct fp32
// implementation may be from it. It shares no code with skeletons, tiles or runtime; weights come as plain arrays in checkpoint
// orientation.
#ifndef CATENA_ORACLE_H
#define CATENA_ORACLE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "templates/plan.h"

// A pool of experts. Arrays that the layer does not have are NULL.
typedef struct OracleExperts {
    int64_t count, width, intermediate;  // width: of what an expert reads and returns
    float *gate, *up;            // [count][intermediate][width]
    float *down;                 // [count][width][intermediate]
    float *gate_bias, *up_bias;  // [count][intermediate]
    float *down_bias;            // [count][width]
} OracleExperts;

typedef struct OracleWeights {
    float *norm, *norm_bias;    // [hidden]
    float *post_norm;           // [hidden]
    float *expert_scale;        // [experts]
    float *output_bias, *output_scale, *residual_bias, *residual_scale;  // [hidden]
    float *latent_in, *latent_norm, *latent_out;  // [latent][hidden], [latent], [hidden][latent]
    float *coe_weight;          // [iterations - 1]
    float *router;              // [routers][choices][hidden]
    float *router_bias;         // [routers][choices]
    float *correction;          // [routers][choices]
    float *shared_expert_gate;  // [shared experts][hidden]
    OracleExperts routed, shared;
} OracleWeights;

// Allocates every array that the layer has, zeroed. Returns 0, or -1 when out of memory (nothing is left allocated).
int oracle_weights_allocate(const Layer *layer, OracleWeights *weights);
// Fills all arrays from one packed instance (runtime/packed.h), with all threads.
void oracle_weights_unpack(const Plan *plan, const uint8_t *instance, OracleWeights *weights);
void oracle_weights_free(OracleWeights *weights);

// Routing that a library reported, to be replayed: [iterations][tokens][top_k], expert -1 = unused slot.
typedef struct OracleGiven {
    const int32_t *experts;  // NULL: the oracle makes the choices (only k is given)
    const float *weights;
    int check;  // 1: the library chose them itself, so check each against the oracle's scores; 0: a caller made them up
    const int32_t *k;  // [tokens] how many choices each token was to make; NULL: top_k
} OracleGiven;

// What the check of a library's choices found.
typedef struct OracleChecks {
    int64_t choices;       // choices checked
    int64_t near_ties;     // (token, iteration) where bounds leave several outcomes open (the k-th and k+1-th score, a group, a
                           // threshold are closer than their errors): each is right
    int64_t rejected;      // tokens that were routed nowhere because their logits were not finite
    int64_t violations;    // choices, weights or rejections that no correct implementation makes
    double worst_weight;   // largest error of a routing weight in units of its bound
    char first[160];       // the first violation in words, "" if there is none
} OracleChecks;

// EITHER: logits may or may not overflow in fp32, and what the library did does not tell.
typedef enum OracleVerdict { ORACLE_ACCEPTED, ORACLE_REJECTED, ORACLE_EITHER } OracleVerdict;

typedef struct OracleOutput {
    double *y;         // [tokens][hidden]; NaN in rows of rejected tokens
    double *bound;     // [tokens][hidden]: a correct fp32 result is within y +- bound; infinity: it may overflow
    int32_t *experts;  // [iterations][tokens][top_k] the routing that was used; may be NULL
    float *weights;
    double *scores;        // [iterations][tokens][choices], NaN for rejected tokens; may be NULL, like the two that follow
    double *score_bounds;  // a correct fp32 score is within scores +- these
    uint8_t *rejected;     // [tokens] OracleVerdict: whether the library must report the token as not finite
    OracleChecks checks;
} OracleOutput;

// Runs a layer on x [tokens][hidden]. model: worst-case bounds for any data, likely ones for random data. given == NULL: the oracle
// makes the choices (bounds then hold for implementations that choose the same experts). Returns 0, or -1 when out of memory.
// Parallel over tokens; results do not depend on threads.
int oracle_forward(const Layer *layer, const OracleWeights *weights, int64_t tokens, const float *x, const OracleGiven *given,
                   ErrorModel model, OracleOutput *out);

// How y (rows of `stride` floats) compares with the oracle.
typedef struct OracleComparison {
    double worst;  // largest |y - oracle| in units of the bound; <= 1 is right. Infinity: NaN where a number is due, ...
    int64_t token, column;  // where
    // Largest relative L2 error of a row (rows that may overflow or are zero left out): for the reader, no rule is made of it. The
    // rows of some layers end in one rounding, or in a factor whose error all elements share: their errors then reach their bounds
    // together, and no share of the bounds' L2 norm below 1 holds for all layers.
    double worst_l2;
} OracleComparison;

OracleComparison oracle_compare(const OracleOutput *oracle, int64_t tokens, int64_t hidden, const float *y, int64_t stride);

#endif
