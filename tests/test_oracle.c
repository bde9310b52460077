// The oracle: against hand-computed layers, against exact integer arithmetic, its bounds against an independent fp32
// implementation (compiler/opponent/opponent.c) and the skeleton's activations, and that it notices wrong results.
// Over 500 lines: the bounds are one argument, and each part of it is tried on the same layers.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/measure/synthetic.h"
#include "compiler/opponent/opponent.h"
#include "compiler/oracle/steps.h"
#include "fixture.h"
#include "suites.h"
#include "templates/activation.h"

// A result with room for everything.
static OracleOutput make_output(const Layer *layer, int64_t tokens) {
    size_t elements = (size_t)(tokens * layer->hidden) + 1, slots = (size_t)(layer->iterations * tokens * layer->top_k) + 1;
    OracleOutput out = {.y = calloc(elements, sizeof(double)),
                        .bound = calloc(elements, sizeof(double)),
                        .experts = calloc(slots, sizeof(int32_t)),
                        .weights = calloc(slots, sizeof(float))};
    ck_assert(out.y && out.bound && out.experts && out.weights);
    return out;
}

static void free_output(OracleOutput *out) {
    free(out->y);
    free(out->bound);
    free(out->experts);
    free(out->weights);
}

static void assert_near(double value, double due) {
    ck_assert_msg(fabs(value - due) <= 1e-12 * fabs(due) + 1e-15, "%.17g, not %.17g", value, due);
}

// Hand-computed layers ----------------------------------------------------------------------------------------------------------

// One number wide: everything can be followed by hand. x = 1.5, logits (0.5, 1.0) x, silu, two iterations, inner and outer
// residual.
START_TEST(test_by_hand_chain) {
    Layer layer = fixture_neutral((Layer){.hidden = 1,
                                          .iterations = 2,
                                          .experts = 2,
                                          .intermediate = 1,
                                          .top_k = 1,
                                          .inner_residual = 1,
                                          .outer_residual = 1,
                                          .gated = 1,
                                          .activation = ACTIVATION_SILU,
                                          .scale = 2});
    OracleWeights weights;
    ck_assert_int_eq(oracle_weights_allocate(&layer, &weights), 0);
    memcpy(weights.router, (float[]){0.5f, 1.0f}, 2 * sizeof(float));
    memcpy(weights.routed.gate, (float[]){9, 0.25f}, 2 * sizeof(float));
    memcpy(weights.routed.up, (float[]){9, -2}, 2 * sizeof(float));
    memcpy(weights.routed.down, (float[]){9, 0.125f}, 2 * sizeof(float));
    OracleOutput out = make_output(&layer, 1);
    float h = 1.5f;
    ck_assert_int_eq(oracle_forward(&layer, &weights, 1, &h, NULL, ERROR_WORST, &out), 0);
    double x = h;
    for (int t = 0; t < 2; t++) {  // x stays positive, so expert 1 is chosen; its softmax weight is a logistic function
        double p = 1 / (1 + exp(-0.5 * x)), g = 0.25 * x;
        x += 2 * p * 0.125 * (g / (1 + exp(-g))) * (-2 * x);
    }
    ck_assert_int_eq(out.experts[0], 1);
    ck_assert_int_eq(out.experts[1], 1);
    assert_near(out.y[0], 1.5 + x);
    ck_assert(out.bound[0] > 0 && out.bound[0] < 1e-5);
    free_output(&out);
    oracle_weights_free(&weights);
}
END_TEST

