// Routing: x_0 = norm(h), logits z = W_t x_t + b, scores, selection and weights. See semantics: "The pipeline of one layer".
#ifndef CATENA_ROUTE_H
#define CATENA_ROUTE_H

#include "context.h"

// The interface's row as fp32, zero-padded to the state's stride.
INLINE void route_load_row(const Context *c, int64_t token) {
    const Layer *layer = &layer_plan.layer;
    float *state = context_state(c, 0, token);
    int64_t hidden = layer->hidden, padded = layer_plan.roles[ROLE_ROUTER].input_stride / 4;
    if (layer->activations == FORMAT_BF16) {
        const uint16_t *x = (const uint16_t *)c->call->x + token * c->call->x_stride;
        for (int64_t i = 0; i < hidden; i++) {
            state[i] = bf16_to_float(x[i]);
        }
    } else {
        __builtin_memcpy(state, (const float *)c->call->x + token * c->call->x_stride, (uint64_t)hidden * sizeof(float));
    }
    for (int64_t i = hidden; i < padded; i++) {
        state[i] = 0;
    }
}

// sum over i of (x_i - mean)^2, mean 0 for RMS: sixteen chains, then the lane tree. Padding must not count: it is masked.
INLINE float route_square_sum(const float *x, int64_t hidden, float mean) {
    Vector sum = vector_set(0);
    int64_t i = 0;
    for (; i + LANES <= hidden; i += LANES) {
        Vector d = vector_load(x + i) - mean;
        sum = vector_fma(d, d, sum);
    }
    if (i < hidden) {
        Vector d = vector_set(0);
        for (int64_t j = 0; j < hidden - i; j++) {
            d[j] = x[i + j] - mean;
        }
        sum = vector_fma(d, d, sum);
    }
    return vector_sum(sum);
}

INLINE float route_mean(const float *x, int64_t hidden) {
    Vector sum = vector_set(0);
    for (int64_t i = 0; i < hidden; i += LANES) {  // padding is zero
        sum += vector_load(x + i);
    }
    return vector_sum(sum) / (float)hidden;
}

// RMS: x / sqrt(mean(x^2) + eps) * w (Zhang and Sennrich, 2019). Layer: (x - mean) / sqrt(var + eps) * w + b (Ba et al., 2016).
INLINE void route_normalize_row(const Context *c, int64_t token) {
    const Layer *layer = &layer_plan.layer;
    float *x = context_state(c, 0, token);
    const float *weight = (const float *)(c->call->weights + layer_plan.norm_offset);
    const float *bias = (const float *)(c->call->weights + layer_plan.norm_bias_offset);
    float mean = layer->norm == NORM_LAYER ? route_mean(x, layer->hidden) : 0.0f;
    float variance = route_square_sum(x, layer->hidden, mean) / (float)layer->hidden;
    float inverse = 1.0f / __builtin_sqrtf(variance + layer->norm_eps);
    for (int64_t i = 0; i < layer->hidden; i++) {
        float normal = (x[i] - mean) * inverse;
        x[i] = layer->norm == NORM_LAYER ? __builtin_fmaf(normal, weight[i], bias[i]) : normal * weight[i];
    }
}

// Logits of `rows` consecutive tokens for panels [first, last): the tile's product, plus the bias.
INLINE void route_logits(const Context *c, int64_t iteration, int64_t token, int64_t rows, int64_t first, int64_t last,
                         float *logits) {
    const Role *role = &layer_plan.roles[ROLE_ROUTER];
    int64_t gate = layer_plan.layer.gate_per_iteration ? iteration : 0;
    const uint8_t *matrix = c->call->weights + role->offset + gate * role->matrix_bytes;
    const float *bias = (const float *)(c->call->weights + role->bias_offset) + gate * role->panels * PANEL_COLUMNS;
    float out[TILE_MAX_ROWS * TILE_STRIDE] __attribute__((aligned(64)));
    int64_t width = rows <= role->wide_rows ? TILE_MAX_PANELS : 1;
    for (int64_t panel = first; panel < last;) {
        int64_t panels = minimum(width, last - panel);
        const uint8_t *weights = matrix + panel * role->panel_bytes;
        int64_t steps = role->depth_padded / (role->weights == FORMAT_BF16 ? 2 : 1);
        tile_router(rows, panels, context_state(c, iteration, token), weights, out, weights + panels * role->panel_bytes,
                    role->ahead_bytes / steps, 0);
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t j = 0; j < panels * PANEL_COLUMNS; j += LANES) {
                int64_t column = panel * PANEL_COLUMNS + j;
                Vector z = vector_load(out + r * TILE_STRIDE + j);
                if (role->bias_offset >= 0) {
                    z += vector_load(bias + column);
                }
                vector_store(logits + r * role->panels * PANEL_COLUMNS + column, z);
            }
        }
        panel += panels;
    }
}

