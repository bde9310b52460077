// What a sparse-expert layer computes, as a flat value: the validated form of one entry of "layers" in a description.
//
// The same header is read by the compiler, by the skeletons (which see a constant Layer inside a constant Plan) and by the
// runtime. Fields have fixed widths and there are no pointers, so a Layer can be copied into a library as bytes.
// The lists below are the one place where a name of the description, an enumerator and its implementations meet:
// adding a row to a list (and the function it names) is all that a new norm, score, selection rule, activation or format takes.
#ifndef CATENA_LAYER_H
#define CATENA_LAYER_H

#include <stdint.h>

// X(enumerator, name in the description)
#define NORM_LIST(X) X(NORM_NONE, "none") X(NORM_RMS, "rms") X(NORM_LAYER, "layer")
#define SCORE_LIST(X) X(SCORE_SOFTMAX, "softmax")
#define SELECTION_LIST(X) X(SELECTION_TOP_K, "top_k")
#define ACTIVATION_LIST(X) \
    X(ACTIVATION_SILU, "silu") \
    X(ACTIVATION_GELU, "gelu") X(ACTIVATION_GELU_TANH, "gelu_tanh") X(ACTIVATION_RELU, "relu") X(ACTIVATION_RELU2, "relu2")
// Number formats of weights and activations. X(enumerator, name, bytes per element)
#define FORMAT_LIST(X) X(FORMAT_FP32, "fp32", 4) X(FORMAT_BF16, "bf16", 2)
// Compute classes: what rounding a product may apply (design: a dot-product path is legal only in its class).
#define COMPUTE_LIST(X) X(COMPUTE_FP32, "fp32") X(COMPUTE_BF16, "bf16")

#define LAYER_ENUMERATOR(enumerator, ...) enumerator,
typedef enum Norm { NORM_LIST(LAYER_ENUMERATOR) NORM_COUNT } Norm;
typedef enum Score { SCORE_LIST(LAYER_ENUMERATOR) SCORE_COUNT } Score;
typedef enum Selection { SELECTION_LIST(LAYER_ENUMERATOR) SELECTION_COUNT } Selection;
typedef enum Activation { ACTIVATION_LIST(LAYER_ENUMERATOR) ACTIVATION_COUNT } Activation;
typedef enum Format { FORMAT_LIST(LAYER_ENUMERATOR) FORMAT_COUNT } Format;
typedef enum Compute { COMPUTE_LIST(LAYER_ENUMERATOR) COMPUTE_COUNT } Compute;

// Bytes of one element.
static inline int64_t format_bytes(Format format) {
#define LAYER_FORMAT_BYTES(enumerator, name, bytes) \
    case enumerator: return bytes;
    switch (format) {
        FORMAT_LIST(LAYER_FORMAT_BYTES)
    case FORMAT_COUNT: break;
    }
    return 0;
}

enum { LAYER_MAX_ITERATIONS = 16 };

// One sparse-expert layer. Enumerated fields hold the enumerators above; flags hold 0 or 1.
typedef struct Layer {
    int64_t hidden;               // width of a token's hidden state
    int64_t iterations;           // 1..16; more than one makes a Chain-of-Experts
    int64_t experts;              // routed experts in the pool
    int64_t intermediate;         // width of a routed expert
    int64_t top_k;                // routed experts per token and iteration
    int64_t shared_experts;       // experts that every token visits in every iteration
    int64_t shared_intermediate;  // width of a shared expert (0 when there is none)
    int32_t norm;                 // Norm, applied once before the chain
    float norm_eps;
    int32_t inner_residual;       // x_{t+1} = x_t + y
    int32_t outer_residual;       // out = h + x_T
    int32_t score;                // Score
    int32_t selection;            // Selection
    int32_t normalize;            // chosen scores are divided by (their sum + normalize_eps)
    float normalize_eps;
    float scale;                  // then multiplied by this
    int32_t router_bias;          // logits = W x + b
    int32_t gate_per_iteration;   // a router matrix per iteration instead of one for all
    int32_t gated;                // down(act(gate x) * (up x)) instead of down(act(up x))
    int32_t activation;           // Activation
    int32_t expert_bias;          // routed experts have biases on gate, up and down
    int32_t shared_bias;          // shared experts have biases
    int32_t weights;              // Format of the packed expert matrices
    int32_t router_weights;       // Format of the packed router matrices
    int32_t compute;              // Compute
    int32_t activations;          // Format of x and y at the library's interface
} Layer;