// Norms, biases, normalised weights, a shared expert, relu2, a bias that decides: one token of two numbers.
START_TEST(test_by_hand_norms) {
    Layer layer = fixture_neutral((Layer){.hidden = 2,
                                          .iterations = 1,
                                          .experts = 3,
                                          .intermediate = 1,
                                          .top_k = 2,
                                          .shared_experts = 1,
                                          .shared_intermediate = 1,
                                          .norm = _i ? NORM_LAYER : NORM_RMS,
                                          .norm_bias = _i,
                                          .norm_eps = 0.5f,
                                          .normalize = 1,
                                          .normalize_eps = 0.25f,
                                          .router_bias = 1,
                                          .activation = ACTIVATION_RELU2,
                                          .expert_bias = 1,
                                          .shared_bias = 1,
                                          .scale = 3,
                                          .expert_scale = 1,
                                          .post_norm = _i ? NORM_RMS : NORM_LAYER,
                                          .post_norm_eps = 0.75f});
    OracleWeights weights;
    ck_assert_int_eq(oracle_weights_allocate(&layer, &weights), 0);
    memcpy(weights.norm, (float[]){2, 0.5f}, 2 * sizeof(float));
    memcpy(weights.post_norm, (float[]){-3, 0.25f}, 2 * sizeof(float));
    memcpy(weights.expert_scale, (float[]){9, 0.5f, -2}, 3 * sizeof(float));
    memcpy(weights.router_bias, (float[]){0, 2, 1}, 3 * sizeof(float));  // rows are zero: experts 1 and 2
    memcpy(weights.routed.up, (float[]){0, 0, 1, 0, 0, 2}, 6 * sizeof(float));
    memcpy(weights.routed.up_bias, (float[]){0, 0.5f, 4}, 3 * sizeof(float));
    memcpy(weights.routed.down, (float[]){0, 0, 1, -1, 2, 3}, 6 * sizeof(float));
    memcpy(weights.routed.down_bias, (float[]){0, 0, 10, 20, 30, 40}, 6 * sizeof(float));
    memcpy(weights.shared.up, (float[]){1, 1}, 2 * sizeof(float));
    memcpy(weights.shared.up_bias, (float[]){5}, sizeof(float));
    memcpy(weights.shared.down, (float[]){-1, 1}, 2 * sizeof(float));
    memcpy(weights.shared.down_bias, (float[]){0.5f, 0.25f}, 2 * sizeof(float));
    double x0 = 3, x1 = -1, mean = 0;
    float h[] = {3, -1};
    if (_i) {
        memcpy(weights.norm_bias, (float[]){0.125f, -0.75f}, 2 * sizeof(float));
        mean = 1;
    }
    double r = 1 / sqrt(((x0 - mean) * (x0 - mean) + (x1 - mean) * (x1 - mean)) / 2 + 0.5);
    x0 = (x0 - mean) * r * 2 + (_i ? 0.125 : 0);
    x1 = (x1 - mean) * r * 0.5 - (_i ? 0.75 : 0);
    double sum = 1 + exp(2) + exp(1), p1 = exp(2) / sum, p2 = exp(1) / sum, w1 = 3 * p1 / (p1 + p2 + 0.25) * 0.5,
           w2 = 3 * p2 / (p1 + p2 + 0.25) * -2;
    double h1 = fmax(x0 + 0.5, 0), h2 = fmax(2 * x1 + 4, 0), hs = fmax(x0 + x1 + 5, 0);
    OracleOutput out = make_output(&layer, 1);
    ck_assert_int_eq(oracle_forward(&layer, &weights, 1, h, NULL, ERROR_WORST, &out), 0);
    double y0 = w1 * (h1 * h1 + 10) + w2 * (2 * h2 * h2 + 30) - hs * hs + 0.5;
    double y1 = w1 * (20 - h1 * h1) + w2 * (3 * h2 * h2 + 40) + hs * hs + 0.25;
    mean = _i ? 0 : (y0 + y1) / 2;
    r = 1 / sqrt(((y0 - mean) * (y0 - mean) + (y1 - mean) * (y1 - mean)) / 2 + 0.75);
    assert_near(out.y[0], (y0 - mean) * r * -3);
    assert_near(out.y[1], (y1 - mean) * r * 0.25);
    ck_assert(out.bound[0] > 0 && out.bound[0] < 1e-3 && out.bound[1] < 1e-3);
    free_output(&out);
    oracle_weights_free(&weights);
}
END_TEST

// act(gate x) * (up x + offset) of one number, clamped, through a down matrix of 0.5.
static double clamped_expert(double x, double limit) {
    double g = fmin(2 * x, limit), u = fmax(fmin(-3 * x, limit), -limit);
    return 0.5 * (g / (1 + exp(-(double)1.702f * g))) * (u + 1);
}

