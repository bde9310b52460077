// From chosen choices to their weights: scores, divided by their norm where the layer asks for it, scaled by the layer's number and
// the expert's.
#ifndef CATENA_WEIGH_H
#define CATENA_WEIGH_H

#include "select.h"

// Scores of the chosen ones, `count` of them.
INLINE void weigh_scores(const Ranking *r, const Layer *layer, ScoreWhole whole, int64_t count) {
    for (int64_t s = 0; s < count; s += LANES) {
        Vector z = vector_set(-__builtin_inff());
        int64_t lanes = count - s < LANES ? count - s : LANES;
        for (int64_t j = 0; j < lanes; j++) {
            z[j] = r->logits[r->experts[s + j]];
        }
        Vector score = score_apply((Score)layer->score, z, whole);
        for (int64_t j = 0; j < lanes; j++) {
            r->weights[s + j] = score[j];
        }
    }
}

// A power of two that brings the largest number into [1, 2), and its inverse: powers of scaled numbers neither vanish together
// nor overflow.
INLINE float weigh_scale(const float *weights, int64_t count, float *inverse) {
    float largest = 0, scale;
    for (int64_t s = 0; s < count; s++) {
        largest = weights[s] > largest ? weights[s] : largest;
    }
    int32_t bits, exponent;
    __builtin_memcpy(&bits, &largest, sizeof bits);
    exponent = bits >> 23 < 1 ? 1 : bits >> 23 > 253 ? 253 : bits >> 23;
    bits = exponent << 23;
    __builtin_memcpy(inverse, &bits, sizeof bits);
    bits = (254 - exponent) << 23;
    __builtin_memcpy(&scale, &bits, sizeof bits);
    return scale;
}

// (sum of s^p)^(1/p), the sum in the order of slots. Scores are not negative.
INLINE float weigh_norm(const float *weights, int64_t count, float p) {
    float sum = 0, inverse = 1;
    if (p == 1) {
        for (int64_t s = 0; s < count; s++) {
            sum += weights[s];
        }
        return sum;
    }
    float scale = weigh_scale(weights, count, &inverse);
    for (int64_t s = 0; s < count; s++) {
        float scaled = weights[s] * scale;
        sum += p == 2 ? scaled * scaled : vector_exp(vector_log(vector_set(scaled)) * p)[0];
    }
    float root = p == 2 ? __builtin_sqrtf(sum) : vector_exp(vector_log(vector_set(sum)) / p)[0];
    return root * inverse;
}

// What scores with a norm are divided by; gates: of the shared experts, which count in the norm, NULL: they do not.
INLINE float weigh_divisor(float norm, const Layer *layer, const float *gates) {
    for (int64_t j = 0; gates && j < layer->shared_experts; j++) {
        norm += gates[j];
    }
    if (layer->normalize_clamp) {
        return norm < layer->normalize_eps ? layer->normalize_eps : norm;
    }
    return norm + layer->normalize_eps;
}

INLINE void weigh_divide(float *weights, const Layer *layer, int64_t count, float divisor) {
    int vanishes = layer->normalize_eps == 0 && divisor == 0;  // no NaN where all scores are 0
    for (int64_t s = 0; s < count; s++) {
        weights[s] = vanishes ? 0 : weights[s] / divisor;
    }
}

// Gates become weights of the shared experts.
INLINE void weigh_gates(float *gates, const Layer *layer, float divisor) {
    weigh_divide(gates, layer, layer->shared_experts, divisor);
    for (int64_t j = 0; j < layer->shared_experts; j++) {
        gates[j] *= layer->scale * layer->shared_scale;
    }
}

// The same where the choices are the caller's: their weights stay as they are, and their scores count in the norm. Empty slots
// have none.
INLINE void weigh_gates_beside(const float *logits, const int32_t *experts, float *gates, const Layer *layer) {
    float norm = 0;
    for (int64_t s = 0; s < layer->top_k; s += LANES) {
        Vector z = vector_set(-__builtin_inff());
        for (int64_t j = 0; j < LANES && s + j < layer->top_k; j++) {
            z[j] = experts[s + j] >= 0 ? logits[experts[s + j]] : -__builtin_inff();
        }
        Vector score = score_apply((Score)layer->score, z, (ScoreWhole){0, 0});
        for (int64_t j = 0; j < LANES; j++) {
            norm += score[j];
        }
    }
    weigh_gates(gates, layer, weigh_divisor(norm, layer, gates));
}

// The weights of the `count` choices that a rule has taken; what remains of the slots holds no choice and weight 0.
INLINE void weigh_chosen(const Ranking *r, const Layer *layer, ScoreWhole whole, int64_t count) {
    if (!selection_facts[layer->selection].weighs) {
        weigh_scores(r, layer, whole, count);
    }
    if (layer->normalize) {
        float divisor = weigh_divisor(weigh_norm(r->weights, count, layer->normalize_p), layer, r->gates);
        weigh_divide(r->weights, layer, count, divisor);
        if (r->gates) {
            weigh_gates(r->gates, layer, divisor);
        }
    }
    for (int64_t s = 0; s < count; s++) {
        r->weights[s] *= layer->scale;
    }
    for (int64_t s = 0; r->expert_scale && s < count; s++) {
        r->weights[s] *= r->experts[s] < layer->experts ? r->expert_scale[r->experts[s]] : 1.0f;
    }
    for (int64_t s = count; s < layer->top_k; s++) {
        r->experts[s] = -1;
        r->weights[s] = 0;
    }
}

#endif
