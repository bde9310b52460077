// The oracle's way through a layer, token by token:
//
//     x_0 = norm(h);  for t: z = W_t x_t + b; select, weigh; x_{t+1} = (inner ? x_t : 0) + sum of w_e E_e(x_t) + shared experts
//     out = (outer ? h : 0) + x_T                                                    (README, "The description")
//
// Every quantity carries its error bound (reference_error.h), so the bounds follow errors through products, activations and
// from one iteration into the next: they are a running forward error analysis, first order plus the exact cross terms.
// With given routing the weights are taken as exact, since the library's own weights are replayed, and errors of the router do
// not reach the output; they count where choices are checked (reference_route.c).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference_steps.h"

// Memory ----------------------------------------------------------------------------------------------------------------------

static void *scratch_take(uint8_t **end, int64_t count, size_t size) {
    void *start = *end;
    *end += ((size_t)count * size + 15) / 16 * 16;
    return start;
}

static int64_t widest(const Layer *layer) {
    return layer->shared_intermediate > layer->intermediate ? layer->shared_intermediate : layer->intermediate;
}

// Divides memory that starts at base; with base NULL only the size counts.
static size_t scratch_divide(const Layer *layer, uint8_t *base, Scratch *scratch) {
    uint8_t *end = base;
    int64_t hidden = layer->hidden, width = widest(layer), k = layer->top_k;
    scratch->state = scratch_take(&end, hidden, sizeof(Bounded));
    scratch->next = scratch_take(&end, hidden, sizeof(Bounded));
    scratch->output = scratch_take(&end, hidden, sizeof(Bounded));
    scratch->hidden = scratch_take(&end, width, sizeof(Bounded));
    scratch->logits = scratch_take(&end, layer->experts, sizeof(Bounded));
    scratch->operand.value = scratch_take(&end, hidden, sizeof(double));
    scratch->operand.reach = scratch_take(&end, hidden, sizeof(double));
    scratch->operand.error = scratch_take(&end, hidden, sizeof(double));
    scratch->inner.value = scratch_take(&end, width, sizeof(double));
    scratch->inner.reach = scratch_take(&end, width, sizeof(double));
    scratch->inner.error = scratch_take(&end, width, sizeof(double));
    scratch->experts = scratch_take(&end, k, sizeof(int32_t));
    scratch->weights = scratch_take(&end, k, sizeof(Bounded));
    scratch->slots = scratch_take(&end, k, sizeof(int32_t));
    return (size_t)(end - base);
}

// One token -------------------------------------------------------------------------------------------------------------------

typedef struct TokenRun {
    const Layer *layer;
    const ReferenceWeights *weights;
    const ReferenceGiven *given;
    ReferenceOutput *out;
    ReferenceChecks *checks;
    Scratch *scratch;
    int64_t token, tokens;
    int input_finite;
    int rejected;  // routed nowhere in this or an earlier iteration: the row is NaN
    int unknown;   // logits may or may not overflow: anything is accepted
} TokenRun;

static int any_unbounded(const Bounded *z, int64_t count) {
    for (int64_t e = 0; e < count; e++) {
        if (!isfinite(z[e].error)) {
            return 1;
        }
    }
    return 0;
}

// The library's slots of this token: replayed, and checked if it chose them itself.
static void route_given(TokenRun *run, int64_t iteration) {
    const Layer *layer = run->layer;
    Scratch *scratch = run->scratch;
    const int64_t offset = (iteration * run->tokens + run->token) * layer->top_k;
    const int32_t *experts = run->given->experts + offset;
    const float *weights = run->given->weights + offset;
    int nowhere = 1;
    for (int64_t s = 0; s < layer->top_k; s++) {
        scratch->slots[s] = experts[s];
        scratch->weights[s] = bounded_exact(weights[s]);
        nowhere &= experts[s] == -1;
    }
    if (!run->given->check) {
        return;
    }
    if (nowhere || run->rejected) {
        if (!nowhere || (run->input_finite && !run->rejected && !any_unbounded(scratch->logits, layer->experts))) {
            reference_violation(run->checks, "token %lld, iteration %lld: %s", (long long)run->token, (long long)iteration,
                                nowhere ? "routed nowhere although its logits are finite" : "routed again after it was rejected");
        }
        run->rejected = 1;
    } else if (!run->input_finite) {
        reference_violation(run->checks, "token %lld, iteration %lld: routed although its logits are not finite",
                            (long long)run->token, (long long)iteration);
        run->rejected = 1;
    } else {
        reference_check_choice(layer, run->weights, run->token, iteration, scratch->logits, experts, weights, run->checks);
    }
}

