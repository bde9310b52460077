// The oracle's way through a layer, token by token:
//
//     x_0 = norm(h);  for t: z = softcap(scale W_t x_t + b); scores, selection, weights;
//                            x_{t+1} = (inner ? inner_alpha x_t : 0) + sum of w_e E_e(x_t) + shared experts
//                            (of a latent layer W_out of the sum of w_e E_e(norm(W_in x_t)) instead of that sum)
//     out = (outer ? alpha (h + b) s : 0) + multiplier post_norm(x_T) s'                 (docs/description.md)
//
// With given routing the weights are taken as exact, since the library's own weights are replayed, and errors of the router do
// not reach the output; they count where choices are checked (check.c).
#include <math.h>
#include <string.h>

#include "steps.h"

// --- routing -----------------------------------------------------------------------------------------------------------------

static int any_unbounded(const Bounded *z, int64_t count) {
    for (int64_t e = 0; e < count; e++) {
        if (!isfinite(z[e].error)) {
            return 1;
        }
    }
    return 0;
}

// Scores for a ranking: with their errors, or, for the oracle's own choices, without.
static void fill_ranking(const TokenRun *run, int exact) {
    const Scratch *scratch = run->scratch;
    Ranking *ranking = &run->scratch->ranking;
    for (int64_t e = 0; e < layer_choices(run->layer); e++) {
        ranking->logits[e] = exact ? bounded_exact(scratch->logits[e].value) : scratch->logits[e];
        ranking->scores[e] = exact ? bounded_exact(scratch->scores[e].value) : scratch->scores[e];
    }
    ranking->exact = exact;
    ranking->limit = run->given && run->given->k ? run->given->k[run->token] : run->layer->top_k;
}

// Whether the rule of selection may leave a token without any choice, if its logits are finite.
static int may_choose_none(const TokenRun *run, int64_t iteration) {
    const SelectionFacts *facts = &selection_facts[run->layer->selection];
    Ranking *ranking = &run->scratch->ranking;
    if (!run->layer->correction && (facts->takes_k ? ranking->limit : facts->least) > 0) {
        return 0;  // whatever the scores, a choice is there, and the rule takes it
    }
    oracle_rank(run->layer, run->weights, iteration, 0, ranking);
    for (int64_t e = 0; e < layer_choices(run->layer); e++) {
        if (oracle_takes(run->layer, ranking, e) == SURELY) {
            return 0;
        }
    }
    return 1;
}

// A token without choices whose logits, in this or an earlier iteration, may or may not have been finite: either it was rejected,
// which holds for the iterations that follow too, or the rule chose none. Where the rule could not, it was rejected for sure.
static void judge_nowhere(TokenRun *run, int64_t iteration) {
    int none = may_choose_none(run, iteration);
    run->unknown |= none;
    run->rejected |= !none;
}

// The library's choices: was the token rightly routed nowhere, or rightly not?
static void judge_given(TokenRun *run, int64_t iteration, const int32_t *experts, const float *weights) {
    const Layer *layer = run->layer;
    long long token = run->token, t = iteration;
    int nowhere = 1;
    for (int64_t s = 0; s < layer->top_k; s++) {
        nowhere &= experts[s] == -1;
    }
    fill_ranking(run, 0);
    if (run->rejected && !nowhere) {
        oracle_violation(run->checks, "token %lld, iteration %lld: routed again after it was rejected", token, t);
    } else if (!run->input_finite && !nowhere) {
        oracle_violation(run->checks, "token %lld, iteration %lld: routed although its logits are not finite", token, t);
    }
    run->unknown &= nowhere;  // who is routed was never rejected
    if (run->rejected || !run->input_finite) {
        run->rejected = 1;
    } else if (nowhere && (run->unknown || any_unbounded(run->scratch->logits, layer_router_columns(layer)))) {
        judge_nowhere(run, iteration);
    } else {
        oracle_check_choice(layer, run->weights, run->token, iteration, experts, weights, run->scratch, run->checks);
    }
}

