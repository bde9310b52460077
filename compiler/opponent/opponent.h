// What a competent user would write: plain C and OpenMP, optimised but straightforward. bench compares compiled layers with it.
// Tokens are sorted by expert. Products are register-blocked dot products that the compiler vectorises. Weights are row-major as in
// a checkpoint: bf16 where the layer's are bf16, otherwise fp32. The semantics are the oracle's.
#ifndef CATENA_OPPONENT_H
#define CATENA_OPPONENT_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/packed.h"

// A pool of experts; biases are fp32. NULL where the layer has none.
typedef struct OpponentPool {
    int64_t count, width, intermediate;  // width: of what an expert reads and returns
    float limit;  // of gate and up; 0: none
    Number gate_up_number, down_number;  // of the matrices: opponent_number of their packed formats
    void *gate, *up;  // [count][intermediate][width]
    void *down;  // [count][width][intermediate]
    float *gate_bias, *up_bias;  // [count][intermediate]
    float *down_bias;  // [count][width]
} OpponentPool;

typedef struct OpponentWeights {
    float *norm, *norm_bias, *post_norm;  // [hidden]
    float *output_bias, *output_scale, *residual_bias, *residual_scale;  // [hidden]
    float *expert_scale;  // [experts]
    float *coe_weight;  // [iterations - 1]
    void *router;  // [routers][choices][hidden]
    Number router_number;  // of both
    float *router_bias;  // [routers][choices]
    float *correction;  // [routers][choices]
    void *shared_expert_gate;  // [shared experts][hidden]
    void *latent_in, *latent_out;  // [latent][hidden], [hidden][latent]
    float *latent_norm;  // [latent]
    Number latent_number;  // of both projections
    OpponentPool routed, shared;
} OpponentWeights;

// Room for the intermediate results of up to max_tokens tokens, so that a forward allocates nothing. Slots are (token, choice).
typedef struct OpponentWorkspace {
    int threads;
    float *memory[2];  // [tokens][hidden]: x_t and x_{t+1}, alternating
    float *latent, *sum;  // [tokens][latent]: what the routed experts of a latent layer read, the sum of their outputs
    float *rounded;  // [tokens][hidden or latent]: experts' inputs rounded to bf16, in compute class bf16
    float *hidden;  // [slots][widest intermediate]: act(gate x) * (up x), one row per slot, sorted by expert
    float *values;  // [slots][hidden or latent]: the experts' outputs, of a latent layer also [tokens][hidden] of its projections
    float *logits, *weights;  // [tokens][router columns], [tokens][top_k]
    float *ranks;  // [threads][3][choices]: of one row, see opponent_choose_row
    float *wide;  // [threads][wide_floats]: rows of a bf16 matrix as fp32
    int64_t wide_floats;
    int32_t *experts, *slots;  // [tokens][top_k]: chosen experts, and the row in hidden and values of each
    int32_t *rows;  // [slots]: token of each row
    int64_t *starts;  // [experts + 1]: first row of each expert
    const int32_t *k;  // [tokens]: k of each token, set by the caller; NULL: top_k
    uint8_t *rejected;  // [tokens]: logits were not finite
    const float **pointers;  // [slots]: input of each row
} OpponentWorkspace;

enum { OPPONENT_OUTPUT_BLOCK = 8 };  // rows of a matrix that are widened at a time

// What matrices of a packed format are kept as: bf16 as bf16, everything else as fp32, exactly.
static inline Number opponent_number(Format format) {
    return format == FORMAT_BF16 ? NUMBER_BF16 : NUMBER_FP32;
}

// Copies one packed instance into row-major arrays, on huge pages where they are large. Returns 0, or -1 when out of memory
// (nothing is left allocated).
int opponent_weights_unpack(const Plan *plan, const uint8_t *instance, OpponentWeights *weights);
void opponent_weights_free(OpponentWeights *weights);
// NULL when out of memory.
OpponentWorkspace *opponent_workspace_create(const Layer *layer, int64_t max_tokens, int threads);
void opponent_workspace_free(OpponentWorkspace *workspace);

// y [tokens][hidden] = layer(x [tokens][hidden]), both fp32, with the workspace's threads. tokens <= max_tokens; y may be x.
// A token whose logits are not finite gets a row of NaN. experts and weights ([iterations][tokens][top_k]) may be NULL.
void opponent_forward(const Layer *layer, const OpponentWeights *weights, OpponentWorkspace *workspace, int64_t tokens,
                      const float *x, float *y, int32_t *experts_out, float *weights_out);

// The weight of shared expert j in a row, from its logits, with the gates' behind those of the choices, and its choices (route.c).
float opponent_shared_weight(const Layer *layer, const float *logits, const int32_t *experts, int64_t j);

// One row's choices and weights from its logits (route.c), k at most. correction: [choices], NULL: none.
// ranks: [3][choices], room for ranks, scores and the scores of groups.
void opponent_choose_row(const Layer *layer, const float *logits, const float *correction, int64_t k, float *ranks,
                         int32_t *experts, float *weights);

#endif
