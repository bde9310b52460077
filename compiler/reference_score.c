// The oracle's router, first half: logits, scores and the weights of chosen experts. The score of a row of
// SCORE_LIST is the function score_SYMBOL. Error model: reference_error.h.
//
// Functions built on exp, log and tanh are allowed `function_units` units of relative error each: within a few in the last
// place, doubled for safety. Results too small for fp32 may be taken as zero.
#include <math.h>

#include "reference_steps.h"

static const double function_units = 8;
static const double exp_floor = 0x1p-124;       // e^x is zero from x = -87 on
static const double root_floor = 0x1p-62;       // ... and so is its square root

// Logits ----------------------------------------------------------------------------------------------------------------------

static int64_t gate_row(const Layer *layer, int64_t iteration, int64_t choice) {
    return (layer->gate_per_iteration ? iteration : 0) * layer_choices(layer) + choice;
}

const float *reference_router_row(const Layer *layer, const ReferenceWeights *weights, int64_t iteration, int64_t choice) {
    return weights->router + gate_row(layer, iteration, choice) * layer->hidden;
}

// c tanh(z / c): monotone, slope at most 1. Rounding z / c by u shifts tanh by u |t| (1 - tanh^2 t) < u / 2; where it underflows,
// c times that.
static Bounded softcap(Bounded z, double cap) {
    if (cap == 0 || !isfinite(z.error)) {
        return z;
    }
    double value = cap * tanh(z.value / cap);
    Bounded image = bounded_image(value, cap * tanh((z.value - z.error) / cap), cap * tanh((z.value + z.error) / cap));
    return bounded_rounded(value, image.error + cap * tiny_fp32, function_units + 2);
}

void reference_logits(const Layer *layer, const ReferenceWeights *weights, int64_t iteration, const Operand *x, Bounded *z) {
    int64_t choices = layer_choices(layer);
    for (int64_t e = 0; e < choices; e++) {
        Bounded product = reference_product(x, reference_router_row(layer, weights, iteration, e), layer->hidden, NULL);
        z[e] = bounded_scale(product, layer->logit_scale);
        if (layer->router_bias) {
            z[e] = bounded_add(z[e], bounded_exact(weights->router_bias[gate_row(layer, iteration, e)]));
        }
        z[e] = softcap(z[e], layer->softcap);
    }
    for (int64_t j = 0; j < layer->shared_experts && layer->shared_gated; j++) {
        z[choices + j] = reference_product(x, weights->shared_expert_gate + j * layer->hidden, layer->hidden, NULL);
    }
}

// Scores ----------------------------------------------------------------------------------------------------------------------

// What a score needs of all logits together, if its row in SCORE_LIST says so.
typedef struct Whole {
    int64_t count;
    double maximum, most;  // logit, error of a logit
    double sum, spread;    // of exp(z - maximum), of exp(z - maximum) (maximum - z)
} Whole;

static Whole whole_of(const Bounded *z, int64_t count) {
    Whole whole = {.count = count, .maximum = -INFINITY};
    for (int64_t e = 0; e < count; e++) {
        whole.maximum = fmax(whole.maximum, z[e].value);
        whole.most = fmax(whole.most, z[e].error);
    }
    for (int64_t e = 0; e < count; e++) {
        whole.sum += exp(z[e].value - whole.maximum);
        whole.spread += exp(z[e].value - whole.maximum) * (whole.maximum - z[e].value);
    }
    return whole;
}

// softmax: p_e = exp(z_e - m) / sum_j exp(z_j - m). Errors of at most D in every logit move p_e by a factor within exp(+-2D).
// Evaluation: rounding of z - m gives relative u |z_e - m| (and u sum_j p_j |z_j - m| through the sum), exp 8u, the sum
// gamma_N, division u, together `own`. A probability errs by 1 at most, and is at most exp(2D - (m - z_e)), whatever the bounds
// of huge logits say.
static Bounded score_softmax(Bounded z, const Whole *whole) {
    double below = whole->maximum - z.value, p = exp(-below) / whole->sum, most = whole->most;
    double steps = (double)whole->count + 2 * function_units + fmin(below, 128) + whole->spread / whole->sum;
    double own = error_gamma(steps, ERROR_WORST);
    double error = 2 * most < 600 ? (expm1(2 * most) * (1 + own) + own) * p : exp(fmin(0, 2 * most - below));
    return bounded_make(p, fmin(error, 1) + exp_floor);
}