// An expert, an identity and a null choice of given weights, a gated shared expert, all factors of residuals, two iterations of
// a converted MoE; weights on outputs or on inputs.
START_TEST(test_by_hand_combination) {
    Layer layer = fixture_neutral((Layer){.hidden = 1,
                                          .iterations = 2,
                                          .experts = 1,
                                          .identity_experts = 1,
                                          .null_experts = 1,
                                          .intermediate = 1,
                                          .top_k = 3,
                                          .shared_experts = 1,
                                          .shared_intermediate = 1,
                                          .shared_gated = 1,
                                          .shared_scale = -2,
                                          .inner_residual = 1,
                                          .inner_alpha = 0.5f,
                                          .outer_residual = 1,
                                          .alpha = 3,
                                          .multiplier = 0.25f,
                                          .coe_weight = 1,
                                          .weight_on = _i,
                                          .gated = 1,
                                          .activation = ACTIVATION_SILU,
                                          .slope = 1.702f,
                                          .limit = 0.75f,
                                          .shared_limit = 0.5f,
                                          .up_offset = 1,
                                          .output_bias = 1,
                                          .output_scale = 1,
                                          .residual_bias = 1,
                                          .residual_scale = 1});
    OracleWeights weights;
    ck_assert_int_eq(oracle_weights_allocate(&layer, &weights), 0);
    *weights.output_bias = 0.125f;
    *weights.output_scale = -0.5f;
    *weights.residual_bias = 0.0625f;
    *weights.residual_scale = 1.25f;
    *weights.coe_weight = 0.375f;
    *weights.shared_expert_gate = -1.5f;
    *weights.routed.gate = *weights.shared.gate = 2;
    *weights.routed.up = *weights.shared.up = -3;
    *weights.routed.down = *weights.shared.down = 0.5f;
    int32_t experts[] = {2, 0, 1, 1, 0, -1};
    float given_weights[] = {9, 0.5f, 0.25f, 0.125f, 2, 0}, h = 0.625f;
    double x = h;
    for (int t = 0; t < 2; t++) {
        double w = t ? 2 : 0.5, identity = t ? 0.125 : 0.25;
        double expert = _i ? clamped_expert(w * x, 0.75) : w * clamped_expert(x, 0.75);
        double y = 0.125 + expert + identity * x - 2 / (1 + exp(1.5 * x)) * clamped_expert(x, 0.5);
        x = t ? y : 0.5 * x + 0.375 * y;
    }
    OracleGiven given = {.experts = experts, .weights = given_weights};
    OracleOutput out = make_output(&layer, 1);
    ck_assert_int_eq(oracle_forward(&layer, &weights, 1, &h, &given, ERROR_WORST, &out), 0);
    ck_assert_double_eq_tol(out.y[0], 3 * (h + 0.0625) * 1.25 + 0.25 * x * -0.5, 1e-14);
    ck_assert(out.bound[0] > 0 && out.bound[0] < 1e-5);
    free_output(&out);
    oracle_weights_free(&weights);
}
END_TEST

// Joint gates, where the caller gives the choice: its score counts in their norm, an empty slot's and the given weight do not.
START_TEST(test_by_hand_joint_gates) {
    Layer layer = fixture_neutral((Layer){.hidden = 1,
                                          .iterations = 1,
                                          .experts = 2,
                                          .intermediate = 1,
                                          .top_k = 2,
                                          .shared_experts = 2,
                                          .shared_intermediate = 1,
                                          .shared_gated = 1,
                                          .shared_joint = 1,
                                          .shared_scale = -2,
                                          .score = SCORE_SIGMOID,
                                          .normalize = 1,
                                          .normalize_eps = 0.25f,
                                          .scale = 3,
                                          .activation = ACTIVATION_RELU});
    OracleWeights weights;
    ck_assert_int_eq(oracle_weights_allocate(&layer, &weights), 0);
    memcpy(weights.router, (float[]){7, 2}, 2 * sizeof(float));
    memcpy(weights.shared_expert_gate, (float[]){-1.5f, 0.5f}, 2 * sizeof(float));
    memcpy(weights.routed.up, (float[]){1, 3}, 2 * sizeof(float));
    memcpy(weights.routed.down, (float[]){1, 0.5f}, 2 * sizeof(float));
    memcpy(weights.shared.up, (float[]){4, 5}, 2 * sizeof(float));
    memcpy(weights.shared.down, (float[]){1, 1}, 2 * sizeof(float));
    const int32_t experts[] = {1, -1};
    const float given_weights[] = {6, 0}, x = 0.625f;
    double s = 1 / (1 + exp(-2 * x)), g[] = {1 / (1 + exp(1.5 * x)), 1 / (1 + exp(-0.5 * x))};
    double norm = s + g[0] + g[1] + 0.25, shared = 3 * (g[0] * 4 * x + g[1] * 5 * x) / norm;
    OracleGiven given = {.experts = experts, .weights = given_weights};
    OracleOutput out = make_output(&layer, 1);
    ck_assert_int_eq(oracle_forward(&layer, &weights, 1, &x, &given, ERROR_WORST, &out), 0);
    ck_assert_double_eq_tol(out.y[0], 6 * 1.5 * x - 2 * shared, 1e-14);
    ck_assert(out.bound[0] > 0 && out.bound[0] < 1e-4);
    free_output(&out);
    oracle_weights_free(&weights);
}
END_TEST