static void route_own(TokenRun *run) {
    const Layer *layer = run->layer;
    Scratch *scratch = run->scratch;
    run->rejected |= !run->input_finite;
    run->unknown |= any_unbounded(scratch->logits, layer->experts);
    reference_select(layer, scratch->logits, scratch->slots);
    reference_score(layer, scratch->logits, scratch->slots, scratch->weights);
    for (int64_t s = 0; s < layer->top_k && run->rejected; s++) {
        scratch->slots[s] = -1;
        scratch->weights[s] = bounded_exact(0);
    }
}

static void note_routing(const TokenRun *run, int64_t iteration) {
    int64_t offset = (iteration * run->tokens + run->token) * run->layer->top_k;
    for (int64_t s = 0; s < run->layer->top_k && run->out->experts; s++) {
        run->out->experts[offset + s] = run->scratch->slots[s];
        run->out->weights[offset + s] = (float)run->scratch->weights[s].value;
    }
}

// x_{t+1} += w E_e(x_t) for one pool entry.
static void accumulate(const TokenRun *run, const ReferenceExperts *pool, int64_t e, Bounded weight) {
    Scratch *scratch = run->scratch;
    reference_expert(run->layer, pool, e, scratch);
    for (int64_t i = 0; i < run->layer->hidden; i++) {
        scratch->next[i] = bounded_fma(weight, scratch->output[i], scratch->next[i]);
    }
}

static void iterate(TokenRun *run, int64_t iteration) {
    const Layer *layer = run->layer;
    Scratch *scratch = run->scratch;
    reference_operand(scratch->state, layer->hidden, COMPUTE_FP32, &scratch->operand);  // the router decides in fp32 always
    reference_logits(layer, run->weights, iteration, &scratch->operand, scratch->logits);
    if (run->given) {
        route_given(run, iteration);
    } else {
        route_own(run);
    }
    note_routing(run, iteration);
    if (run->rejected) {
        return;
    }
    reference_operand(scratch->state, layer->hidden, (Compute)layer->compute, &scratch->operand);
    for (int64_t i = 0; i < layer->hidden; i++) {
        scratch->next[i] = layer->inner_residual ? scratch->state[i] : bounded_exact(0);
    }
    for (int32_t e = 0; e < layer->experts; e++) {  // ascending index
        for (int64_t s = 0; s < layer->top_k; s++) {
            if (scratch->slots[s] == e) {
                accumulate(run, &run->weights->routed, e, scratch->weights[s]);
            }
        }
    }
    for (int64_t e = 0; e < layer->shared_experts; e++) {
        accumulate(run, &run->weights->shared, e, bounded_exact(1));
    }
    Bounded *done = scratch->state;
    scratch->state = scratch->next;
    scratch->next = done;
}

static void finish(const TokenRun *run, const float *h) {
    const Layer *layer = run->layer;
    for (int64_t i = 0; i < layer->hidden; i++) {
        Bounded value = run->scratch->state[i];
        if (layer->outer_residual) {
            value = bounded_add(bounded_exact(h[i]), value);
        }
        if (layer->activations == FORMAT_BF16) {
            double error = value.error + unit_bf16 * (fabs(value.value) + value.error) + flushed_fp32;
            value = fabs(value.value) + error < 0x1.fep127 ? bounded_make(value.value, error) : (Bounded){0, INFINITY};
        }
        run->out->y[run->token * layer->hidden + i] = run->rejected ? NAN : value.value;
        run->out->bound[run->token * layer->hidden + i] = run->rejected ? 0 : run->unknown ? INFINITY : value.error;
    }
}