// Whether all logits are finite: z - z is 0 for finite z and NaN otherwise.
INLINE int route_finite(const float *logits, int64_t experts) {
    for (int64_t e = 0; e < experts; e++) {
        if (!(logits[e] - logits[e] == 0.0f)) {
            return 0;
        }
    }
    return 1;
}

// Padding columns count as minus infinity. `logits` has room for whole panels.
INLINE void route_mask_padding(float *logits, int64_t experts) {
    for (int64_t e = experts; e < layer_plan.roles[ROLE_ROUTER].panels * PANEL_COLUMNS; e++) {
        logits[e] = -__builtin_inff();
    }
}

// The sum over all experts of exp(z - max), by sixteen chains and the lane tree.
INLINE float route_softmax_sum(const float *logits, float largest) {
    Vector sum = vector_set(0);
    for (int64_t e = 0; e < layer_plan.roles[ROLE_ROUTER].panels * PANEL_COLUMNS; e += LANES) {
        sum += vector_exp(vector_load(logits + e) - largest);
    }
    return vector_sum(sum);
}

// What a score needs of all experts' logits together. Switches over a list have no default: the compiler asks for new rows.
INLINE float route_score_sum(const float *logits, float largest) {
    switch ((Score)layer_plan.layer.score) {
    case SCORE_SOFTMAX: return route_softmax_sum(logits, largest);
    case SCORE_COUNT: break;
    }
    return 0;
}

// Scores from logits.
INLINE Vector route_score(Vector z, float largest, float sum) {
    switch ((Score)layer_plan.layer.score) {
    case SCORE_SOFTMAX: return vector_exp(z - largest) / sum;
    case SCORE_COUNT: break;
    }
    return z;
}

// The k largest logits (softmax keeps their order) by repeated maximum; ties go to the lower index.
// Takes the chosen ones out of `logits`.
INLINE void route_top_k(float *logits, int32_t *experts, float *chosen) {
    int64_t padded = layer_plan.roles[ROLE_ROUTER].panels * PANEL_COLUMNS;
    for (int64_t s = 0; s < layer_plan.layer.top_k; s++) {
        Vector best = vector_load(logits);
        for (int64_t e = LANES; e < padded; e += LANES) {
            best = vector_max(best, vector_load(logits + e));
        }
        float largest = vector_maximum(best);
        int64_t index = 0;
        while (logits[index] != largest) {
            index++;
        }
        experts[s] = (int32_t)index;
        chosen[s] = largest;
        logits[index] = -__builtin_inff();
    }
}

// Experts in order of choice, and their logits. Uses `logits` up.
INLINE void route_choose(float *logits, int32_t *experts, float *chosen) {
    switch ((Selection)layer_plan.layer.selection) {
    case SELECTION_TOP_K: route_top_k(logits, experts, chosen); return;
    case SELECTION_COUNT: return;
    }
}

// Chosen scores become weights: s / sum, or s / (sum of chosen + eps), times the scale.
INLINE void route_weigh(float *weights, float largest, float sum) {
    const Layer *layer = &layer_plan.layer;
    float chosen = 0;
    for (int64_t s = 0; s < layer->top_k; s += LANES) {
        Vector z = vector_set(-__builtin_inff());
        int64_t lanes = minimum(LANES, layer->top_k - s);
        for (int64_t j = 0; j < lanes; j++) {
            z[j] = weights[s + j];
        }
        Vector score = route_score(z, largest, sum);
        for (int64_t j = 0; j < lanes; j++) {
            weights[s + j] = score[j];
            chosen += score[j];
        }
    }
    float divisor = chosen + layer->normalize_eps;
    for (int64_t s = 0; s < layer->top_k; s++) {
        float w = layer->normalize ? weights[s] / divisor : weights[s];
        weights[s] = w * layer->scale;
    }
}