// An expert and an identity between two projections, with and without a norm of what they read, and a shared expert outside of
// them; two iterations of a converted MoE.
START_TEST(test_by_hand_latent) {
    Layer layer = fixture_neutral((Layer){.hidden = 1,
                                          .iterations = 2,
                                          .experts = 1,
                                          .identity_experts = 1,
                                          .intermediate = 1,
                                          .latent = 2,
                                          .latent_norm = _i ? NORM_RMS : NORM_NONE,
                                          .latent_norm_eps = 0.5f,
                                          .top_k = 2,
                                          .shared_experts = 1,
                                          .shared_intermediate = 1,
                                          .inner_residual = 1,
                                          .coe_weight = 1,
                                          .activation = ACTIVATION_RELU2});
    OracleWeights weights;
    ck_assert_int_eq(oracle_weights_allocate(&layer, &weights), 0);
    *weights.coe_weight = 0.375f;
    memcpy(weights.latent_in, (float[]){1.5f, -0.5f}, 2 * sizeof(float));
    memcpy(weights.latent_out, (float[]){0.75f, 2}, 2 * sizeof(float));
    memcpy(weights.routed.up, (float[]){0.5f, -1}, 2 * sizeof(float));
    memcpy(weights.routed.down, (float[]){3, -0.25f}, 2 * sizeof(float));
    *weights.shared.up = 0.5f;
    *weights.shared.down = -2;
    if (_i) {
        memcpy(weights.latent_norm, (float[]){1.25f, -2}, 2 * sizeof(float));
    }
    int32_t experts[] = {0, 1, 1, 0};
    float given_weights[] = {0.5f, 0.25f, 0.125f, 2}, h = 0.625f;
    double x = h;
    for (int t = 0; t < 2; t++) {
        double w = t ? 2 : 0.5, identity = t ? 0.125 : 0.25, z0 = 1.5 * x, z1 = -0.5 * x;
        double r = _i ? 1 / sqrt((z0 * z0 + z1 * z1) / 2 + 0.5) : 1;
        z0 *= r * (_i ? 1.25 : 1);
        z1 *= r * (_i ? -2 : 1);
        double hidden = fmax(0.5 * z0 - z1, 0), shared = fmax(0.5 * x, 0);
        double s0 = w * 3 * hidden * hidden + identity * z0, s1 = w * -0.25 * hidden * hidden + identity * z1;
        double y = 0.75 * s0 + 2 * s1 - 2 * shared * shared;
        x = t ? y : x + 0.375 * y;
    }
    OracleGiven given = {.experts = experts, .weights = given_weights};
    OracleOutput out = make_output(&layer, 1);
    ck_assert_int_eq(oracle_forward(&layer, &weights, 1, &h, &given, ERROR_WORST, &out), 0);
    ck_assert_double_eq_tol(out.y[0], x, 1e-14);
    ck_assert_msg(out.bound[0] > 0 && out.bound[0] < 1e-5 * fmax(fabs(x), 1), "%g of %g", out.bound[0], x);
    free_output(&out);
    oracle_weights_free(&weights);
}
END_TEST

// Soft caps and a limit behind the activation, of one expert of one number: gate 2 x, up -3 x, down 0.5.
START_TEST(test_by_hand_caps) {
    Layer layer = fixture_neutral((Layer){.hidden = 1,
                                          .iterations = 1,
                                          .experts = 1,
                                          .intermediate = 1,
                                          .top_k = 1,
                                          .gated = 1,
                                          .activation = ACTIVATION_SILU,
                                          .slope = 1.5f,
                                          .limit = 0.375f,
                                          .limit_place = LIMIT_AFTER_ACTIVATION,
                                          .gate_softcap = _i ? 0.5f : 0,
                                          .up_softcap = _i ? 0.25f : 0,
                                          .up_offset = 1});
    OracleWeights weights;
    ck_assert_int_eq(oracle_weights_allocate(&layer, &weights), 0);
    *weights.routed.gate = 2, *weights.routed.up = -3, *weights.routed.down = 0.5f;
    for (int i = -8; i <= 8; i++) {
        float h = (float)i / 8;
        double g = 2.0 * h, u = fmax(fmin(-3.0 * h, 0.375), -0.375), sigmoid = 1 / (1 + exp(-1.5 * g));
        double activated = fmin((_i ? 0.5 * tanh(g / 0.5) : g) * sigmoid, 0.375);
        OracleOutput out = make_output(&layer, 1);
        ck_assert_int_eq(oracle_forward(&layer, &weights, 1, &h, NULL, ERROR_WORST, &out), 0);
        ck_assert_double_eq_tol(out.y[0], 0.5 * activated * ((_i ? 0.25 * tanh(u / 0.25) : u) + 1), 1e-14);
        ck_assert(out.bound[0] < 1e-5);
        free_output(&out);
    }
    oracle_weights_free(&weights);
}
END_TEST

// Exact arithmetic ----------------------------------------------------------------------------------------------------------------

static float small(uint64_t *state) {
    return (float)((int64_t)(synthetic_next(state) % 7) - 3);
}