static void run_token(TokenRun *run, const float *h) {
    run->input_finite = 1;
    for (int64_t i = 0; i < run->layer->hidden; i++) {
        run->input_finite &= isfinite(h[i]) != 0;
    }
    reference_norm(run->layer, run->weights, h, run->scratch->operand.model, run->scratch->state);
    for (int64_t t = 0; t < run->layer->iterations; t++) {
        iterate(run, t);
    }
    run->checks->rejected += run->rejected;
    finish(run, h);
}

// Forward ---------------------------------------------------------------------------------------------------------------------

// `first` is that of the lowest token with a violation, whatever the threads' order.
static void merge_checks(ReferenceChecks *all, const ReferenceChecks *one, int64_t token, int64_t *first) {
    all->choices += one->choices;
    all->near_ties += one->near_ties;
    all->rejected += one->rejected;
    all->violations += one->violations;
    all->worst_weight = fmax(all->worst_weight, one->worst_weight);
    if (one->violations && token < *first) {
        memcpy(all->first, one->first, sizeof all->first);
        *first = token;
    }
}

int reference_forward(const Layer *layer, const ReferenceWeights *weights, int64_t tokens, const float *x,
                      const ReferenceGiven *given, ErrorModel model, ReferenceOutput *out) {
    int64_t first = INT64_MAX;
    int failed = 0;
    memset(&out->checks, 0, sizeof out->checks);
#pragma omp parallel
    {
        Scratch scratch;
        uint8_t probe[1];  // only differences of addresses count in the first division
        uint8_t *memory = malloc(scratch_divide(layer, probe, &scratch));
        if (!memory) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp barrier
#pragma omp for schedule(dynamic)
        for (int64_t token = 0; token < tokens; token++) {
            if (!failed) {
                ReferenceChecks checks = {0};
                TokenRun run = {.layer = layer,
                                .weights = weights,
                                .given = given,
                                .out = out,
                                .checks = &checks,
                                .scratch = &scratch,
                                .token = token,
                                .tokens = tokens};
                scratch_divide(layer, memory, &scratch);
                scratch.operand.model = scratch.inner.model = model;
                run_token(&run, x + token * layer->hidden);
#pragma omp critical(reference_checks)
                merge_checks(&out->checks, &checks, token, &first);
            }
        }
        free(memory);
    }
    return failed ? -1 : 0;
}

ReferenceComparison reference_compare(const ReferenceOutput *oracle, int64_t tokens, int64_t hidden, const float *y,
                                      int64_t stride) {
    ReferenceComparison result = {0};
    for (int64_t token = 0; token < tokens; token++) {
        double error_squares = 0, squares = 0, bound_squares = 0;
        for (int64_t i = 0; i < hidden; i++) {
            double value = y[token * stride + i], due = oracle->y[token * hidden + i], bound = oracle->bound[token * hidden + i];
            double error = fabs(value - due), ratio = error > 0 ? error / bound : 0;
            if (isnan(due) || isnan(value)) {
                ratio = isnan(due) && isnan(value) ? 0 : INFINITY;
            }
            if (bound == INFINITY) {  // may overflow
                error_squares = NAN;
                continue;
            }
            error_squares += error * error;
            squares += due * due;
            bound_squares += bound * bound;
            if (ratio > result.worst) {
                result.worst = ratio;
                result.token = token;
                result.column = i;
            }
        }
        if (squares > 0 && isfinite(error_squares)) {
            result.worst_l2 = fmax(result.worst_l2, sqrt(error_squares / squares));
            result.worst_l2_bound = fmax(result.worst_l2_bound, error_squares > 0 ? sqrt(error_squares / bound_squares) : 0);
        }
    }
    return result;
}
