// Random weights straight into the packed layout (templates/plan.h), and random tokens. Generator: splitmix64 (Steele, Lea and
// Flood, Fast splittable pseudorandom number generators, 2014), one sequence per panel, so threads do not change the result.
#include "synthetic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/oracle/steps.h"
#include "runtime/packed.h"
#include "templates/formats.h"

static const float token_constant = 4.0f;    // component 0 of tokens when the routing is skewed
static const double one_offset = 60;         // "one": far beyond the noise of the logits
static const int64_t least_hidden = 8;       // narrower tokens would be little more than the constant
static const double router_variance = 1.645; // pi^2 / 6, the variance of Gumbel noise

static uint64_t seed_of(uint64_t seed, uint64_t first, uint64_t second) {
    uint64_t state = seed;
    state = synthetic_next(&state) ^ first;
    state = synthetic_next(&state) ^ second;
    return synthetic_next(&state);
}

// --- matrices ----------------------------------------------------------------------------------------------------------------

// Which of a panel's 32 columns hold a weight: bit c. width: intermediate of a gated gate/up role, otherwise columns.
static uint32_t panel_mask(const Role *role, int64_t panel, int gated, int64_t width) {
    uint32_t mask = 0;
    for (int64_t c = 0; c < PANEL_COLUMNS; c++) {
        int64_t column = panel * PANEL_COLUMNS + c;
        int64_t row = gated ? column / (2 * PANEL_GROUP) * PANEL_GROUP + column % PANEL_GROUP : column;
        mask |= (uint32_t)(row < (gated ? width : role->layout.columns)) << c;
    }
    return mask;
}

// 32 random integers of 16 bits, then their use as uniform numbers on [-1, 1) times `scale`.
static void random_line(uint64_t *state, int16_t *line) {
    for (int i = 0; i < PANEL_COLUMNS; i += 4) {
        uint64_t bits = synthetic_next(state);
        memcpy(line + i, &bits, sizeof bits);
    }
}

// One panel, step by step.
static void fill_panel(const Role *role, uint32_t mask, float scale, uint64_t state, uint8_t *panel) {
    int16_t lines[FORMAT_MAX_STEP][PANEL_COLUMNS];
    int step = format_facts[role->layout.weights].step;
    FormatRandom random = {.lines = (const int16_t(*)[PANEL_COLUMNS])lines, .scale = scale};
    for (; random.k < role->layout.depth_padded; random.k += step) {
        for (int i = 0; i < step; i++) {
            bool real = random.k + i < role->layout.depth;
            random.mask[i] = real ? mask : 0;
            random_line(&state, lines[i]);
        }
        format_random((Format)role->layout.weights, panel, &random);
    }
}

static void fill_role(const Plan *plan, uint8_t *instance, RoleName name, uint64_t seed) {
    const Role *role = &plan->roles[name];
    int shared = name == ROLE_SHARED_GATE_UP, gated = (name == ROLE_GATE_UP || shared) && plan->layer.gated;
    int64_t width = shared ? plan->layer.shared_intermediate : plan->layer.intermediate;
    double variance = (name == ROLE_ROUTER ? router_variance : 1) / (double)(role->layout.depth ? role->layout.depth : 1);
    float scale = (float)(sqrt(3 * variance) / 32768);  // uniform on [-1, 1) has variance 1/3
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < role->layout.matrices * role->layout.panels; p++) {
        uint8_t *panel = instance + role->layout.offset + p * role->layout.panel_bytes;
        uint32_t mask = panel_mask(role, p % role->layout.panels, gated, width);
        uint64_t state = seed_of(seed, (uint64_t)name + 1, (uint64_t)p);
        fill_panel(role, mask, scale, state, panel);
    }
}

// Every router matrix has the shared experts' gates beside it: the same ones (packed_set writes all).
static void unite_shared_gates(const Plan *plan, uint8_t *instance) {
    PackedShape shape;
    if (!packed_shape(plan, TENSOR_SHARED_EXPERT_GATE, &shape)) {
        return;
    }
    for (int64_t row = 0; row < shape.rows; row++) {
        for (int64_t k = 0; k < shape.columns; k++) {
            float value = packed_get(plan, instance, TENSOR_SHARED_EXPERT_GATE, 0, row, k);
            packed_set(plan, instance, TENSOR_SHARED_EXPERT_GATE, 0, row, k, value);
        }
    }
}

// --- vectors -----------------------------------------------------------------------------------------------------------------

