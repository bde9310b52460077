// Importance of tokens for layers that give each token its own k (DA-MoE), from attention probabilities.
//
// The published example gives importances without the formula; taking them from attention in these ways is this project's reading,
// and no kernel knows it. With A = the mean of attention over heads, [queries][keys]:
//   RECEIVE_MAX  I_j = max over queries i of A_ij: what some query pays to token j
//   RECEIVE_SUM  I_j = min(1, sum over queries i of A_ij): what all of them pay together; a sum can exceed 1, importances do not
//   GIVE_MAX     I_i = max over keys j of A_ij: how sure query i is of one key
#ifndef CATENA_IMPORTANCE_H
#define CATENA_IMPORTANCE_H

#include "library.h"

// attention is [heads][queries][keys], each within 0..1; importance has `keys` elements (RECEIVE) or `queries` (GIVE). Sums are
// made in double, in ascending order of heads and queries. INVALID_ARGUMENT, with nothing written: a NULL, a size below 1 or sizes
// that no memory holds, no such rule, an overlap, a probability that is NaN or outside 0..1.
Status importance_from_attention(const float *attention, int64_t heads, int64_t queries, int64_t keys, int rule, float *importance);

// K_t = clamp(ceil(importance * experts), k_min, top_k). The product is rounded to float, so that 0.3 of 10 experts are 3.
int32_t importance_to_k(const Layer *layer, float importance);

#endif
