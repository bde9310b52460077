// The oracle's norm, products, activations and experts. Error model: error.h.
#include <math.h>

#include "steps.h"

// --- norms -------------------------------------------------------------------------------------------------------------------
// rms:   x = h r w,            r = (mean h^2 + eps)^(-1/2)
// layer: x = (h - m) r w [+ b],  r = (mean (h - m)^2 + eps)^(-1/2), m = mean h
// A sum of n non-negative terms has relative error gamma_n (any order) and n 2^-149 for squares that underflow. What errors e of h
// add to it is 2 |h| e + e^2 for each term: in the worst case as a sum, where errors are independent the first part as the root of
// a sum of squares. r is a decreasing function of the sum, so its interval is the image of the sum's interval, which ends at 0: no
// sum of squares is below it. 4 more roundings: division, eps, square root, reciprocal.

// 1 / sqrt(sum / n + eps) for a sum of squares within [sum - error, sum + error].
static Bounded inverse_root(double sum, double error, double n, double eps) {
    Bounded mean = bounded_make(sum / n + eps, error / n);
    double least = fmax(mean.value - mean.error, eps);
    if (!(least > 0)) {
        return (Bounded){0, INFINITY};
    }
    double value = 1 / sqrt(mean.value), most = 1 / sqrt(least);
    return bounded_rounded(value, most - value, 4);
}

static void norm_rms(const OracleNorm *norm, int64_t count, ErrorModel model, Bounded *x) {
    double n = (double)count, sum = 0, reach = 0, linear = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) {
        double first = 2 * fabs(x[i].value) * x[i].error;
        sum += x[i].value * x[i].value;
        reach += (fabs(x[i].value) + x[i].error) * (fabs(x[i].value) + x[i].error);
        linear += model == ERROR_LIKELY ? first * first : first;
        squares += x[i].error * x[i].error;
    }
    double error = (model == ERROR_LIKELY ? sqrt(linear) : linear) + squares;
    error += error_gamma(n + 3, model) * reach + (reach > 0 ? n * tiny_fp32 : 0);
    Bounded r = bounded_make(sum, error).error == INFINITY ? (Bounded){0, INFINITY} : inverse_root(sum, error, n, norm->eps);
    for (int64_t i = 0; i < count; i++) {
        Bounded scaled = bounded_multiply(x[i], r);
        x[i] = bounded_multiply(scaled, bounded_exact(norm->weight[i]));
    }
}

static void norm_layer(const OracleNorm *norm, int64_t count, ErrorModel model, Bounded *x) {
    double n = (double)count, sum = 0, magnitude = 0, inputs = 0, squares = 0, error = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += x[i].value;
        magnitude += fabs(x[i].value) + x[i].error;
        inputs += model == ERROR_LIKELY ? x[i].error * x[i].error : x[i].error;
    }
    inputs = model == ERROR_LIKELY ? sqrt(inputs) : inputs;
    double rounding = error_gamma(n + 3, model) * magnitude + (magnitude > 0 ? tiny_fp32 : 0);
    Bounded mean = bounded_make(sum / n, (rounding + inputs) / n);
    for (int64_t i = 0; i < count; i++) {
        x[i] = bounded_rounded(x[i].value - mean.value, x[i].error + mean.error, 1);
        double reach = fabs(x[i].value) + x[i].error;
        squares += x[i].value * x[i].value;
        error += reach * reach * (1 + error_gamma(n + 3, model)) - x[i].value * x[i].value + (reach > 0 ? tiny_fp32 : 0);
    }
    Bounded all = bounded_make(squares, error);
    Bounded r =
        all.error == INFINITY || !(magnitude <= FLT_MAX) ? (Bounded){0, INFINITY} : inverse_root(squares, error, n, norm->eps);
    for (int64_t i = 0; i < count; i++) {
        Bounded scaled = bounded_multiply(x[i], r);
        x[i] = bounded_multiply(scaled, bounded_exact(norm->weight[i]));
        x[i] = norm->bias ? bounded_add(x[i], bounded_exact(norm->bias[i])) : x[i];
    }
}

void oracle_norm(const OracleNorm *norm, int64_t count, ErrorModel model, Bounded *x) {
    switch (norm->kind) {
    case NORM_RMS: norm_rms(norm, count, model, x); return;
    case NORM_LAYER: norm_layer(norm, count, model, x); return;
    case NORM_NONE:
    case NORM_COUNT: break;
    }
}

