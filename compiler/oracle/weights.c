// Plain arrays of a layer's weights for the oracle, and how they come out of a packed instance, element by element through
// runtime/packed.h: nothing here knows the layout.
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "runtime/packed.h"

// The array of a tensor.
static float **array_of(OracleWeights *weights, Tensor tensor) {
    switch (tensor) {
    case TENSOR_NORM: return &weights->norm;
    case TENSOR_NORM_BIAS: return &weights->norm_bias;
    case TENSOR_COE_WEIGHT: return &weights->coe_weight;
    case TENSOR_ROUTER: return &weights->router;
    case TENSOR_ROUTER_BIAS: return &weights->router_bias;
    case TENSOR_CORRECTION: return &weights->correction;
    case TENSOR_SHARED_EXPERT_GATE: return &weights->shared_expert_gate;
    case TENSOR_GATE: return &weights->routed.gate;
    case TENSOR_UP: return &weights->routed.up;
    case TENSOR_DOWN: return &weights->routed.down;
    case TENSOR_GATE_BIAS: return &weights->routed.gate_bias;
    case TENSOR_UP_BIAS: return &weights->routed.up_bias;
    case TENSOR_DOWN_BIAS: return &weights->routed.down_bias;
    case TENSOR_SHARED_GATE: return &weights->shared.gate;
    case TENSOR_SHARED_UP: return &weights->shared.up;
    case TENSOR_SHARED_DOWN: return &weights->shared.down;
    case TENSOR_SHARED_GATE_BIAS: return &weights->shared.gate_bias;
    case TENSOR_SHARED_UP_BIAS: return &weights->shared.up_bias;
    case TENSOR_SHARED_DOWN_BIAS: return &weights->shared.down_bias;
    case TENSOR_POST_NORM: return &weights->post_norm;
    case TENSOR_EXPERT_SCALE: return &weights->expert_scale;
    case TENSOR_OUTPUT_BIAS: return &weights->output_bias;
    case TENSOR_OUTPUT_SCALE: return &weights->output_scale;
    case TENSOR_RESIDUAL_BIAS: return &weights->residual_bias;
    case TENSOR_RESIDUAL_SCALE: return &weights->residual_scale;
    case TENSOR_LATENT_IN: return &weights->latent_in;
    case TENSOR_LATENT_NORM: return &weights->latent_norm;
    case TENSOR_LATENT_OUT: return &weights->latent_out;
    case TENSOR_COUNT: break;
    }
    return NULL;
}

static int64_t array_elements(const Layer *layer, Tensor tensor) {
    int64_t hidden = layer->hidden, width = layer->intermediate, experts = layer->experts, pool = layer_pool_width(layer);
    int64_t shared = layer->shared_experts, shared_width = layer->shared_intermediate;
    switch (tensor) {
    case TENSOR_NORM:
    case TENSOR_NORM_BIAS:
    case TENSOR_POST_NORM:
    case TENSOR_OUTPUT_BIAS:
    case TENSOR_OUTPUT_SCALE:
    case TENSOR_RESIDUAL_BIAS:
    case TENSOR_RESIDUAL_SCALE: return hidden;
    case TENSOR_EXPERT_SCALE: return experts;
    case TENSOR_COE_WEIGHT: return layer->iterations - 1;
    case TENSOR_ROUTER: return layer_routers(layer) * layer_choices(layer) * hidden;
    case TENSOR_ROUTER_BIAS:
    case TENSOR_CORRECTION: return layer_routers(layer) * layer_choices(layer);
    case TENSOR_SHARED_EXPERT_GATE: return shared * hidden;
    case TENSOR_GATE:
    case TENSOR_UP:
    case TENSOR_DOWN: return experts * width * pool;
    case TENSOR_GATE_BIAS:
    case TENSOR_UP_BIAS: return experts * width;
    case TENSOR_DOWN_BIAS: return experts * pool;
    case TENSOR_SHARED_GATE:
    case TENSOR_SHARED_UP:
    case TENSOR_SHARED_DOWN: return shared * shared_width * hidden;
    case TENSOR_SHARED_GATE_BIAS:
    case TENSOR_SHARED_UP_BIAS: return shared * shared_width;
    case TENSOR_SHARED_DOWN_BIAS: return shared * hidden;
    case TENSOR_LATENT_IN:
    case TENSOR_LATENT_OUT: return layer->latent * hidden;
    case TENSOR_LATENT_NORM: return layer->latent;
    case TENSOR_COUNT: break;
    }
    return 0;
}

int oracle_weights_allocate(const Layer *layer, OracleWeights *weights) {
    memset(weights, 0, sizeof *weights);
    weights->routed.count = layer->experts;
    weights->routed.width = layer_pool_width(layer);
    weights->shared.width = layer->hidden;
    weights->routed.intermediate = layer->intermediate;
    weights->shared.count = layer->shared_experts;
    weights->shared.intermediate = layer->shared_intermediate;
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        if (layer_has_tensor(layer, tensor)) {
            float *array = calloc((size_t)array_elements(layer, tensor), sizeof(float));
            if (!array) {
                oracle_weights_free(weights);
                return -1;
            }
            *array_of(weights, tensor) = array;
        }
    }
    return 0;
}

void oracle_weights_free(OracleWeights *weights) {
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        free(*array_of(weights, tensor));
        *array_of(weights, tensor) = NULL;
    }
}

void oracle_weights_unpack(const Plan *plan, const uint8_t *instance, OracleWeights *weights) {
    for (Tensor tensor = 0; tensor < TENSOR_COUNT; tensor++) {
        PackedShape shape;
        if (!packed_shape(plan, tensor, &shape)) {
            continue;
        }
        float *array = *array_of(weights, tensor);
#pragma omp parallel for schedule(static)
        for (int64_t row = 0; row < shape.matrices * shape.rows; row++) {
            for (int64_t k = 0; k < shape.columns; k++) {
                array[row * shape.columns + k] = packed_get(plan, instance, tensor, row / shape.rows, row % shape.rows, k);
            }
        }
    }
}