// One token's experts and weights from its logits (which are used up).
INLINE void route_select(const Context *c, int64_t token, float *logits) {
    const Layer *layer = &layer_plan.layer;
    int32_t *experts = c->experts + token * layer->top_k;
    float *weights = c->weights + token * layer->top_k;
    if (c->rejected[token] || !route_finite(logits, layer->experts)) {
        c->rejected[token] = 1;
        for (int64_t s = 0; s < layer->top_k; s++) {
            experts[s] = -1;
            weights[s] = 0;
        }
        return;
    }
    route_mask_padding(logits, layer->experts);
    float largest = logits[0];
    for (int64_t e = 1; e < layer->experts; e++) {
        largest = logits[e] > largest ? logits[e] : largest;
    }
    float sum = route_score_sum(logits, largest);
    route_choose(logits, experts, weights);
    route_weigh(weights, largest, sum);
}

// Copies given routing in, or routing that was asked for out.
INLINE void route_exchange(const Context *c, int64_t iteration, int64_t first, int64_t last, int out) {
    int64_t k = layer_plan.layer.top_k, offset = iteration * c->call->routing_tokens * k;
    for (int64_t i = first * k; i < last * k; i++) {
        if (out) {
            c->call->experts_out[offset + i] = c->experts[i];
            c->call->weights_out[offset + i] = c->weights[i];
        } else {
            c->experts[i] = c->call->experts_in[offset + i];
            c->weights[i] = c->call->weights_in[offset + i];
        }
    }
}

INLINE void route_prepare_rows(const Context *c, int64_t first, int64_t last) {
    for (int64_t token = first; token < last; token++) {
        c->rejected[token] = 0;
        route_load_row(c, token);
        if (layer_plan.layer.norm != NORM_NONE) {
            route_normalize_row(c, token);
        }
    }
}

// Many tokens: each thread routes its own rows.
INLINE void route_own_rows(const Context *c, int64_t iteration, int64_t first, int64_t last) {
    const Role *role = &layer_plan.roles[ROLE_ROUTER];
    float *logits = (float *)context_private(c, c->space.row_logits);
    int64_t width = role->panels * PANEL_COLUMNS;
    for (int64_t token = first; token < last;) {
        int64_t rows = minimum(role->max_rows, last - token);
        route_logits(c, iteration, token, rows, 0, role->panels, logits);
        for (int64_t r = 0; r < rows; r++) {
            route_select(c, token + r, logits + r * width);
        }
        token += rows;
    }
}

// Few tokens: the threads share out the router's columns, then every thread selects for all tokens.
INLINE void route_few_rows(const Context *c, int64_t iteration) {
    const Role *role = &layer_plan.roles[ROLE_ROUTER];
    float *shared = (float *)(c->call->workspace + c->space.logits);
    float *own = (float *)context_private(c, c->space.row_logits);
    int64_t width = role->panels * PANEL_COLUMNS, tokens = c->call->tokens;
    int64_t first = share_start(role->panels, c->thread, c->threads), last = share_start(role->panels, c->thread + 1, c->threads);
    for (int64_t token = 0; token < tokens; token += role->max_rows) {
        route_logits(c, iteration, token, minimum(role->max_rows, tokens - token), first, last, shared + token * width);
    }
    team_barrier(c->team);
    for (int64_t token = 0; token < tokens; token++) {
        __builtin_memcpy(own, shared + token * width, (uint64_t)width * sizeof(float));
        route_select(c, token, own);
    }
}

// Fills experts and weights of one iteration. Many tokens: complete after the next barrier. Few: complete on return.
INLINE void route_iteration(const Context *c, int64_t iteration, int64_t first, int64_t last) {
    int64_t tokens = c->call->tokens;
    if (c->call->experts_in) {
        route_exchange(c, iteration, c->few ? 0 : first, c->few ? tokens : last, 0);
    } else if (c->few) {
        route_few_rows(c, iteration);
    } else {
        route_own_rows(c, iteration, first, last);
    }
    if (c->call->experts_out) {
        if (!c->few) {
            route_exchange(c, iteration, first, last, 1);
        } else if (c->thread == 0) {
            route_exchange(c, iteration, 0, tokens, 1);
        }
    }
}

#endif