// --- products ----------------------------------------------------------------------------------------------------------------
// worst:  |error| <= gamma_n sum (|a| + e) |w|  +  sum e |w|  +  floor
// likely: |error| <= lambda u sqrt(n) (max |prefix| + sqrt(sum ((|a| + e) w)^2))  +  sqrt(sum (e w)^2)  +  floor

void oracle_operand(const Bounded *a, int64_t count, Compute compute, Operand *operand) {
    const ProductTolerance *tolerance = &product_tolerances[compute];
    double magnitude = 0, n = (double)count;
    double roundings = tolerance->roundings;
    roundings *= operand->model == ERROR_LIKELY ? roundings : 1;  // variances, not errors, add up
    operand->gamma = error_gamma(roundings * n + tolerance->spare, operand->model);
    for (int64_t k = 0; k < count; k++) {
        Bounded v = compute == COMPUTE_BF16 ? bounded_round_bf16(a[k], operand->model) : a[k];
        double reach = fabs(v.value) + v.error;
        magnitude += reach;
        operand->value[k] = v.value;
        operand->reach[k] = reach;
        operand->error[k] = v.error + (reach > 0 ? tolerance->flushed : 0);
    }
    operand->floor = magnitude > 0 ? n * tolerance->underflow + tolerance->flushed * magnitude : 0;
}

enum { STRANDS = 8 };  // independent partial sums, for speed only

typedef struct Sums {
    double value, highest;                    // prefix so far, and the largest |prefix|
    double rounding[STRANDS], input[STRANDS]; // sums over reach and error, linear or of squares
} Sums;

// Adds STRANDS terms.
static inline void add_terms(const double *value, const double *reach, const double *error, const float *w, int squares,
                             Sums *sums) {
    double terms[STRANDS];
    for (int s = 0; s < STRANDS; s++) {
        double factor = fabs((double)w[s]), r = reach[s] * factor, e = error[s] * factor;
        terms[s] = value[s] * (double)w[s];
        sums->rounding[s] += squares ? r * r : r;
        sums->input[s] += squares ? e * e : e;
    }
    sums->value += ((terms[0] + terms[4]) + (terms[1] + terms[5])) + ((terms[2] + terms[6]) + (terms[3] + terms[7]));
    sums->highest = fabs(sums->value) > sums->highest ? fabs(sums->value) : sums->highest;
}

static void add_all(const Operand *operand, const float *w, int64_t count, int squares, Sums *sums) {
    int64_t k = 0;
    for (; k + STRANDS <= count; k += STRANDS) {
        add_terms(operand->value + k, operand->reach + k, operand->error + k, w + k, squares, sums);
    }
    if (k < count) {
        double value[STRANDS] = {0}, reach[STRANDS] = {0}, error[STRANDS] = {0};
        float rest[STRANDS] = {0};
        size_t left = (size_t)(count - k);
        memcpy(value, operand->value + k, left * sizeof *value);
        memcpy(reach, operand->reach + k, left * sizeof *reach);
        memcpy(error, operand->error + k, left * sizeof *error);
        memcpy(rest, w + k, left * sizeof *rest);
        add_terms(value, reach, error, rest, squares, sums);
    }
}

static double strands_total(const double *strands) {
    double total = 0;
    for (int s = 0; s < STRANDS; s++) {
        total += strands[s];
    }
    return total;
}

Bounded oracle_product(const Operand *operand, const float *w, int64_t count, const float *bias) {
    Sums sums = {0};
    double magnitude, error;  // magnitude >= |every partial sum|
    if (operand->model == ERROR_WORST) {
        add_all(operand, w, count, 0, &sums);
        magnitude = strands_total(sums.rounding);
        error = operand->gamma * magnitude + strands_total(sums.input);
    } else {
        add_all(operand, w, count, 1, &sums);
        double walk = sqrt(strands_total(sums.rounding));
        magnitude = walk * sqrt((double)count);  // Cauchy and Schwarz
        error = operand->gamma * (sums.highest + walk) + sqrt(strands_total(sums.input));
    }
    Bounded sum = magnitude <= FLT_MAX ? bounded_make(sums.value, error + operand->floor) : (Bounded){0, INFINITY};
    return bias ? bounded_add(sum, bounded_exact(*bias)) : sum;
}

// --- activations -------------------------------------------------------------------------------------------------------------

#define ACTIVATION_ORACLE
#include "templates/activations/list.h"