// 1 / (1 + exp(-z)): monotone; exp, sum, division.
Bounded reference_sigmoid(Bounded z) {
    if (!isfinite(z.error)) {
        return (Bounded){0.5, 0.5};
    }
    double value = 1 / (1 + exp(-z.value));
    Bounded image = bounded_image(value, 1 / (1 + exp(z.error - z.value)), 1 / (1 + exp(-z.value - z.error)));
    return bounded_rounded(value, image.error + exp_floor, function_units + 2);
}

static Bounded score_sigmoid(Bounded z, const Whole *whole) {
    (void)whole;
    return reference_sigmoid(z);
}

static double softplus(double z) {
    return fmax(z, 0) + log1p(exp(-fabs(z)));
}

// sqrt(log(1 + exp z)): monotone; exp and log count half under the root, which rounds once.
static Bounded score_sqrtsoftplus(Bounded z, const Whole *whole) {
    (void)whole;
    if (!isfinite(z.error)) {
        return (Bounded){0, INFINITY};
    }
    double value = sqrt(softplus(z.value));
    Bounded image = bounded_image(value, sqrt(softplus(z.value - z.error)), sqrt(softplus(z.value + z.error)));
    return bounded_rounded(value, image.error + root_floor, function_units + 2);
}

// max(z, 0): exact but for z's own error; a logit that is negative without doubt scores exactly 0.
static Bounded score_relu(Bounded z, const Whole *whole) {
    (void)whole;
    return isfinite(z.error) ? bounded_image(fmax(z.value, 0), fmax(z.value - z.error, 0), fmax(z.value + z.error, 0)) : z;
}

void reference_scores(const Layer *layer, const Bounded *z, Bounded *s) {
    int64_t choices = layer_choices(layer);
    Whole whole = score_needs_whole((Score)layer->score) ? whole_of(z, choices) : (Whole){0};
#define SCORE_CASE(enumerator, name, symbol, ...) \
    case enumerator: s[e] = score_##symbol(z[e], &whole); break;
    for (int64_t e = 0; e < choices; e++) {
        switch ((Score)layer->score) {
            SCORE_LIST(SCORE_CASE)
        case SCORE_COUNT: break;
        }
    }
}

// Weights -----------------------------------------------------------------------------------------------------------------------

static int was_chosen_before(const int32_t *chosen, int64_t slot, int64_t e) {
    for (int64_t s = 0; s < slot; s++) {
        if (chosen[s] == e) {
            return 1;
        }
    }
    return 0;
}

// sparsemixer (Liu et al., 2023; transformers' modeling_phimoe.py, evaluation): among the experts left, those e stay with
// (m - z_e) / max(|z_e|, m) <= 2 jitter, m = z of the one chosen; its weight is 1 / sum over them of exp(z_e - m). Where errors
// leave open whether an expert stays, the bound covers both sums.
static Bounded sparsemixer_weight(const Layer *layer, const Bounded *z, const int32_t *chosen, int64_t slot) {
    Bounded m = z[chosen[slot]];
    double jitter = 2 * (double)layer->jitter, sum = 0, least = 0, greatest = 0, most = 0, spread = 0;
    for (int64_t e = 0; e < layer_choices(layer); e++) {
        if (was_chosen_before(chosen, slot, e)) {
            continue;
        }
        double factor = fmax(fabs(z[e].value), m.value), beyond = m.value - z[e].value - jitter * factor;
        double error = (m.error + z[e].error) * (1 + jitter) + 4 * unit_fp32 * (fabs(m.value - z[e].value) + jitter * factor);
        double term = exp(fmin(z[e].value - m.value, 600));
        int itself = e == chosen[slot], kept = itself || beyond <= 0;
        sum += kept ? term : 0;
        least += itself || beyond <= -error ? term : 0;
        greatest += itself || beyond <= error ? term : 0;
        spread += itself || beyond <= error ? term * fabs(m.value - z[e].value) : 0;
        most = fmax(most, z[e].error);
    }
    double own = error_gamma((double)layer_choices(layer) + 2 * function_units + spread / greatest, ERROR_WORST);
    double r = expm1(fmin(2 * most, 600)) * (1 + own) + own, value = 1 / sum;
    return bounded_image(value, fmax(1 - r, 0) / greatest, fmin((1 + r) / least, 1 + own));
}