// The library's slots of this token: replayed, and checked if it chose them itself.
static void route_given(TokenRun *run, int64_t iteration) {
    const Layer *layer = run->layer;
    Scratch *scratch = run->scratch;
    const int64_t offset = (iteration * run->tokens + run->token) * layer->top_k;
    const int32_t *experts = run->given->experts + offset;
    const float *weights = run->given->weights + offset;
    for (int64_t s = 0; s < layer->top_k; s++) {
        scratch->slots[s] = experts[s];
        scratch->weights[s] = bounded_exact(weights[s]);
    }
    if (layer->shared_joint) {  // their weights follow from the scores of the choices, whoever made these
        oracle_weigh(layer, NULL, scratch->logits, scratch->scores, scratch->logits + layer_choices(layer), scratch->slots,
                     layer->top_k, scratch->due);
        memcpy(scratch->weights + layer->top_k, scratch->due + layer->top_k,
               (size_t)layer->shared_experts * sizeof *scratch->weights);
    }
    if (run->given->check) {
        judge_given(run, iteration, experts, weights);
    }
}

static void route_own(TokenRun *run, int64_t iteration) {
    const Layer *layer = run->layer;
    Scratch *scratch = run->scratch;
    run->rejected |= !run->input_finite;
    run->unknown |= any_unbounded(scratch->logits, layer_router_columns(layer));
    fill_ranking(run, 1);
    oracle_rank(layer, run->weights, iteration, oracle_ranks_by_logits(layer), &scratch->ranking);
    int64_t count = oracle_select(layer, &scratch->ranking, scratch->slots);
    oracle_weigh(layer, run->weights->expert_scale, scratch->logits, scratch->scores, scratch->logits + layer_choices(layer),
                 scratch->slots, count, scratch->weights);
    for (int64_t s = run->rejected ? 0 : count; s < layer->top_k; s++) {
        scratch->slots[s] = -1;
        scratch->weights[s] = bounded_exact(0);
    }
}

static void note_routing(const TokenRun *run, int64_t iteration) {
    const OracleOutput *out = run->out;
    int64_t row = iteration * run->tokens + run->token, k = run->layer->top_k, choices = layer_choices(run->layer);
    for (int64_t s = 0; s < k && out->experts; s++) {
        out->experts[row * k + s] = run->scratch->slots[s];
        out->weights[row * k + s] = (float)run->scratch->weights[s].value;
    }
    for (int64_t e = 0; e < choices && out->scores; e++) {
        out->scores[row * choices + e] = run->rejected ? NAN : run->scratch->scores[e].value;
    }
    for (int64_t e = 0; e < choices && out->score_bounds; e++) {
        out->score_bounds[row * choices + e] = run->rejected ? 0 : run->scratch->scores[e].error;
    }
}

// --- combination -------------------------------------------------------------------------------------------------------------

static void add_weighted(const Bounded *value, int64_t count, Bounded weight, Bounded *sum) {
    for (int64_t i = 0; i < count; i++) {
        sum[i] = bounded_fma(weight, value[i], sum[i]);
    }
}

// Adds factor (w E_e(x) or E_e(w x)) for a choice of weight w: to x_{t+1}, where x is x_t; of a latent layer to the experts' sum,
// where x is what they read. Identity experts come after the others, then null ones.
static void add_choice(const TokenRun *run, int64_t e, Bounded weight, double factor) {
    const Layer *layer = run->layer;
    Scratch *scratch = run->scratch;
    const Operand *x = layer->latent ? &scratch->projected : &scratch->operand;
    const Bounded *from = layer->latent ? scratch->latent : scratch->state;
    Bounded *sum = layer->latent ? scratch->sum : scratch->next;
    int64_t width = layer_pool_width(layer);
    if (e >= layer->experts + layer->identity_experts) {
        return;
    }
    if (e >= layer->experts) {
        add_weighted(from, width, bounded_scale(weight, factor), sum);
        return;
    }
    if (layer->weight_on == WEIGHT_ON_INPUT) {
        for (int64_t i = 0; i < width; i++) {
            scratch->weighted[i] = bounded_multiply(weight, from[i]);
        }
        oracle_operand(scratch->weighted, width, (Compute)layer->compute, &scratch->own);
        x = &scratch->own;
        weight = bounded_exact(1);
    }
    oracle_expert(layer, &run->weights->routed, layer->limit, e, x, scratch);
    add_weighted(scratch->output, width, bounded_scale(weight, factor), sum);
}

