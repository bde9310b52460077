// The list of inputs: one row per case, random and adversarial. See input.h.
#include "input.h"

#include <math.h>

#include "compiler/measure/synthetic.h"
#include "runtime/packed.h"

void verify_fill_random(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    (void)weights;
    synthetic_tokens(plan, tokens, seed, NULL, x);
}

// Every token the same: the chosen experts get all of them, the others none.
static void fill_equal(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    (void)weights;
    int64_t hidden = plan->layer.hidden;
    synthetic_tokens(plan, tokens ? 1 : 0, seed, NULL, x);
    for (int64_t i = hidden; i < tokens * hidden; i++) {
        x[i] = x[i - hidden];
    }
}

// Tokens along router rows: one expert of its choice gets token after token with a weight near 1. Token t aims at expert t/4, so
// runs of tokens share an expert; experts that verify_tie_experts made equal tie at the top.
static void fill_aimed(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    int64_t hidden = plan->layer.hidden;
    float along = copysignf(3 * sqrtf((float)hidden), plan->layer.logit_scale);
    synthetic_tokens(plan, tokens, seed, NULL, x);
    for (int64_t token = 0; token < tokens; token++) {
        int64_t choice = token / 4 % layer_choices(&plan->layer);
        for (int64_t i = 0; i < hidden; i++) {
            x[token * hidden + i] = 0.1f * x[token * hidden + i] + along * weights->router[choice * hidden + i];
        }
    }
}

static void scale_all(const Plan *plan, int64_t tokens, uint64_t seed, double scale, float *x) {
    synthetic_tokens(plan, tokens, seed, NULL, x);
    for (int64_t i = 0; i < tokens * plan->layer.hidden; i++) {
        x[i] = (float)(x[i] * scale);
    }
}

static void fill_huge(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    (void)weights;
    scale_all(plan, tokens, seed, 1e15, x);
}

static void fill_large(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    (void)weights;
    scale_all(plan, tokens, seed, 1e4, x);
}

static void fill_tiny(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    (void)weights;
    scale_all(plan, tokens, seed, 1e-30, x);
}

static void fill_denormal(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    (void)weights;
    scale_all(plan, tokens, seed, 1e-40, x);
}

static void fill_zero(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    (void)weights;
    (void)seed;
    for (int64_t i = 0; i < tokens * plan->layer.hidden; i++) {
        x[i] = i % 2 ? -0.0f : 0.0f;
    }
}

// Every token at its own scale, from 2^-60 to 2^40: neighbours must not disturb each other.
static void fill_mixed(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    (void)weights;
    synthetic_tokens(plan, tokens, seed, NULL, x);
    for (int64_t i = 0; i < tokens * plan->layer.hidden; i++) {
        x[i] = ldexpf(x[i], (int)(i / plan->layer.hidden * 17 % 101) - 60);
    }
}

// One value that stands out by ten orders of magnitude: cancellation.
static void fill_outlier(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    (void)weights;
    synthetic_tokens(plan, tokens, seed, NULL, x);
    for (int64_t token = 0; token < tokens; token++) {
        x[token * plan->layer.hidden + token * 7 % plan->layer.hidden] = token % 2 ? -1e10f : 1e10f;
    }
}

// Small integers: many equal terms, exact sums.
static void fill_integers(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    (void)weights;
    for (int64_t i = 0; i < tokens * plan->layer.hidden; i++) {
        x[i] = (float)((int64_t)(synthetic_next(&seed) % 5) - 2);
    }
}

// Every third token holds one NaN or infinity: its row is NaN, its neighbours are right.
static void fill_nonfinite(const Plan *plan, const OracleWeights *weights, int64_t tokens, uint64_t seed, float *x) {
    static const float values[] = {NAN, INFINITY, -INFINITY};
    int64_t hidden = plan->layer.hidden;
    (void)weights;
    synthetic_tokens(plan, tokens, seed, NULL, x);
    for (int64_t token = 1; token < tokens; token += 3) {
        x[token * hidden + (token * 5 + hidden - 1) % hidden] = values[token / 3 % 3];
    }
}

static const VerifyInput inputs[] = {
    {"equal tokens", fill_equal, 40, ERROR_WORST, VERIFY_HEIGHTS_OF_EQUAL},
    {"aimed at experts, ties", fill_aimed, 24, ERROR_WORST, VERIFY_HEIGHTS_OF_DIFFERENT},
    {"zeros", fill_zero, 3, ERROR_WORST, VERIFY_HEIGHTS_NONE},
    {"small integers", fill_integers, 9, ERROR_WORST, VERIFY_HEIGHTS_NONE},
    {"large values", fill_large, 9, ERROR_WORST, VERIFY_HEIGHTS_NONE},
    {"huge values", fill_huge, 9, ERROR_WORST, VERIFY_HEIGHTS_NONE},
    {"tiny values", fill_tiny, 9, ERROR_WORST, VERIFY_HEIGHTS_NONE},
    {"denormal values", fill_denormal, 9, ERROR_WORST, VERIFY_HEIGHTS_NONE},
    {"mixed scales", fill_mixed, 18, ERROR_WORST, VERIFY_HEIGHTS_NONE},
    {"outliers", fill_outlier, 9, ERROR_WORST, VERIFY_HEIGHTS_NONE},
    {"NaN and infinity", fill_nonfinite, 18, ERROR_LIKELY, VERIFY_HEIGHTS_NONE},
};

const VerifyInput *verify_inputs(int64_t *count) {
    *count = sizeof inputs / sizeof *inputs;
    return inputs;
}

int64_t verify_random_tokens(const Plan *plan, int64_t i, uint64_t seed, int64_t limit) {
    int64_t rows = plan->roles[ROLE_GATE_UP].max_rows;
    const int64_t first[] = {
        limit, 0, 1, 2, rows, rows + 1, rows > 1 ? rows - 1 : 1, plan->schedule.few_tokens, plan->schedule.few_tokens + 1};
    int64_t count = sizeof first / sizeof *first,
            tokens = i < count ? first[i] : (int64_t)(synthetic_next(&seed) % (uint64_t)(limit + 1));
    return tokens < limit ? tokens : limit;
}

static void copy_element(const Plan *plan, uint8_t *instance, Tensor tensor, int64_t gate, int64_t from, int64_t to, int64_t i) {
    if (layer_has_tensor(&plan->layer, tensor)) {
        packed_set(plan, instance, tensor, gate, to, i, packed_get(plan, instance, tensor, gate, from, i));
    }
}

static void copy_router_row(const Plan *plan, uint8_t *instance, int64_t from, int64_t to) {
    for (int64_t gate = 0; gate < layer_routers(&plan->layer); gate++) {
        for (int64_t i = 0; i < plan->layer.hidden; i++) {
            copy_element(plan, instance, TENSOR_ROUTER, gate, from, to, i);
        }
        copy_element(plan, instance, TENSOR_ROUTER_BIAS, gate, from, to, 0);
        copy_element(plan, instance, TENSOR_CORRECTION, gate, from, to, 0);
    }
}

void verify_tie_experts(const Plan *plan, uint8_t *instance) {
    int64_t choices = layer_choices(&plan->layer);
    if (choices > 1) {
        copy_router_row(plan, instance, 0, choices - 1);
    }
    if (choices > 4) {
        copy_router_row(plan, instance, 1, choices / 2);
    }
}