// (sum of |s|^p)^(1/p). A norm: |N(s + e) - N(s)| <= N(e). Evaluation as exp(p log s) and exp(log(sum) / p): rounding an
// argument a of exp gives relative u |a|, of which the root takes one p-th; terms count by their share of the sum. Powers are
// those of s and e relative to the largest, so that they do not vanish.
static Bounded norm_of(const Bounded *s, int64_t count, double p) {
    double largest = 0, widest = 0, sum = 0, errors = 0, arguments = 0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(s[i].value));
        widest = fmax(widest, s[i].error);
    }
    if (!isfinite(widest)) {
        return (Bounded){0, INFINITY};
    }
    for (int64_t i = 0; i < count; i++) {
        double size = fabs(s[i].value), power = size > 0 ? pow(size / largest, p) : 0;
        sum += power;
        errors += s[i].error > 0 ? pow(s[i].error / widest, p) : 0;
        arguments += size > 0 ? power * fabs(log(size)) : 0;
    }
    double value = largest * pow(sum, 1 / p), own = (double)count + 3;
    if (p != 1 && sum > 0) {
        own += 3 * function_units + function_units * (arguments / sum + fabs(log(value)));
    }
    return bounded_make(value, widest * pow(errors, 1 / p) * 1.000001 + error_gamma(own, ERROR_WORST) * value);
}

// s / N(s). Where the divisor is 0, weights are 0. No score exceeds the norm, so a weight lies within [0, 1] whatever the errors
// say, and also where the norm may or may not be 0, or powers of scores below the normal numbers may or may not vanish.
static void normalise(const Layer *layer, int64_t count, Bounded *weights) {
    double eps = layer->normalize_eps, p = layer->normalize_p;
    Bounded norm = norm_of(weights, count, p), divisor;
    if (layer->normalize_clamp) {
        double value = fmax(norm.value, eps);
        divisor = isfinite(norm.error)
                      ? bounded_image(value, fmax(norm.value - norm.error, eps), fmax(norm.value + norm.error, eps))
                      : norm;
    } else {
        divisor = bounded_add(norm, bounded_exact(eps));
    }
    int zero = divisor.value == 0 && divisor.error == 0, clear = divisor.value - divisor.error > (p == 1 ? 0 : flushed_fp32);
    for (int64_t i = 0; i < count; i++) {
        Bounded weight = zero ? bounded_exact(0) : bounded_divide(weights[i], divisor);
        int sharp = zero || (clear && weight.error < 1);
        weights[i] = sharp ? weight : (Bounded){isfinite(weight.error) ? weight.value : 0, 1 + 8 * unit_fp32};
    }
}

void reference_weigh(const Layer *layer, const Bounded *z, const Bounded *s, const int32_t *chosen, int64_t count,
                     Bounded *weights) {
    for (int64_t i = 0; i < count; i++) {
        weights[i] = layer->selection == SELECTION_SPARSEMIXER ? sparsemixer_weight(layer, z, chosen, i) : s[chosen[i]];
    }
    if (layer->normalize) {
        normalise(layer, count, weights);
    }
    for (int64_t i = 0; i < count; i++) {
        weights[i] = bounded_scale(weights[i], layer->scale);
    }
}
