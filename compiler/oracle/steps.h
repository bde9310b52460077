// The oracle's steps on one token, shared between its files only.
#ifndef CATENA_ORACLE_STEPS_H
#define CATENA_ORACLE_STEPS_H

#include "error.h"
#include "oracle.h"

// One side of a product, prepared: every row of a matrix that meets it reuses these.
typedef struct Operand {
    double *value;   // a
    double *reach;   // |a| + e
    double *error;   // e
    double floor;    // absolute error from underflow over the whole sum
    double gamma;
    ErrorModel model;
} Operand;

// Units of relative error that each function built on exp, log and tanh is allowed: it is within a few units in the last place,
// which are doubled for safety. Results too small for fp32 may be taken as zero.
static const double function_units = 8;
static const double exp_floor = 0x1p-124;  // e^x is zero from x = -87 on

// How surely something holds of quantities that carry errors.
typedef enum Certainty { SURELY_NOT, UNCERTAIN, SURELY } Certainty;

// One token's choices as a selection rule sees them: see select.c. A choice that the correction or the router's bias excludes ranks
// at minus infinity, without an error.
typedef struct Ranking {
    Bounded *logits;  // [choices] z
    Bounded *scores;  // [choices] s
    Bounded *rank;  // [choices] c: s or z, corrected, masked with 0 where a group loses
    const Bounded *order;  // what the ranking goes by: rank, or logits where those have the same order
    uint8_t *kept;  // [choices] Certainty: the choice's group does not lose
    Bounded *group_scores;  // [groups]
    uint8_t *group_kept;  // [groups] Certainty
    int exact;  // logits and scores carry no errors, and ranking adds none
    // what has been taken so far
    uint8_t *taken;  // [choices]
    int64_t count, limit;  // limit: the token's k
    Bounded sum;  // of the scores taken
} Ranking;

// Room for one token. All pointers lie in one allocation.
typedef struct Scratch {
    Bounded *state, *next, *hidden, *output;  // [hidden], [hidden], [widest intermediate], [hidden]
    Bounded *logits;  // [choices], then [shared experts] if these are gated
    Bounded *scores;  // [choices]
    Bounded *latent, *sum;  // [latent]: what the routed experts of a latent layer read, the sum of their outputs
    Bounded *weighted;  // [hidden or latent]: w x, where weights are on inputs
    Operand operand, own, inner;  // of width hidden, hidden or latent (of w x, of sum), widest intermediate
    Operand projected;  // of latent
    Ranking ranking;
    Bounded *weights, *due;  // [top_k], then [shared experts] if these are joint; those of the check
    int32_t *slots;  // [top_k]
} Scratch;

// One token on its way through the layer.
typedef struct TokenRun {
    const Layer *layer;
    const OracleWeights *weights;
    const OracleGiven *given;
    OracleOutput *out;
    OracleChecks *checks;
    Scratch *scratch;
    int64_t token, tokens;
    int input_finite;
    int rejected;  // routed nowhere in this or an earlier iteration: the row is NaN
    int unknown;  // logits may or may not overflow: anything is accepted
} TokenRun;

// All of it: fills the token's rows of run->out and what checks find (token.c).
void oracle_token(TokenRun *run, const float *h);

// A norm of `count` values, in place.
typedef struct OracleNorm {
    Norm kind;
    double eps;
    const float *weight, *bias;  // bias NULL: none
} OracleNorm;
void oracle_norm(const OracleNorm *norm, int64_t count, ErrorModel model, Bounded *x);
// Prepares a for products of a compute class (class bf16 rounds it); operand->model is set by the caller.
void oracle_operand(const Bounded *a, int64_t count, Compute compute, Operand *operand);
// sum over k of operand[k] w[k], + bias if not NULL.
Bounded oracle_product(const Operand *operand, const float *w, int64_t count, const float *bias);
// One expert of a pool on a prepared x: scratch->output = E_e(x). limit: of the pool's gate and up, 0: none.
void oracle_expert(const Layer *layer, const OracleExperts *pool, double limit, int64_t e, const Operand *x, Scratch *scratch);
// Activation with its error, from the bounds of its row (templates/activations/).
Bounded oracle_activation(Activation activation, double slope, Bounded g);

// Scores and weights (score.c).
// z = softcap(logit_scale W_t x_t + b), minus infinity where b is; then G x_t if shared experts are gated. The operand is prepared
// for compute class fp32.
void oracle_logits(const Layer *layer, const OracleWeights *weights, int64_t iteration, const Operand *x, Bounded *z);
const float *oracle_router_row(const Layer *layer, const OracleWeights *weights, int64_t iteration, int64_t choice);
void oracle_scores(const Layer *layer, const Bounded *z, Bounded *s);
Bounded oracle_sigmoid(Bounded z);
Bounded oracle_softcap(Bounded z, double cap);  // cap 0: z stays
// Weights of `count` chosen experts (-1: none, of weight 0): what selection makes of their scores, normalised, scaled by the
// layer's number and by expert_scale [experts], NULL: none. gates: logits of the shared experts' gates, whose weights, if they are
// joint, go behind the top_k slots.
void oracle_weigh(const Layer *layer, const float *expert_scale, const Bounded *z, const Bounded *s, const Bounded *gates,
                  const int32_t *chosen, int64_t count, Bounded *weights);

// Ranking and selection (select.c).
// Whether choices may be ranked by their logits, without scores: the order is the same.
int oracle_ranks_by_logits(const Layer *layer);
// Ranks all choices from r->logits and r->scores, taking nothing yet. by_logits: only where oracle_ranks_by_logits.
void oracle_rank(const Layer *layer, const OracleWeights *weights, int64_t iteration, int by_logits, Ranking *r);
// Whether a token that has taken r->count choices could go on with choice e, as far as the rule of selection is concerned.
Certainty oracle_takes(const Layer *layer, const Ranking *r, int64_t e);
// Whether a choice can be made at all: neither correction nor bias excludes it, and its group does not lose or losing is no
// exclusion.
Certainty oracle_present(const Layer *layer, const Ranking *r, int64_t e);
void oracle_take(Ranking *r, int64_t e);
// What the rule makes the weight of the choice in a slot, before it is normalised: its score, as a rule.
Bounded oracle_rule_weight(const Layer *layer, const Bounded *z, const Bounded *s, const int32_t *chosen, int64_t slot);
// Slots are in ascending order of choices instead of ranking order.
int oracle_slots_ascend(const Layer *layer);
// Makes a token's choices from a ranking without errors. Returns their number; the other slots become -1.
int64_t oracle_select(const Layer *layer, Ranking *r, int32_t *chosen);

// Checks one token's choices and weights in one iteration (check.c). ranking: its logits, scores and limit are set.
void oracle_check_choice(const Layer *layer, const OracleWeights *weights, int64_t token, int64_t iteration, const int32_t *chosen,
                         const float *given, Scratch *scratch, OracleChecks *checks);
// Notes a violation; the first one's text is kept.
void oracle_violation(OracleChecks *checks, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