// z = norm(W_in x_t), and nothing in the experts' sum.
static void enter_latent(const TokenRun *run) {
    const Layer *layer = run->layer;
    Scratch *scratch = run->scratch;
    const OracleNorm norm = {(Norm)layer->latent_norm, layer->latent_norm_eps, run->weights->latent_norm, NULL};
    for (int64_t i = 0; i < layer->latent; i++) {
        scratch->latent[i] = oracle_product(&scratch->operand, run->weights->latent_in + i * layer->hidden, layer->hidden, NULL);
        scratch->sum[i] = bounded_exact(0);
    }
    oracle_norm(&norm, layer->latent, scratch->operand.model, scratch->latent);
    oracle_operand(scratch->latent, layer->latent, (Compute)layer->compute, &scratch->projected);
}

// x_{t+1} += factor W_out of the experts' sum.
static void leave_latent(const TokenRun *run, double factor) {
    const Layer *layer = run->layer;
    Scratch *scratch = run->scratch;
    oracle_operand(scratch->sum, layer->latent, (Compute)layer->compute, &scratch->own);
    for (int64_t i = 0; i < layer->hidden; i++) {
        scratch->output[i] = oracle_product(&scratch->own, run->weights->latent_out + i * layer->latent, layer->latent, NULL);
    }
    add_weighted(scratch->output, layer->hidden, bounded_exact(factor), scratch->next);
}

static Bounded shared_weight(const TokenRun *run, int64_t j) {
    const Layer *layer = run->layer;
    if (layer->shared_joint) {
        return bounded_scale(run->scratch->weights[layer->top_k + j], layer->shared_scale);
    }
    Bounded gate = layer->shared_gated ? oracle_sigmoid(run->scratch->logits[layer_choices(layer) + j]) : bounded_exact(1);
    return bounded_scale(gate, layer->shared_scale);
}

// x_{t+1} = (inner ? inner_alpha x_t : 0) + y, which begins with its bias. A converted MoE weighs y before the last iteration,
// whose y stands alone.
static void combine(TokenRun *run, int64_t iteration) {
    const Layer *layer = run->layer;
    Scratch *scratch = run->scratch;
    int last = iteration == layer->iterations - 1;
    double factor = layer->coe_weight && !last ? run->weights->coe_weight[iteration] : 1;
    for (int64_t i = 0; i < layer->hidden; i++) {
        int residual = layer->inner_residual && !(layer->coe_weight && last);
        scratch->next[i] = residual ? bounded_scale(scratch->state[i], layer->inner_alpha) : bounded_exact(0);
        if (layer->output_bias) {
            Bounded bias = bounded_scale(bounded_exact(run->weights->output_bias[i]), factor);
            scratch->next[i] = bounded_add(scratch->next[i], bias);
        }
    }
    if (layer->latent) {
        enter_latent(run);
    }
    for (int32_t e = 0; e < layer_choices(layer); e++) {  // ascending index
        for (int64_t s = 0; s < layer->top_k; s++) {
            if (scratch->slots[s] == e) {
                add_choice(run, e, scratch->weights[s], layer->latent ? 1 : factor);
            }
        }
    }
    if (layer->latent) {
        leave_latent(run, factor);
    }
    for (int64_t j = 0; j < layer->shared_experts; j++) {
        oracle_expert(layer, &run->weights->shared, layer->shared_limit, j, &scratch->operand, scratch);
        add_weighted(scratch->output, layer->hidden, bounded_scale(shared_weight(run, j), factor), scratch->next);
    }
}