// The t that a normal variable exceeds with probability q, by bisection.
static double normal_quantile(double q) {
    double low = -8, high = 8;
    for (int i = 0; i < 50; i++) {
        double middle = (low + high) / 2;
        if (erfc(middle * M_SQRT1_2) / 2 > q) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

// What typical ranking values of one token differ by: corrections of this size change choices without making them all. It is 0.4
// standard deviations of the scores of normally distributed logits; 0 without memory.
static float correction_size(const Layer *layer) {
    int64_t choices = layer_choices(layer);
    double deviation = sqrt(router_variance), sum = 0, squares = 0;
    Bounded *logits = malloc(2 * (size_t)choices * sizeof *logits), *scores = logits + choices;
    if (layer->rank == RANK_LOGIT || !logits) {
        free(logits);
        return (float)(layer->rank == RANK_LOGIT ? 0.4 * deviation : 0);
    }
    for (int64_t e = 0; e < choices; e++) {
        logits[e] = bounded_exact(deviation * normal_quantile(((double)e + 0.5) / (double)choices));
    }
    oracle_scores(layer, logits, scores);
    for (int64_t e = 0; e < choices; e++) {
        sum += scores[e].value;
        squares += scores[e].value * scores[e].value;
    }
    free(logits);
    double mean = sum / (double)choices;
    return (float)(0.4 * sqrt(fmax(squares / (double)choices - mean * mean, 0)));
}

// Vectors are uniform around a middle.
static void fill_vectors(const Plan *plan, uint8_t *instance, uint64_t seed) {
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        PackedShape shape;
        if (!packed_shape(plan, tensor, &shape) || !shape.vector) {
            continue;
        }
        uint64_t state = seed_of(seed, 0, (uint64_t)tensor);
        float middle = layer_tensor_factors(tensor) ? 1.0f : tensor == TENSOR_COE_WEIGHT ? 0.5f : 0.0f;
        float size = tensor == TENSOR_CORRECTION ? correction_size(&plan->layer) : 0.1f;
        for (int64_t matrix = 0; matrix < shape.matrices; matrix++) {
            for (int64_t row = 0; row < shape.rows; row++) {
                packed_set(plan, instance, tensor, matrix, row, 0, middle + size * synthetic_uniform(&state));
            }
        }
    }
}

// Sections of vectors with padding are cleared whole first: it must be zero.
static void clear_padding(const Plan *plan, uint8_t *instance) {
    for (int r = 0; r < ROLE_COUNT; r++) {
        const Role *role = &plan->roles[r];
        size_t bytes = (size_t)(role->layout.matrices * role->layout.panels * PANEL_COLUMNS) * sizeof(float);
        if (role->layout.matrices && role->layout.bias_offset >= 0) {
            memset(instance + role->layout.bias_offset, 0, bytes);
        }
        if (r == ROLE_ROUTER && plan->layout.correction_offset >= 0) {
            memset(instance + plan->layout.correction_offset, 0, bytes);
        }
    }
    if (plan->layout.output_bias_offset >= 0) {
        size_t columns = (size_t)plan_round_up(plan->layer.hidden, PANEL_COLUMNS);
        memset(instance + plan->layout.output_bias_offset, 0, columns * sizeof(float));
    }
}

// --- skew --------------------------------------------------------------------------------------------------------------------

// log popularity of the n-th most popular choice, relative to the mean over the pool.
static double log_popularity(const RoutingSkew *routing, int64_t n, int64_t choices) {
    if (!routing || routing->kind == ROUTING_UNIFORM) {
        return 0;
    }
    if (routing->kind == ROUTING_ONE) {
        return n == 0 ? one_offset : 0;
    }
    return -routing->exponent * (log((double)n + 1) - lgamma((double)choices + 1) / (double)choices);
}

static double score_of(const Layer *layer, double logit) {
    const Layer single = {.experts = 1, .score = layer->score};
    const Bounded z = bounded_exact(logit);
    Bounded score;
    oracle_scores(&single, &z, &score);
    return score.value;
}

// The logit whose ranking value is the threshold, of scores by bisection: they do not fall where logits rise.
static double threshold_logit(const Layer *layer) {
    double t = layer->threshold, low = -8, high = 8;
    if (layer->rank == RANK_LOGIT) {
        return t;
    }
    while (score_of(layer, high) < t && score_of(layer, 2 * high) > score_of(layer, high)) {
        high *= 2;
    }
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (score_of(layer, middle) > t) {
            high = middle;
        } else {
            low = middle;
        }
    }
    return low;
}

// Added to every logit of a layer that takes choices above a threshold, so that expected_k of them are above it on average. The
// softmax of a pool does not change with a common shift.
static double threshold_shift(const Layer *layer) {
    if (layer->selection != SELECTION_THRESHOLD || (layer->rank != RANK_LOGIT && score_facts[layer->score].whole)) {
        return 0;
    }
    double share = (double)layer->expected_k / (double)layer_choices(layer), scale = fabs((double)layer->logit_scale);
    return threshold_logit(layer) - scale * sqrt(router_variance) * normal_quantile(share);
}

// Whether component 0 of tokens is a constant through which the router's weights shift logits.
static int has_constant(const Layer *layer, const RoutingSkew *routing) {
    int skewed = routing && routing->kind != ROUTING_UNIFORM;
    return skewed || (threshold_shift(layer) != 0 && layer->hidden >= least_hidden && !layer->router_bias);
}