// Integers with given routing of weights 1/2, 1/4: the oracle must have exactly what integer arithmetic has.
START_TEST(test_exact_integers) {
    enum { TOKENS = 5, HIDDEN = 9, WIDTH = 13, EXPERTS = 4, K = 2 };
    Layer layer = fixture_neutral((Layer){.hidden = HIDDEN,
                                          .iterations = 1,
                                          .experts = EXPERTS,
                                          .intermediate = WIDTH,
                                          .top_k = K,
                                          .inner_residual = 1,
                                          .gated = 1,
                                          .activation = ACTIVATION_RELU});
    OracleWeights weights;
    uint64_t state = (uint64_t)_i;
    ck_assert_int_eq(oracle_weights_allocate(&layer, &weights), 0);
    for (int i = 0; i < EXPERTS * WIDTH * HIDDEN; i++) {
        weights.routed.gate[i] = small(&state);
        weights.routed.up[i] = small(&state);
        weights.routed.down[i] = small(&state);
    }
    float x[TOKENS * HIDDEN], given_weights[TOKENS * K];
    int32_t experts[TOKENS * K];
    for (int i = 0; i < TOKENS * HIDDEN; i++) {
        x[i] = small(&state);
    }
    for (int t = 0; t < TOKENS; t++) {
        experts[t * K] = (int32_t)(synthetic_next(&state) % EXPERTS);
        experts[t * K + 1] = t == 2 ? -1 : (experts[t * K] + 1) % EXPERTS;  // a slot that is not used
        given_weights[t * K] = 0.5f;
        given_weights[t * K + 1] = t == 2 ? 0 : 0.25f;
    }
    OracleGiven given = {.experts = experts, .weights = given_weights};
    OracleOutput out = make_output(&layer, TOKENS);
    ck_assert_int_eq(oracle_forward(&layer, &weights, TOKENS, x, &given, ERROR_WORST, &out), 0);
    for (int t = 0; t < TOKENS; t++) {
        int64_t due[HIDDEN];
        for (int i = 0; i < HIDDEN; i++) {
            due[i] = 4 * (int64_t)x[t * HIDDEN + i];
        }
        for (int s = 0; s < K && experts[t * K + s] >= 0; s++) {
            for (int f = 0; f < WIDTH; f++) {
                int64_t gate = 0, up = 0, row = (experts[t * K + s] * WIDTH + f) * HIDDEN;
                for (int i = 0; i < HIDDEN; i++) {
                    gate += (int64_t)weights.routed.gate[row + i] * (int64_t)x[t * HIDDEN + i];
                    up += (int64_t)weights.routed.up[row + i] * (int64_t)x[t * HIDDEN + i];
                }
                for (int i = 0; i < HIDDEN; i++) {
                    int64_t down = (int64_t)weights.routed.down[(experts[t * K + s] * HIDDEN + i) * WIDTH + f];
                    due[i] += (s ? 1 : 2) * down * (gate > 0 ? gate : 0) * up;
                }
            }
        }
        for (int i = 0; i < HIDDEN; i++) {
            ck_assert_double_eq(out.y[t * HIDDEN + i] * 4, (double)due[i]);
        }
    }
    free_output(&out);
    oracle_weights_free(&weights);
}
END_TEST

START_TEST(test_bf16_rounding) {
    uint64_t state = 5;
    for (int i = 0; i < 200000; i++) {
        uint32_t bits = (uint32_t)synthetic_next(&state);
        bits = i % 4 ? bits : bits & 0x80ffffff;  // a quarter is subnormal or nearly
        float value;
        memcpy(&value, &bits, sizeof value);
        float due = packed_float_from_bf16(packed_bf16_from_float(value));
        if (isfinite(due)) {
            ck_assert_msg(bf16_nearest(value) == due, "%.9g -> %.9g, not %.9g", (double)value, bf16_nearest(value), (double)due);
        }
    }
}
END_TEST

// Bounds ------------------------------------------------------------------------------------------------------------------------

// The skeleton's activations stay within the oracle's table over the whole range.
START_TEST(test_activation_bounds) {
    double worst = 0;
    for (int i = -4000; i < 4000; i++) {
        float x = i % 3 ? (float)i * 0.03f : copysignf(ldexpf(1.37f, i / 70), (float)i);
        float slope = activation_facts[_i].takes_slope && i % 2 ? 1.702f : 1;
        Vector value = activation_apply(_i, slope, vector_set(x));
        Bounded due = oracle_activation((Activation)_i, slope, bounded_exact(x));
        double error = fabs(value[0] - due.value);
        if (isfinite(due.error)) {
            ck_assert_msg(error <= due.error, "f(%.9g) = %.9g, not %.9g +- %.3g", (double)x, (double)value[0], due.value,
                          due.error);
            worst = fmax(worst, error > 0 ? error / due.error : 0);
        }
    }
    ck_assert_msg(activation_facts[_i].units == 0 || worst > 0.01, "the bound is far too wide: %g", worst);
}
END_TEST

