// The oracle's router: logits, selection, weights, and the check of a library's own choices.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference_steps.h"

void reference_violation(ReferenceChecks *checks, const char *format, ...) {
    if (!checks->violations++) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(checks->first, sizeof checks->first, format, arguments);
        va_end(arguments);
    }
}

static const float *router_row(const Layer *layer, const ReferenceWeights *weights, int64_t iteration, int64_t expert) {
    int64_t gate = layer->gate_per_iteration ? iteration : 0;
    return weights->router + (gate * layer->experts + expert) * layer->hidden;
}

static const float *router_bias(const Layer *layer, const ReferenceWeights *weights, int64_t iteration, int64_t expert) {
    int64_t gate = layer->gate_per_iteration ? iteration : 0;
    return layer->router_bias ? weights->router_bias + gate * layer->experts + expert : NULL;
}

void reference_logits(const Layer *layer, const ReferenceWeights *weights, int64_t iteration, const Operand *x, Bounded *z) {
    for (int64_t e = 0; e < layer->experts; e++) {
        const float *bias = router_bias(layer, weights, iteration, e);
        z[e] = reference_product(x, router_row(layer, weights, iteration, e), layer->hidden, bias);
    }
}

// Switches over SELECTION_LIST and SCORE_LIST have no default: the compiler asks for new rows.
static void select_top_k(const Layer *layer, const Bounded *z, int32_t *chosen) {
    for (int64_t slot = 0; slot < layer->top_k; slot++) {
        int32_t best = -1;
        for (int32_t e = 0; e < layer->experts; e++) {
            int taken = 0;
            for (int64_t s = 0; s < slot; s++) {
                taken |= chosen[s] == e;
            }
            if (!taken && (best < 0 || z[e].value > z[best].value)) {
                best = e;
            }
        }
        chosen[slot] = best;
    }
}

void reference_select(const Layer *layer, const Bounded *z, int32_t *chosen) {
    switch ((Selection)layer->selection) {
    case SELECTION_TOP_K: select_top_k(layer, z, chosen); return;
    case SELECTION_COUNT: return;
    }
}

// softmax: p_e = exp(z_e - m) / sum_j exp(z_j - m). Errors of at most D in every logit move p_e by a factor within exp(+-2D).
// Evaluation: rounding of z - m gives relative u |z_e - m| (and u sum_j p_j |z_j - m| through the sum), exp 4u, the sum
// gamma_N, division u, together `own`. Below e^-87 an exponential may be taken as zero: 2^-124 absolute.
// normalised: p_i / (sum of the chosen + eps): factors (1 + r) of numerator and denominator, r = exp(2D)(1 + own) - 1.
// A probability errs by 1 at most, whatever the bounds of huge logits say.
static void score_softmax(const Layer *layer, const Bounded *z, const int32_t *chosen, Bounded *weights) {
    double maximum = -INFINITY, most = 0, sum = 0, spread = 0, total = layer->normalize_eps, k = (double)layer->top_k;
    for (int64_t e = 0; e < layer->experts; e++) {
        maximum = fmax(maximum, z[e].value);
        most = fmax(most, z[e].error);
    }
    for (int64_t e = 0; e < layer->experts; e++) {
        sum += exp(z[e].value - maximum);
        spread += exp(z[e].value - maximum) * (maximum - z[e].value);
    }
    for (int64_t s = 0; s < layer->top_k; s++) {
        total += exp(z[chosen[s]].value - maximum) / sum;
    }
    for (int64_t s = 0; s < layer->top_k; s++) {
        double below = maximum - z[chosen[s]].value, p = exp(-below) / sum;
        double own = error_gamma((double)layer->experts + 16 + fmin(below, 128) + spread / sum, ERROR_WORST);
        double r = expm1(fmin(2 * most, 100)) * (1 + own) + own, limit = 1;
        if (layer->normalize) {
            r = r < 1 ? (1 + r) / (1 - r) - 1 + error_gamma(k + 3, ERROR_WORST) : INFINITY;
            p /= total;
        }
        double error = fmin(r * p + 0x1p-124, limit);
        weights[s] = bounded_rounded(p * layer->scale, error * fabs((double)layer->scale), 1);
    }
}

void reference_score(const Layer *layer, const Bounded *z, const int32_t *chosen, Bounded *weights) {
    switch ((Score)layer->score) {
    case SCORE_SOFTMAX: score_softmax(layer, z, chosen, weights); return;
    case SCORE_COUNT: return;
    }
}