static void iterate(TokenRun *run, int64_t iteration) {
    const Layer *layer = run->layer;
    Scratch *scratch = run->scratch;
    oracle_operand(scratch->state, layer->hidden, COMPUTE_FP32, &scratch->operand);  // the router decides in fp32 always
    oracle_logits(layer, run->weights, iteration, &scratch->operand, scratch->logits);
    oracle_scores(layer, scratch->logits, scratch->scores);
    if (run->given && run->given->experts) {
        route_given(run, iteration);
    } else {
        route_own(run, iteration);
    }
    note_routing(run, iteration);
    if (run->rejected) {
        return;
    }
    oracle_operand(scratch->state, layer->hidden, (Compute)layer->compute, &scratch->operand);
    combine(run, iteration);
    Bounded *done = scratch->state;
    scratch->state = scratch->next;
    scratch->next = done;
}

// alpha (h + b) s of column i.
static Bounded outer_residual(const TokenRun *run, int64_t i, Bounded h) {
    const OracleWeights *weights = run->weights;
    h = run->layer->residual_bias ? bounded_add(h, bounded_exact(weights->residual_bias[i])) : h;
    h = run->layer->residual_scale ? bounded_multiply(h, bounded_exact(weights->residual_scale[i])) : h;
    return bounded_scale(h, run->layer->alpha);
}

// Rounded to bf16: as far as the ends of the interval go, without moving the value itself, which is what is compared with. A likely
// bound may fail by a little, and then the nearest number may be the next one: there a whole step is allowed.
static Bounded to_interface(Bounded value, ErrorModel model) {
    if (!(fabs(value.value) + value.error < 0x1.fep127)) {
        return (Bounded){0, INFINITY};
    }
    if (model == ERROR_LIKELY) {
        return bounded_make(value.value, value.error + unit_bf16 * (fabs(value.value) + value.error) + flushed_fp32);
    }
    double above = fabs(bf16_nearest(value.value + value.error) - value.value);
    double below = fabs(value.value - bf16_nearest(value.value - value.error));
    return bounded_make(value.value, (above > below ? above : below) + flushed_fp32);
}

// out = (outer ? alpha (h + b) s : 0) + multiplier post_norm(x_T) s'.
static void finish(const TokenRun *run, const float *h) {
    const Layer *layer = run->layer;
    const OracleNorm norm = {(Norm)layer->post_norm, layer->post_norm_eps, run->weights->post_norm, NULL};
    oracle_norm(&norm, layer->hidden, run->scratch->operand.model, run->scratch->state);
    for (int64_t i = 0; i < layer->hidden; i++) {
        Bounded value = run->scratch->state[i];
        value = layer->output_scale ? bounded_multiply(value, bounded_exact(run->weights->output_scale[i])) : value;
        value = bounded_scale(value, layer->multiplier);
        if (layer->outer_residual) {
            value = bounded_add(outer_residual(run, i, bounded_exact(h[i])), value);
        }
        if (layer->activations == INTERFACE_BF16) {
            value = to_interface(value, run->scratch->operand.model);
        }
        run->out->y[run->token * layer->hidden + i] = run->rejected ? NAN : value.value;
        run->out->bound[run->token * layer->hidden + i] = run->rejected ? 0 : run->unknown ? INFINITY : value.error;
    }
    if (run->out->rejected) {
        run->out->rejected[run->token] = run->rejected ? ORACLE_REJECTED : run->unknown ? ORACLE_EITHER : ORACLE_ACCEPTED;
    }
}

void oracle_token(TokenRun *run, const float *h) {
    run->input_finite = 1;
    for (int64_t i = 0; i < run->layer->hidden; i++) {
        run->input_finite &= isfinite(h[i]) != 0;
        run->scratch->state[i] = bounded_exact(h[i]);
    }
    const OracleNorm norm = {(Norm)run->layer->norm, run->layer->norm_eps, run->weights->norm, run->weights->norm_bias};
    oracle_norm(&norm, run->layer->hidden, run->scratch->operand.model, run->scratch->state);
    for (int64_t t = 0; t < run->layer->iterations; t++) {
        iterate(run, t);
    }
    run->checks->rejected += run->rejected;
    finish(run, h);
}