// What the oracle says of an x that carries an error holds of every x within it, by the oracle's own function: the rows' largest
// slopes, and what they say of rising.
START_TEST(test_activation_slopes) {
    const double errors[] = {1e-6, 1e-3, 0.25, 3};
    double worst = 0;
    for (int i = -4000; i <= 4000; i++) {
        for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
            double x = i * 0.0025, slope = activation_facts[_i].takes_slope && i % 2 ? 1.702 : 1, reach = errors[e];
            Bounded wide = oracle_activation((Activation)_i, slope, (Bounded){x, reach});
            for (int step = -4; step <= 4; step++) {
                Bounded exact = oracle_activation((Activation)_i, slope, bounded_exact(x + step * reach / 4));
                double error = fabs(exact.value - wide.value);
                ck_assert_msg(error <= wide.error, "f(%.9g) = %.9g, not %.9g +- %.3g", x + step * reach / 4, exact.value,
                              wide.value, wide.error);
                worst = fmax(worst, error / wide.error);
            }
        }
    }
    ck_assert_msg(worst > 0.9, "the bound is far too wide: %g", worst);
}
END_TEST

// The straightforward implementation has every activation too: one expert of width 1 with weights of 1.
START_TEST(test_activation_opponent) {
    Layer layer = fixture_neutral(
        (Layer){.hidden = 1, .iterations = 1, .experts = 1, .intermediate = 1, .top_k = 1, .activation = _i, .scale = 1});
    float one = 1, zero = 0;
    OpponentWeights weights = {.router = &zero, .routed = {.count = 1, .width = 1, .intermediate = 1, .up = &one, .down = &one}};
    OpponentWorkspace *workspace = opponent_workspace_create(&layer, 1, 1);
    ck_assert_ptr_nonnull(workspace);
    for (int i = -300; i <= 300; i++) {
        float x = (float)i * 0.03f, y;
        layer.slope = activation_facts[_i].takes_slope && i % 2 ? 1.702f : 1;
        opponent_forward(&layer, &weights, workspace, 1, &x, &y, NULL, NULL);
        double due = oracle_activation((Activation)_i, layer.slope, bounded_exact(x)).value;
        // Ten operations, each rounded relative to x or the result, and an argument of exp of up to 1.702 * 9 that is rounded.
        double tolerance = (10 + 16) * unit_fp32 * fmax(fabs(x), fabs(due));
        ck_assert_msg(fabs(y - due) <= tolerance, "f(%.9g) = %.9g, not %.9g", (double)x, (double)y, due);
    }
    opponent_workspace_free(workspace);
}
END_TEST

// Everything about one random layer.
typedef struct Case {
    Layer layer;
    Kind kind;
    void *image;
    OracleWeights weights;
    float *x, *y, *scores;
    int32_t *experts, *k;
    OracleOutput out;
} Case;

// Runs the straightforward fp32 implementation on a random layer.
static void case_make(Case *c, Layer layer, uint64_t seed, int64_t tokens) {
    size_t bytes;
    OpponentWeights fast;
    c->layer = layer;
    c->kind = fixture_kind(&layer, "generic");
    c->image = fixture_image(&c->kind, seed, &bytes);
    const uint8_t *instance = packed_image_instance(c->image, 0, 0);
    ck_assert_int_eq(oracle_weights_allocate(&layer, &c->weights), 0);
    oracle_weights_unpack(&c->kind.plan, instance, &c->weights);
    ck_assert_int_eq(opponent_weights_unpack(&c->kind.plan, instance, &fast), 0);
    OpponentWorkspace *workspace = opponent_workspace_create(&layer, tokens, 2);
    c->x = calloc((size_t)(tokens * layer.hidden) + 1, sizeof(float));
    c->y = calloc((size_t)(tokens * layer.hidden) + 1, sizeof(float));
    c->out = make_output(&layer, tokens);
    c->experts = calloc((size_t)(layer.iterations * tokens * layer.top_k) + 1, sizeof(int32_t));
    c->scores = calloc((size_t)(layer.iterations * tokens * layer.top_k) + 1, sizeof(float));
    c->k = fixture_k(&layer, tokens, seed);
    workspace->k = c->k;
    synthetic_tokens(&c->kind.plan, tokens, seed, NULL, c->x);
    opponent_forward(&layer, &fast, workspace, tokens, c->x, c->y, c->experts, c->scores);
    opponent_workspace_free(workspace);
    opponent_weights_free(&fast);
}

static void case_check(Case *c, int64_t tokens, ErrorModel model) {
    OracleGiven given = {c->experts, c->scores, 1, c->k};
    ck_assert_int_eq(oracle_forward(&c->layer, &c->weights, tokens, c->x, &given, model, &c->out), 0);
}

static void case_free(Case *c) {
    free_output(&c->out);
    oracle_weights_free(&c->weights);
    free(c->image);
    free(c->x);
    free(c->y);
    free(c->experts);
    free(c->k);
    free(c->scores);
}

enum { TOKENS = 11 };