// Two experts whose logits must have the same bits in any implementation with one fixed order of operations: exact results
// (bounds of zero), or equal rows of the router (and biases). Then the lower index must win.
static int tied(const Layer *layer, const ReferenceWeights *weights, int64_t iteration, const Bounded *z, int32_t a, int32_t b) {
    if (z[a].value != z[b].value || !isfinite(z[a].error) || !isfinite(z[b].error)) {
        return 0;
    }
    if (z[a].error == 0 && z[b].error == 0) {
        return 1;
    }
    const float *bias_a = router_bias(layer, weights, iteration, a), *bias_b = router_bias(layer, weights, iteration, b);
    const float *row_a = router_row(layer, weights, iteration, a), *row_b = router_row(layer, weights, iteration, b);
    return (!bias_a || *bias_a == *bias_b) && !memcmp(row_a, row_b, (size_t)layer->hidden * sizeof *row_a);
}

// Whether `first` may stand before `second` in the order of selection.
static int may_precede(const Layer *layer, const ReferenceWeights *weights, int64_t iteration, const Bounded *z, int32_t first,
                       int32_t second) {
    if (tied(layer, weights, iteration, z, first, second)) {
        return first < second;
    }
    return !(z[first].value + z[first].error < z[second].value - z[second].error);
}

static int choice_is_valid(const Layer *layer, const int32_t *chosen) {
    for (int64_t s = 0; s < layer->top_k; s++) {
        if (chosen[s] < 0 || chosen[s] >= layer->experts) {
            return 0;
        }
        for (int64_t r = 0; r < s; r++) {
            if (chosen[r] == chosen[s]) {
                return 0;
            }
        }
    }
    return 1;
}

static int is_chosen(const Layer *layer, const int32_t *chosen, int32_t expert) {
    for (int64_t s = 0; s < layer->top_k; s++) {
        if (chosen[s] == expert) {
            return 1;
        }
    }
    return 0;
}

static void check_top_k(const Layer *layer, const ReferenceWeights *weights, int64_t token, int64_t iteration, const Bounded *z,
                        const int32_t *chosen, ReferenceChecks *checks) {
    int near = 0;
    int32_t last = chosen[layer->top_k - 1];
    for (int64_t s = 0; s + 1 < layer->top_k; s++) {
        if (!may_precede(layer, weights, iteration, z, chosen[s], chosen[s + 1])) {
            reference_violation(checks, "token %lld, iteration %lld: expert %d is listed before %d, whose score is higher",
                                (long long)token, (long long)iteration, chosen[s], chosen[s + 1]);
        }
    }
    for (int32_t e = 0; e < layer->experts; e++) {
        if (is_chosen(layer, chosen, e)) {
            continue;
        }
        near |= z[last].value - z[e].value <= z[last].error + z[e].error;
        for (int64_t s = 0; s < layer->top_k; s++) {
            if (!may_precede(layer, weights, iteration, z, chosen[s], e)) {
                reference_violation(checks, "token %lld, iteration %lld: expert %d is chosen, %d is not (logits %.9g, %.9g)",
                                    (long long)token, (long long)iteration, chosen[s], e, z[chosen[s]].value, z[e].value);
            }
        }
    }
    checks->near_ties += near;
}

static void check_order(const Layer *layer, const ReferenceWeights *weights, int64_t token, int64_t iteration, const Bounded *z,
                        const int32_t *chosen, ReferenceChecks *checks) {
    switch ((Selection)layer->selection) {
    case SELECTION_TOP_K: check_top_k(layer, weights, token, iteration, z, chosen, checks); return;
    case SELECTION_COUNT: return;
    }
}

static void check_weights(const Layer *layer, int64_t token, int64_t iteration, const Bounded *z, const int32_t *chosen,
                          const float *given, ReferenceChecks *checks) {
    Bounded *own = malloc((size_t)layer->top_k * sizeof *own);
    if (!own) {
        reference_violation(checks, "out of memory");
        return;
    }
    reference_score(layer, z, chosen, own);
    for (int64_t s = 0; s < layer->top_k; s++) {
        double error = fabs(given[s] - own[s].value);
        checks->worst_weight = fmax(checks->worst_weight, error > 0 ? error / own[s].error : 0);
        if (!(error <= own[s].error)) {
            reference_violation(checks, "token %lld, iteration %lld: weight of expert %d is %.9g, not %.9g +- %.2g",
                                (long long)token, (long long)iteration, chosen[s], (double)given[s], own[s].value, own[s].error);
        }
    }
    free(own);
}

void reference_check_choice(const Layer *layer, const ReferenceWeights *weights, int64_t token, int64_t iteration, const Bounded *z,
                            const int32_t *chosen, const float *given, ReferenceChecks *checks) {
    checks->choices += layer->top_k;
    if (!choice_is_valid(layer, chosen)) {
        reference_violation(checks, "token %lld, iteration %lld: not %lld different experts of the pool", (long long)token,
                            (long long)iteration, (long long)layer->top_k);
        return;
    }
    check_order(layer, weights, token, iteration, z, chosen, checks);
    check_weights(layer, token, iteration, z, chosen, given, checks);
}
