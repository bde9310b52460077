// The oracle's steps on one token, shared between its files only.
#ifndef CATENA_REFERENCE_STEPS_H
#define CATENA_REFERENCE_STEPS_H

#include "reference.h"
#include "reference_error.h"

// One side of a product, prepared: every row of a matrix that meets it reuses these.
typedef struct Operand {
    double *value;   // a
    double *reach;   // |a| + e
    double *error;   // e
    double floor;    // absolute error from underflow over the whole sum
    double gamma;
    ErrorModel model;
} Operand;

// Room for one token. All pointers lie in one allocation.
typedef struct Scratch {
    Bounded *state, *next, *hidden, *output;  // [hidden], [hidden], [widest intermediate], [hidden]
    Bounded *logits;                          // [experts]
    Operand operand, inner;                   // of width hidden, widest intermediate
    int32_t *experts;                         // [top_k], ascending order of experts: the slots that are used
    Bounded *weights;                         // [top_k]
    int32_t *slots;                           // [top_k]
} Scratch;

// x_0 = norm(h).
void reference_norm(const Layer *layer, const ReferenceWeights *weights, const float *h, ErrorModel model, Bounded *x);
// Prepares a for products of a compute class (class bf16 rounds it); operand->model is set by the caller.
void reference_operand(const Bounded *a, int64_t count, Compute compute, Operand *operand);
// sum over k of operand[k] w[k], + bias if not NULL.
Bounded reference_product(const Operand *operand, const float *w, int64_t count, const float *bias);
// One expert of a pool on the prepared x: scratch->output = E_e(x).
void reference_expert(const Layer *layer, const ReferenceExperts *pool, int64_t e, Scratch *scratch);
// Activation with its error (table in reference_expert.c).
Bounded reference_activation(Activation activation, Bounded g);

// z = W_t x_t + b. The operand is prepared for compute class fp32.
void reference_logits(const Layer *layer, const ReferenceWeights *weights, int64_t iteration, const Operand *x, Bounded *z);
// The k best experts by logit, ties to the lower index, in descending order.
void reference_select(const Layer *layer, const Bounded *z, int32_t *chosen);
// Weights of chosen experts: score, normalised, scaled.
void reference_score(const Layer *layer, const Bounded *z, const int32_t *chosen, Bounded *weights);
// Checks one token's choices (in descending order of score) and weights in one iteration.
void reference_check_choice(const Layer *layer, const ReferenceWeights *weights, int64_t token, int64_t iteration, const Bounded *z,
                            const int32_t *chosen, const float *given, ReferenceChecks *checks);
// Notes a violation; the first one's text is kept.
void reference_violation(ReferenceChecks *checks, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
