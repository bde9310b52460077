// The oracle's router, first half: logits, scores (of each file of templates/routers/list.h the function oracle_score_SYMBOL) and
// the weights of chosen experts. Error model: error.h.
#include <math.h>

#include "steps.h"

// --- logits ------------------------------------------------------------------------------------------------------------------

static int64_t gate_row(const Layer *layer, int64_t iteration, int64_t choice) {
    return (layer->gate_per_iteration ? iteration : 0) * layer_choices(layer) + choice;
}

const float *oracle_router_row(const Layer *layer, const OracleWeights *weights, int64_t iteration, int64_t choice) {
    return weights->router + gate_row(layer, iteration, choice) * layer->hidden;
}

// c tanh(z / c): monotone, slope at most 1. Rounding z / c by u shifts tanh by u |t| (1 - tanh^2 t) < u / 2; where it underflows,
// c times that.
Bounded oracle_softcap(Bounded z, double cap) {
    if (cap == 0 || !isfinite(z.error) || z.value == -INFINITY) {
        return z;
    }
    double value = cap * tanh(z.value / cap);
    Bounded image = bounded_image(value, cap * tanh((z.value - z.error) / cap), cap * tanh((z.value + z.error) / cap));
    return bounded_rounded(value, image.error + cap * tiny_fp32, function_units + 2);
}

void oracle_logits(const Layer *layer, const OracleWeights *weights, int64_t iteration, const Operand *x, Bounded *z) {
    int64_t choices = layer_choices(layer);
    for (int64_t e = 0; e < choices; e++) {
        Bounded product = oracle_product(x, oracle_router_row(layer, weights, iteration, e), layer->hidden, NULL);
        z[e] = bounded_scale(product, layer->logit_scale);
        double bias = layer->router_bias ? weights->router_bias[gate_row(layer, iteration, e)] : 0;
        if (bias == -INFINITY) {
            z[e] = isfinite(z[e].error) ? bounded_exact(-INFINITY) : z[e];  // a product that may overflow counts all the same
        } else if (layer->router_bias) {
            z[e] = bounded_add(z[e], bounded_exact(bias));
        }
        z[e] = oracle_softcap(z[e], layer->softcap);
    }
    for (int64_t j = 0; j < layer->shared_experts && layer->shared_gated; j++) {
        z[choices + j] = oracle_product(x, weights->shared_expert_gate + j * layer->hidden, layer->hidden, NULL);
    }
}

// --- scores ------------------------------------------------------------------------------------------------------------------

// What a score needs of all logits together, if its row says so.
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
        if (z[e].value == -INFINITY) {
            continue;
        }
        whole.sum += exp(z[e].value - whole.maximum);
        whole.spread += exp(z[e].value - whole.maximum) * (whole.maximum - z[e].value);
    }
    return whole;
}

// 1 / (1 + exp(-z)): monotone; exp, sum, division.
Bounded oracle_sigmoid(Bounded z) {
    if (!isfinite(z.error)) {
        return (Bounded){0.5, 0.5};
    }
    double value = 1 / (1 + exp(-z.value));
    Bounded image = bounded_image(value, 1 / (1 + exp(z.error - z.value)), 1 / (1 + exp(-z.value - z.error)));
    return bounded_rounded(value, image.error + exp_floor, function_units + 2);
}

#define SCORE_ORACLE
#include "templates/routers/list.h"

void oracle_scores(const Layer *layer, const Bounded *z, Bounded *s) {
    int64_t choices = layer_choices(layer);
    Whole whole = score_facts[layer->score].whole ? whole_of(z, choices) : (Whole){0};
    for (int64_t e = 0; e < choices; e++) {
        if (z[e].value == -INFINITY) {  // a bias excludes it
            s[e] = bounded_exact(0);
            continue;
        }
        switch ((Score)layer->score) {
#define SCORE_ROW(enumerator, symbol, ...) \
    case enumerator: s[e] = oracle_score_##symbol(z[e], &whole); break;
#include "templates/routers/list.h"
        case SCORE_COUNT: break;
        }
    }
}

// --- weights -----------------------------------------------------------------------------------------------------------------

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

void oracle_weigh(const Layer *layer, const float *expert_scale, const Bounded *z, const Bounded *s, const Bounded *gates,
                  const int32_t *chosen, int64_t count, Bounded *weights) {
    int64_t joint = layer->shared_joint ? layer->shared_experts : 0;
    for (int64_t i = 0; i < count; i++) {
        weights[i] = chosen[i] < 0 ? bounded_exact(0) : oracle_rule_weight(layer, z, s, chosen, i);
    }
    for (int64_t j = 0; j < joint; j++) {
        weights[count + j] = oracle_sigmoid(gates[j]);
    }
    if (layer->normalize) {
        normalise(layer, count + joint, weights);
    }
    for (int64_t i = 0; i < count + joint; i++) {
        weights[i] = bounded_scale(weights[i], layer->scale);
    }
    for (int64_t i = 0; i < count; i++) {
        if (expert_scale && chosen[i] >= 0 && chosen[i] < layer->experts) {
            weights[i] = bounded_multiply(weights[i], bounded_exact(expert_scale[chosen[i]]));
        }
    }
    for (int64_t j = joint - 1; j >= 0; j--) {
        weights[layer->top_k + j] = weights[count + j];
    }
}