START_TEST(test_bounds_hold) {
    Case c;
    case_make(&c, fixture_layer((uint64_t)_i), (uint64_t)_i + 1, TOKENS);
    for (ErrorModel model = ERROR_WORST; model <= ERROR_LIKELY; model++) {
        case_check(&c, TOKENS, model);
        ck_assert_msg(c.out.checks.violations == 0, "%s", c.out.checks.first);
        OracleComparison found = oracle_compare(&c.out, TOKENS, c.layer.hidden, c.y, c.layer.hidden);
        ck_assert_msg(found.worst <= 1, "model %d: token %lld, column %lld: %g bounds", (int)model, (long long)found.token,
                      (long long)found.column, found.worst);
    }
    case_free(&c);
}
END_TEST

// The likely bound is sharp enough to be worth something, and rounding that the class does not allow is noticed.
START_TEST(test_bounds_are_sharp) {
    Layer layer = fixture_neutral((Layer){.hidden = 256,
                                          .iterations = 1,
                                          .experts = 8,
                                          .intermediate = 192,
                                          .top_k = 2,
                                          .norm = NORM_RMS,
                                          .norm_eps = 1e-6f,
                                          .outer_residual = 1,
                                          .gated = 1,
                                          .activation = ACTIVATION_SILU,
                                          .weights = FORMAT_BF16,
                                          .compute = COMPUTE_BF16});
    Case c;
    case_make(&c, layer, 3, TOKENS);
    case_check(&c, TOKENS, ERROR_LIKELY);
    ck_assert_int_eq(c.out.checks.violations, 0);
    ck_assert_double_le(oracle_compare(&c.out, TOKENS, layer.hidden, c.y, layer.hidden).worst, 1);
    c.layer.compute = COMPUTE_FP32;  // the same result was due in fp32: activations must not have been rounded to bf16
    case_check(&c, TOKENS, ERROR_LIKELY);
    ck_assert_double_gt(oracle_compare(&c.out, TOKENS, layer.hidden, c.y, layer.hidden).worst, 3);
    case_free(&c);
}
END_TEST

// Wrong results are noticed -----------------------------------------------------------------------------------------------------

static Layer plain_layer(void) {
    return fixture_neutral((Layer){.hidden = 40,
                                   .iterations = 2,
                                   .experts = 8,
                                   .intermediate = 24,
                                   .top_k = 3,
                                   .norm = NORM_RMS,
                                   .norm_eps = 1e-6f,
                                   .inner_residual = 1,
                                   .gate_per_iteration = 1,
                                   .gated = 1,
                                   .activation = ACTIVATION_SILU});
}

START_TEST(test_notices_wrong_element) {
    Case c;
    case_make(&c, plain_layer(), 7, TOKENS);
    case_check(&c, TOKENS, ERROR_LIKELY);
    ck_assert_double_le(oracle_compare(&c.out, TOKENS, 40, c.y, 40).worst, 1);
    c.y[3 * 40 + 17] += (float)(3 * c.out.bound[3 * 40 + 17]);
    OracleComparison found = oracle_compare(&c.out, TOKENS, 40, c.y, 40);
    ck_assert_double_gt(found.worst, 1.5);
    ck_assert_int_eq(found.token, 3);
    ck_assert_int_eq(found.column, 17);
    c.y[3 * 40 + 17] = NAN;
    ck_assert(isinf(oracle_compare(&c.out, TOKENS, 40, c.y, 40).worst));
    case_free(&c);
}
END_TEST

// One way each to falsify routing: all must be violations.
static void falsify(Case *c, int way) {
    int32_t *experts = c->experts + 4 * 3, swap = experts[0];  // token 4 of iteration 0, three slots
    float *scores = c->scores + 4 * 3, score = scores[0];
    int32_t unused = 0;
    while (unused == experts[0] || unused == experts[1] || unused == experts[2]) {
        unused++;
    }
    switch (way) {
    case 0: experts[2] = unused; break;  // another expert
    case 1: scores[0] = scores[1], scores[1] = score; break;  // weights swapped
    case 2: experts[0] = experts[1], experts[1] = swap, scores[0] = scores[1], scores[1] = score; break;  // order
    case 3: experts[1] = experts[0]; break;
    case 4: experts[1] = 8; break;
    case 5: experts[1] = -1, scores[1] = 0; break;
    case 6: experts[0] = experts[1] = experts[2] = -1; break;  // rejected without reason
    case 7: scores[2] *= 1.0001f; break;
    case 8: c->x[4 * 40 + 1] = NAN; break;  // should have been rejected
    case 9: c->weights.router[0] += 100; break;  // another router than the one that chose
    default: ck_abort();
    }
}
enum { WAYS = 10 };

START_TEST(test_notices_wrong_routing) {
    Case c;
    case_make(&c, plain_layer(), 7, TOKENS);
    case_check(&c, TOKENS, ERROR_WORST);
    ck_assert_msg(c.out.checks.violations == 0, "%s", c.out.checks.first);
    ck_assert_int_eq(c.out.checks.choices, TOKENS * 2 * 3);
    falsify(&c, _i);
    case_check(&c, TOKENS, ERROR_WORST);
    ck_assert_int_gt(c.out.checks.violations, 0);
    ck_assert_int_ne(c.out.checks.first[0], 0);
    case_free(&c);
}
END_TEST

