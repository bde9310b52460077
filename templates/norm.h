// A token's way in: its row at the interface becomes x_0 = norm(h); its way out where the layer has a norm of x_T; and the norm of
// latent values. NORM_LIST (layer.h) names the norms.
#ifndef CATENA_NORM_H
#define CATENA_NORM_H

#include "down.h"

// The interface's row as fp32, zero-padded to the state's stride.
INLINE void norm_load_row(const Context *c, int64_t token) {
    const Layer *layer = &layer_plan.layer;
    float *state = context_state(c, 0, token);
    int64_t hidden = layer->hidden, padded = layer_plan.roles[ROLE_ROUTER].input_stride / 4;
    if (layer->activations == INTERFACE_BF16) {
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
INLINE float norm_square_sum(const float *x, int64_t hidden, float mean) {
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

INLINE float norm_mean(const float *x, int64_t hidden) {
    Vector sum = vector_set(0);
    for (int64_t i = 0; i < hidden; i += LANES) {  // padding is zero
        sum += vector_load(x + i);
    }
    return vector_sum(sum) / (float)hidden;
}

// RMS: x / sqrt(mean(x^2) + eps) * w (Zhang and Sennrich, 2019). Layer: (x - mean) / sqrt(var + eps) * w + b (Ba et al., 2016),
// with or without b. The offsets are those of w and b in the packed weights, -1: none.
INLINE void norm_apply_row(const Context *c, int64_t width, Norm norm, float eps, int64_t weight_offset, int64_t bias_offset,
                           float *x) {
    const float *weight = (const float *)(c->call->weights + weight_offset);
    const float *bias = (const float *)(c->call->weights + bias_offset);
    float mean = norm == NORM_LAYER ? norm_mean(x, width) : 0.0f;
    float variance = norm_square_sum(x, width, mean) / (float)width;
    float inverse = 1.0f / __builtin_sqrtf(variance + eps);
    for (int64_t i = 0; i < width; i++) {
        float normal = (x[i] - mean) * inverse;
        x[i] = bias_offset >= 0 ? __builtin_fmaf(normal, weight[i], bias[i]) : normal * weight[i];
    }
}

// x_0 of tokens [first, last), none of which is rejected so far.
INLINE void norm_prepare_rows(const Context *c, int64_t first, int64_t last) {
    const Layer *layer = &layer_plan.layer;
    const Layout *layout = &layer_plan.layout;
    for (int64_t token = first; token < last; token++) {
        c->rejected[token] = 0;
        norm_load_row(c, token);
        if (layer->norm != NORM_NONE) {
            norm_apply_row(c, layer->hidden, (Norm)layer->norm, layer->norm_eps, layout->norm_offset, layout->norm_bias_offset,
                           context_state(c, 0, token));
        }
    }
}

// The norm of what routed experts read of tokens [first, last), whose columns all threads have made by now.
INLINE void norm_latent_rows(const Context *c, int64_t first, int64_t last) {
    const Layer *layer = &layer_plan.layer;
    for (int64_t token = first; token < last; token++) {
        norm_apply_row(c, layer->latent, (Norm)layer->latent_norm, layer->latent_norm_eps, layer_plan.layout.latent_norm_offset, -1,
                       context_latent(c, LATENT_INPUT, token));
    }
}

// The result of tokens [first, last) from x_T, whose columns all threads have made by now.
INLINE void norm_finish_rows(const Context *c, int64_t first, int64_t last) {
    const Layer *layer = &layer_plan.layer;
    for (int64_t token = first; token < last; token++) {
        norm_apply_row(c, layer->hidden, (Norm)layer->post_norm, layer->post_norm_eps, layer_plan.layout.post_norm_offset, -1,
                       context_state(c, layer->iterations, token));
        down_finish_row(c, token, 0, layer->hidden);
    }
}

#endif