// What becomes of token_constant in x_0: norms divide by the root of mean square or variance of a token of variance 1.
static double constant_after_norm(const Layer *layer) {
    double n = (double)layer->hidden, c = token_constant, others = n - 1;
    switch ((Norm)layer->norm) {
    case NORM_RMS: return c / sqrt((others + c * c) / n + layer->norm_eps);
    case NORM_LAYER: return (c - c / n) / sqrt((others + c * c) / n - c * c / n / n + layer->norm_eps);
    case NORM_NONE:
    case NORM_COUNT: break;
    }
    return c;
}

// Shifts the logits of the n-th most popular choice, by its bias or by what the constant component is multiplied with.
static void shift_logits(const Plan *plan, uint8_t *instance, const RoutingSkew *routing, int64_t n, int64_t choice) {
    const Layer *layer = &plan->layer;
    double constant = constant_after_norm(layer) * layer->logit_scale;
    double logit = log_popularity(routing, n, layer_choices(layer)) + threshold_shift(layer);
    for (int64_t gate = 0; gate < layer_routers(layer); gate++) {
        if (layer->router_bias) {
            packed_set(plan, instance, TENSOR_ROUTER_BIAS, gate, choice, 0, (float)logit);
        }
        if (has_constant(layer, routing)) {
            float weight = layer->router_bias || constant == 0 ? 0 : (float)(logit / constant);
            packed_set(plan, instance, TENSOR_ROUTER, gate, choice, 0, weight);
        }
    }
}

static void skew_router(const Plan *plan, uint8_t *instance, uint64_t seed, const RoutingSkew *routing) {
    const Layer *layer = &plan->layer;
    int64_t choices = layer_choices(layer);
    uint64_t state = seed_of(seed, 77, 0);
    int64_t *order = malloc((size_t)choices * sizeof *order);
    for (int64_t n = 0; n < choices && order; n++) {  // Fisher and Yates' shuffle, from the inside out
        int64_t other = (int64_t)(synthetic_next(&state) % (uint64_t)(n + 1));
        order[n] = order[other];
        order[other] = n;
    }
    if (has_constant(layer, routing) && layer->norm != NORM_NONE) {
        packed_set(plan, instance, TENSOR_NORM, 0, 0, 0, 1);
    }
    if (has_constant(layer, routing) && layer_has_tensor(layer, TENSOR_NORM_BIAS)) {
        packed_set(plan, instance, TENSOR_NORM_BIAS, 0, 0, 0, 0);
    }
    for (int64_t n = 0; n < choices; n++) {
        shift_logits(plan, instance, routing, n, order ? order[n] : n);  // without memory the order is not shuffled
    }
    free(order);
}

void synthetic_fill(const Plan *plan, uint8_t *instance, uint64_t seed, const RoutingSkew *routing) {
    for (RoleName role = 0; role < ROLE_COUNT; role++) {
        fill_role(plan, instance, role, seed);
    }
    unite_shared_gates(plan, instance);
    clear_padding(plan, instance);
    fill_vectors(plan, instance, seed);
    if ((routing && routing->kind != ROUTING_UNIFORM) || threshold_shift(&plan->layer) != 0) {
        skew_router(plan, instance, seed, routing);
    }
}

void synthetic_fill_image(const Kind *kinds, int64_t count, void *image, uint64_t seed, const RoutingSkew *routing) {
    for (int64_t kind = 0; kind < count; kind++) {
        for (int64_t i = 0; i < kinds[kind].count; i++) {
            uint64_t own = seed_of(seed, (uint64_t)kind + 1000, (uint64_t)i);
            synthetic_fill(&kinds[kind].plan, packed_image_instance(image, kind, i), own, routing);
        }
    }
}

// --- tokens ------------------------------------------------------------------------------------------------------------------

void synthetic_to_bf16(const float *from, int64_t count, uint16_t *to) {
    for (int64_t i = 0; i < count; i++) {
        to[i] = packed_bf16_from_float(from[i]);
    }
}

void synthetic_tokens(const Plan *plan, int64_t tokens, uint64_t seed, const RoutingSkew *routing, float *x) {
    int64_t hidden = plan->layer.hidden;
    int constant = has_constant(&plan->layer, routing);
#pragma omp parallel for schedule(static)
    for (int64_t token = 0; token < tokens; token++) {
        uint64_t state = seed_of(seed, 99, (uint64_t)token);
        float *row = x + token * hidden;
        for (int64_t i = 0; i < hidden; i++) {
            row[i] = synthetic_normal(&state);
        }
        row[0] = constant ? token_constant : row[0];
        for (int64_t i = 0; i < hidden && plan->layer.activations == INTERFACE_BF16; i++) {
            row[i] = packed_float_from_bf16(packed_bf16_from_float(row[i]));
        }
    }
}
