// What a router did, in numbers: computed from the choices and scores of a forward, in double, one token after the other, so that
// threads, chunks and instruction sets of the layer do not show.
//
// For one iteration with T tokens, E choices per token (experts, identity and null ones), scores s_te, p_te = the scores divided
// by their sum over e (softmax sums to 1 already; a token whose scores are all 0 has p = 0), n_e = tokens that chose e,
// k = layer.expected_k. Tokens whose logits were not finite in any iteration are left out of every count, T included.
//
//   routed            sum of n_e
//   sparsity          1 - routed / (T E)                                   ReMoE (Wang et al., 2024)
//   l1                E / (k T^2) sum_e (sum_t s_te) n_e                   ReMoE's load-balanced L1 term with lambda = 1
//   balance_switch    E sum_e (n_e / T) (sum_t p_te / T)                   Switch Transformers (Fedus et al., 2021), equation 4,
//   with
//                                                                          k choices as transformers' load_balancing_loss_func
//   balance_sequence  mean over sequences of sum_e (E n_e / (k T)) (sum_t p_te / T), n, p and T of the sequence's tokens
//                                                                          DeepSeek-V3 (2024), equations 17 to 20, alpha = 1
//   entropy           - sum_t sum_e p_te ln p_te / T
#ifndef CATENA_FIGURES_H
#define CATENA_FIGURES_H

#include <stdbool.h>

#include "library.h"

// Sums of one iteration; the arrays have layer_choices() elements.
typedef struct FigureSums {
    int64_t *chosen;
    double *scores;            // sum_t s_te
    double *shares;            // sum_t p_te
    int64_t *sequence_chosen;  // of the current sequence
    double *sequence_shares;
    int64_t tokens;
    int64_t sequence;          // number of the current sequence
    int64_t sequence_length;   // its tokens so far
    int64_t sequences;         // that had tokens
    double balance;            // sum over complete sequences
    double entropy;
} FigureSums;

// A forward's figures under way.
typedef struct Gathering {
    const Layer *layer;
    int64_t sequence_tokens;  // 0: one sequence
    FigureSums sums[LAYER_MAX_ITERATIONS];
} Gathering;

// Routing of consecutive tokens.
typedef struct FigureRows {
    int64_t first;            // the first one's number in the forward
    int64_t tokens;
    int64_t stride;           // tokens of one iteration in experts and scores
    const int32_t *experts;   // [iterations][stride][top_k]; -1: slot not used
    const float *scores;      // [iterations][stride][choices]; NULL: only `chosen` is wanted
    const uint8_t *rejected;  // [tokens]: left out
} FigureRows;

// Bytes of memory that a gathering needs.
int64_t figures_bytes(const Layer *layer);
// Starts a gathering in `memory`, which has figures_bytes bytes and is aligned to 8.
void figures_begin(const Layer *layer, int64_t sequence_tokens, void *memory, Gathering *out);
// Tokens must come in order.
void figures_add(Gathering *gathering, const FigureRows *rows);
// load [iterations][choices] and figures [iterations] may be NULL. All zero where there was no token. figures_size: bytes from one
// iteration's figures to the next, the caller's sizeof(Figures). Exactly figures_size bytes are written for each iteration; those
// behind the figures that this library knows are zero.
void figures_end(Gathering *gathering, int64_t *load, Figures *figures, size_t figures_size);

// One step of ReMoE's control of lambda: 1.2 lambda while the layer is less sparse than the target, else lambda / 1.2.
double figures_adapt_lambda(double lambda, double sparsity, double target);

#endif
