// Activations of experts, one function each; ACTIVATION_LIST (layer.h) names them, activation_apply chooses (a constant in a
// compiled library). Error bounds stand in compiler/oracle/expert.c beside their scalar references.
#ifndef CATENA_ACTIVATION_H
#define CATENA_ACTIVATION_H

#include "layer.h"
#include "math.h"

// gelu_tanh(x) = x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)   (Hendrycks and Gimpel, 2016)
INLINE Vector activation_gelu_tanh(Vector x) {
    Vector inner = vector_fma(x * x * x, vector_set(0.044715f), x);
    return x * vector_sigmoid(inner * 1.5957691216057308f);
}

INLINE Vector activation_relu(Vector x) {
    return vector_select(x > 0.0f, x, vector_set(0.0f));
}

// The slope is silu's: x sigmoid(slope x).
INLINE Vector activation_apply(int32_t activation, float slope, Vector x) {
    switch ((Activation)activation) {
    case ACTIVATION_SILU: return x / (vector_set(1.0f) + vector_exp(-(x * slope)));
    case ACTIVATION_GELU: return x * vector_normal_cdf(x);
    case ACTIVATION_GELU_TANH: return activation_gelu_tanh(x);
    case ACTIVATION_RELU: return activation_relu(x);
    case ACTIVATION_RELU2: return activation_relu(x) * activation_relu(x);
    case ACTIVATION_COUNT: break;
    }
    return x;
}

#endif