// Router matrices stored with the layer.
static inline int64_t layer_gates(const Layer *layer) {
    return layer->gate_per_iteration ? layer->iterations : 1;
}

// Tensors that a layer reads from a checkpoint. X(enumerator, key in "tensors", what it holds)
#define TENSOR_LIST(X) \
    X(TENSOR_NORM, "norm", "[hidden]") \
    X(TENSOR_NORM_BIAS, "norm_bias", "[hidden]") \
    X(TENSOR_ROUTER, "router", "[experts, hidden]") \
    X(TENSOR_ROUTER_BIAS, "router_bias", "[experts]") \
    X(TENSOR_GATE, "gate", "[intermediate, hidden]") \
    X(TENSOR_UP, "up", "[intermediate, hidden]") \
    X(TENSOR_DOWN, "down", "[hidden, intermediate]") \
    X(TENSOR_GATE_BIAS, "gate_bias", "[intermediate]") \
    X(TENSOR_UP_BIAS, "up_bias", "[intermediate]") \
    X(TENSOR_DOWN_BIAS, "down_bias", "[hidden]") \
    X(TENSOR_SHARED_GATE, "shared_gate", "[shared intermediate, hidden]") \
    X(TENSOR_SHARED_UP, "shared_up", "[shared intermediate, hidden]") \
    X(TENSOR_SHARED_DOWN, "shared_down", "[hidden, shared intermediate]") \
    X(TENSOR_SHARED_GATE_BIAS, "shared_gate_bias", "[shared intermediate]") \
    X(TENSOR_SHARED_UP_BIAS, "shared_up_bias", "[shared intermediate]") \
    X(TENSOR_SHARED_DOWN_BIAS, "shared_down_bias", "[hidden]")
typedef enum Tensor { TENSOR_LIST(LAYER_ENUMERATOR) TENSOR_COUNT } Tensor;

enum { LAYER_NAME_BYTES = 64, TENSOR_PATTERN_BYTES = 160 };

// Where a layer's weights are in a checkpoint: names with {layer}, {iteration} and {expert} to be replaced by numbers.
typedef struct Checkpoint {
    int64_t first_layer;  // {layer} of instance i is first_layer + i * layer_step
    int64_t layer_step;
    char tensors[TENSOR_COUNT][TENSOR_PATTERN_BYTES];  // empty: the layer has no such tensor
} Checkpoint;

// Whether the layer has a tensor of this kind at all (a plain expert has no gate, ...).
static inline int layer_has_tensor(const Layer *layer, Tensor tensor) {
    switch (tensor) {
    case TENSOR_NORM: return layer->norm != NORM_NONE;
    case TENSOR_NORM_BIAS: return layer->norm == NORM_LAYER;
    case TENSOR_ROUTER: return 1;
    case TENSOR_ROUTER_BIAS: return layer->router_bias;
    case TENSOR_GATE: return layer->gated;
    case TENSOR_UP:
    case TENSOR_DOWN: return 1;
    case TENSOR_GATE_BIAS: return layer->gated && layer->expert_bias;
    case TENSOR_UP_BIAS:
    case TENSOR_DOWN_BIAS: return layer->expert_bias;
    case TENSOR_SHARED_GATE: return layer->gated && layer->shared_experts > 0;
    case TENSOR_SHARED_UP:
    case TENSOR_SHARED_DOWN: return layer->shared_experts > 0;
    case TENSOR_SHARED_GATE_BIAS: return layer->gated && layer->shared_experts > 0 && layer->shared_bias;
    case TENSOR_SHARED_UP_BIAS:
    case TENSOR_SHARED_DOWN_BIAS: return layer->shared_experts > 0 && layer->shared_bias;
    case TENSOR_COUNT: break;
    }
    return 0;
}

#endif