static double activation_value(Activation activation, double x, double slope) {
    switch (activation) {
#define ACTIVATION_ROW(enumerator, symbol, ...) \
    case enumerator: return oracle_activation_##symbol(x, slope);
#include "templates/activations/list.h"
    case ACTIVATION_COUNT: break;
    }
    return NAN;
}

// The input's error e is amplified by at most the largest slope; where a function rises the image of the interval is used. The
// evaluation's own error is the row's units of u times their base, plus 2^-118 where exp saturates (88 e^-88 = 5e-37). Rounding
// the argument a x of exp is u |a x| relative to f.
Bounded oracle_activation(Activation activation, double slope, Bounded g) {
    const ActivationFacts *facts = &activation_facts[activation];
    double value = activation_value(activation, g.value, slope), units = facts->units;
    if (!isfinite(g.error)) {
        return (Bounded){0, INFINITY};
    }
    if (facts->rises) {
        double high = activation_value(activation, g.value + g.error, slope);
        double low = activation_value(activation, g.value - g.error, slope);
        return bounded_rounded(value, bounded_image(value, low, high).error, units);
    }
    if (g.value == 0 && g.error == 0 && value == 0) {
        return (Bounded){0, 0};
    }
    double base = facts->tail == 0 ? fabs(value) : g.value < 0 ? fmin(-g.value, facts->tail) : g.value;
    double input = facts->steepest * g.error, factor = facts->exponent * slope;
    if (factor != 1) {
        units += fmin(fabs(factor) * (fabs(g.value) + g.error), 128);  // beyond it exp saturates
    }
    return bounded_make(value, input + units * unit_fp32 * (base + input) + 0x1p-118);
}

// --- experts -----------------------------------------------------------------------------------------------------------------

// min(g, limit): monotone and exact.
static Bounded clamp_above(Bounded g, double limit) {
    return isfinite(g.error) ? bounded_image(fmin(g.value, limit), fmin(g.value - g.error, limit), fmin(g.value + g.error, limit))
                             : g;
}

static Bounded negative(Bounded g) {
    return (Bounded){-g.value, g.error};
}

// act(gate) * (softcap(up) + up_offset), gate or act(gate) at most limit, up within +-limit. With a soft cap of its own act(gate)
// is softcap(gate) sigmoid(slope gate); errors of the gate count in both factors.
static Bounded gated_value(const Layer *layer, double limit, Bounded gate, Bounded up) {
    int after = layer->limit_place == LIMIT_AFTER_ACTIVATION;
    if (limit != 0) {
        gate = after ? gate : clamp_above(gate, limit);
        up = negative(clamp_above(negative(clamp_above(up, limit)), limit));
    }
    up = oracle_softcap(up, layer->up_softcap);
    if (layer->up_offset != 0) {
        up = bounded_add(up, bounded_exact(layer->up_offset));
    }
    Bounded activated = oracle_activation((Activation)layer->activation, layer->slope, gate);
    if (layer->gate_softcap != 0) {
        activated = bounded_multiply(oracle_softcap(gate, layer->gate_softcap), oracle_sigmoid(bounded_scale(gate, layer->slope)));
    }
    return bounded_multiply(limit != 0 && after ? clamp_above(activated, limit) : activated, up);
}

void oracle_expert(const Layer *layer, const OracleExperts *pool, double limit, int64_t e, const Operand *x, Scratch *scratch) {
    int64_t depth = pool->width, width = pool->intermediate;
    for (int64_t f = 0; f < width; f++) {
        int64_t row = e * width + f;
        Bounded up = oracle_product(x, pool->up + row * depth, depth, pool->up_bias ? pool->up_bias + row : NULL);
        if (layer->gated) {
            const float *bias = pool->gate_bias ? pool->gate_bias + row : NULL;
            scratch->hidden[f] = gated_value(layer, limit, oracle_product(x, pool->gate + row * depth, depth, bias), up);
        } else {
            scratch->hidden[f] = oracle_activation((Activation)layer->activation, layer->slope, up);
        }
    }
    oracle_operand(scratch->hidden, width, (Compute)layer->compute, &scratch->inner);
    for (int64_t i = 0; i < depth; i++) {
        int64_t row = e * depth + i;
        const float *bias = pool->down_bias ? pool->down_bias + row : NULL;
        scratch->output[i] = oracle_product(&scratch->inner, pool->down + row * width, width, bias);
    }
}