// A wrong weight anywhere moves the result out of its bounds.
START_TEST(test_notices_wrong_weights) {
    Case c;
    case_make(&c, plain_layer(), 11, TOKENS);
    int32_t expert = c.experts[0];
    float *row = c.weights.routed.down + (expert * 40 + 5) * 24, first = row[0];
    row[0] = row[1];  // two weights of one row change places
    row[1] = first;
    case_check(&c, TOKENS, ERROR_LIKELY);
    OracleComparison found = oracle_compare(&c.out, TOKENS, 40, c.y, 40);
    ck_assert_double_gt(found.worst, 2);
    case_free(&c);
}
END_TEST

// Equal rows of the router: the lower index must win, though rounding bounds are not zero.
START_TEST(test_ties) {
    Case c;
    Layer layer = plain_layer();
    layer.top_k = 1;
    layer.iterations = 1;
    case_make(&c, layer, 13, TOKENS);
    for (int e = 1; e < 8; e++) {
        memcpy(c.weights.router + e * 40, c.weights.router, 40 * sizeof(float));
    }
    for (int t = 0; t < TOKENS; t++) {
        c.experts[t] = 0;
        c.scores[t] = 0.125f;
    }
    case_check(&c, TOKENS, ERROR_WORST);
    ck_assert_msg(c.out.checks.violations == 0, "%s", c.out.checks.first);
    ck_assert_int_eq(c.out.checks.near_ties, TOKENS);
    c.experts[2] = 1;
    case_check(&c, TOKENS, ERROR_WORST);
    ck_assert_int_eq(c.out.checks.violations, 1);
    case_free(&c);
}
END_TEST

// Rejected tokens are NaN rows; overflow is accepted where it is legitimate.
START_TEST(test_nonfinite_and_overflow) {
    Case c;
    case_make(&c, plain_layer(), 17, TOKENS);
    c.x[2 * 40] = INFINITY;
    ck_assert_int_eq(oracle_forward(&c.layer, &c.weights, TOKENS, c.x, NULL, ERROR_WORST, &c.out), 0);
    ck_assert_int_eq(c.out.checks.rejected, 1);
    ck_assert_int_eq(c.out.experts[2 * 3], -1);
    ck_assert(isnan(c.out.y[2 * 40]) && !isnan(c.out.y[3 * 40]) && !isnan(c.out.y[40]));
    c.layer.norm = NORM_NONE;
    for (int i = 0; i < 40; i++) {
        c.x[i] = 1e30f;  // gate times up is beyond fp32
    }
    ck_assert_int_eq(oracle_forward(&c.layer, &c.weights, TOKENS, c.x, NULL, ERROR_WORST, &c.out), 0);
    ck_assert(isinf(c.out.bound[0]) && isfinite(c.out.bound[40]));
    case_free(&c);
}
END_TEST

Suite *suite_oracle(void) {
    Suite *suite = suite_create("oracle");
    TCase *hand = tcase_create("values"), *bounds = tcase_create("bounds"), *notice = tcase_create("notice");
    tcase_add_test(hand, test_by_hand_chain);
    tcase_add_loop_test(hand, test_by_hand_norms, 0, 2);
    tcase_add_loop_test(hand, test_by_hand_combination, 0, WEIGHT_ON_COUNT);
    tcase_add_loop_test(hand, test_by_hand_latent, 0, 2);
    tcase_add_loop_test(hand, test_by_hand_caps, 0, 2);
    tcase_add_test(hand, test_by_hand_joint_gates);
    tcase_add_loop_test(hand, test_exact_integers, 0, 10);
    tcase_add_test(hand, test_bf16_rounding);
    tcase_add_loop_test(bounds, test_activation_bounds, 0, ACTIVATION_COUNT);
    tcase_add_loop_test(bounds, test_activation_slopes, 0, ACTIVATION_COUNT);
    tcase_add_loop_test(bounds, test_activation_opponent, 0, ACTIVATION_COUNT);
    tcase_add_loop_test(bounds, test_bounds_hold, 0, 200);
    tcase_add_test(bounds, test_bounds_are_sharp);
    tcase_add_test(notice, test_notices_wrong_element);
    tcase_add_loop_test(notice, test_notices_wrong_routing, 0, WAYS);
    tcase_add_test(notice, test_notices_wrong_weights);
    tcase_add_test(notice, test_ties);
    tcase_add_test(notice, test_nonfinite_and_overflow);
    TCase *all[] = {hand, bounds, notice};
    for (int i = 0; i < 3; i++) {
        tcase_set_timeout(all[i], TEST_TIMEOUT);
        suite_add_tcase(suite, all[i]);
    }
    return suite;
}
