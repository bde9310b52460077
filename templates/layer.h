// What a sparse-expert layer computes, as a flat value: the validated form of one entry of "layers" in a description.
//
// The same header is read by the compiler, by the skeletons (which see a constant Layer inside a constant Plan) and by the
// runtime. Fields have fixed widths and there are no pointers, so a Layer can be copied into a library as bytes.
// The lists below, routers/list.h of scores and rules of selection, and activations/list.h are the one place where a name of the
// description, an enumerator and its implementations meet. Of each there is an array of the names by enumerator.
#ifndef CATENA_LAYER_H
#define CATENA_LAYER_H

#include <stdint.h>

// X(enumerator, name in the description)
#define NORM_LIST(X) X(NORM_NONE, "none") X(NORM_RMS, "rms") X(NORM_LAYER, "layer")
// What choices are ranked by, before the correction.
#define RANK_LIST(X) X(RANK_SCORE, "score") X(RANK_LOGIT, "logit")
// A group's score is its best c, or the sum of its two best.
#define GROUP_SCORE_LIST(X) X(GROUP_MAX, "max") X(GROUP_TOP2_SUM, "top2_sum")
// What c becomes in groups that lose.
#define GROUP_MASK_LIST(X) X(MASK_MINUS_INFINITY, "minus_infinity") X(MASK_ZERO, "zero")
// What the routing weight multiplies: w E(x), or E(w x).
#define WEIGHT_ON_LIST(X) X(WEIGHT_ON_OUTPUT, "output") X(WEIGHT_ON_INPUT, "input")
// Where a gate is limited: before the activation min(gate, limit), or after it min(act(gate), limit).
#define LIMIT_PLACE_LIST(X) X(LIMIT_BEFORE_ACTIVATION, "before_activation") X(LIMIT_AFTER_ACTIVATION, "after_activation")
// Formats of x and y at a library's C interface. X(enumerator, name, bytes per element)
#define INTERFACE_LIST(X) X(INTERFACE_FP32, "fp32", 4) X(INTERFACE_BF16, "bf16", 2)
// Forms of prepared activations, which tiles read (forms.h makes them). X(enumerator, name, bytes per element, 1: a row
// of the form is made from a whole row of values, because the form carries scales or sums for a row or a group)
#define FORM_LIST(X) X(FORM_FP32, "fp32", 4, 0) X(FORM_BF16, "bf16", 2, 0)
// Formats of packed router matrices. X(enumerator, name, Format)
#define ROUTER_FORMAT_LIST(X) X(ROUTER_FP32, "fp32", FORMAT_FP32) X(ROUTER_BF16, "bf16", FORMAT_BF16)
// Compute classes: what rounding a product may apply (docs/architecture.md: a dot-product path is legal only in its class).
#define COMPUTE_LIST(X) X(COMPUTE_FP32, "fp32") X(COMPUTE_BF16, "bf16")

#define LAYER_ENUMERATOR(enumerator, ...) enumerator,
typedef enum Norm { NORM_LIST(LAYER_ENUMERATOR) NORM_COUNT } Norm;
typedef enum Rank { RANK_LIST(LAYER_ENUMERATOR) RANK_COUNT } Rank;
typedef enum GroupScore { GROUP_SCORE_LIST(LAYER_ENUMERATOR) GROUP_SCORE_COUNT } GroupScore;
typedef enum GroupMask { GROUP_MASK_LIST(LAYER_ENUMERATOR) GROUP_MASK_COUNT } GroupMask;
typedef enum WeightOn { WEIGHT_ON_LIST(LAYER_ENUMERATOR) WEIGHT_ON_COUNT } WeightOn;
typedef enum LimitPlace { LIMIT_PLACE_LIST(LAYER_ENUMERATOR) LIMIT_PLACE_COUNT } LimitPlace;
typedef enum Interface { INTERFACE_LIST(LAYER_ENUMERATOR) INTERFACE_COUNT } Interface;
typedef enum Form { FORM_LIST(LAYER_ENUMERATOR) FORM_COUNT } Form;
typedef enum RouterFormat { ROUTER_FORMAT_LIST(LAYER_ENUMERATOR) ROUTER_FORMAT_COUNT } RouterFormat;
typedef enum Compute { COMPUTE_LIST(LAYER_ENUMERATOR) COMPUTE_COUNT } Compute;

// Names in descriptions, NULL-terminated.
#define LAYER_NAME(enumerator, ...) LAYER_FIRST(__VA_ARGS__, 0)
#define LAYER_FIRST(first, ...) first,
static const char *const norm_names[] = {NORM_LIST(LAYER_NAME) 0};
static const char *const rank_names[] = {RANK_LIST(LAYER_NAME) 0};
static const char *const group_score_names[] = {GROUP_SCORE_LIST(LAYER_NAME) 0};
static const char *const group_mask_names[] = {GROUP_MASK_LIST(LAYER_NAME) 0};
static const char *const weight_on_names[] = {WEIGHT_ON_LIST(LAYER_NAME) 0};
static const char *const limit_place_names[] = {LIMIT_PLACE_LIST(LAYER_NAME) 0};
static const char *const interface_names[] = {INTERFACE_LIST(LAYER_NAME) 0};
static const char *const form_names[] = {FORM_LIST(LAYER_NAME) 0};
static const char *const router_format_names[] = {ROUTER_FORMAT_LIST(LAYER_NAME) 0};
static const char *const compute_names[] = {COMPUTE_LIST(LAYER_NAME) 0};

#define LAYER_THIRD(enumerator, name, third) third,
#define LAYER_FORM_BYTES(enumerator, name, bytes, whole) bytes,
#define LAYER_FORM_WHOLE(enumerator, name, bytes, whole) whole,
static const int8_t interface_bytes[] = {INTERFACE_LIST(LAYER_THIRD)};  // of an element
static const int8_t form_bytes[] = {FORM_LIST(LAYER_FORM_BYTES)};
static const int8_t form_needs_rows[] = {FORM_LIST(LAYER_FORM_WHOLE)};

// How the numbers of a checkpoint's tensor are written. X(enumerator, name in the description)
// mxfp4: NAME_blocks (uint8, two 4-bit floats of 32 consecutive inputs per 16 bytes) and NAME_scales (uint8 exponents).
// fp8_e4m3: NAME (F8_E4M3) and NAME_scale_inv, a factor for 128 x 128 elements (blocks at the edges are smaller), F32, BF16 or
// F8_E8M0.
#define ENCODING_LIST(X) X(ENCODING_PLAIN, "plain") X(ENCODING_MXFP4, "mxfp4") X(ENCODING_FP8_E4M3, "fp8_e4m3")
typedef enum Encoding { ENCODING_LIST(LAYER_ENUMERATOR) ENCODING_COUNT } Encoding;
static const char *const encoding_names[] = {ENCODING_LIST(LAYER_NAME) 0};

// Formats of packed weights: the files that formats/list.h names.
typedef enum Format {
#define FORMAT_ROW(enumerator, ...) enumerator,
#include "templates/formats/list.h"
    FORMAT_COUNT
} Format;

enum { FORMAT_MAX_STEP = 4, FORMAT_MAX_GROUP = 256 };

// What a format's row says of it; what it does not say is 0. A panel has 32 columns.
typedef struct FormatFacts {
    int32_t step;            // k of one multiply-accumulate step, up to FORMAT_MAX_STEP
    int32_t step_bytes;      // of one step of a panel; each column has an equal, contiguous part of every k or of the whole step
    int32_t group;  // k that share what a group carries, a multiple of step, up to FORMAT_MAX_GROUP; 0: there are no groups
    int32_t group_bytes;  // that a group carries, in front of its steps; a multiple of 64
    int32_t revision;  // of what the bytes of a packed panel mean, up to 7: files of another revision are refused
    int32_t takes;  // the Encoding whose codes and scales it takes over from a checkpoint; ENCODING_PLAIN: none
    float largest;  // magnitude that does not round to infinity
    const char *dtype;  // of the tensors of a checkpoint whose numbers it holds exactly, in safetensors' words; NULL: none
    const char *torch;  // what packing makes of `value` [..., out, in] in PyTorch; NULL: a printed module leaves float32 as it is
    // Of packing from values: an element is off by absolute_error at most, beside the greater of relative_error times its value and
    // absolute_error_of_group times the largest magnitude of its group and column.
    double relative_error, absolute_error, absolute_error_of_group;
} FormatFacts;

static const FormatFacts format_facts[] = {
#define FORMAT_ROW(enumerator, symbol, ...) {__VA_ARGS__},
#include "templates/formats/list.h"
};

// Names in descriptions, NULL-terminated.
static const char *const format_names[] = {
#define FORMAT_ROW(enumerator, symbol, ...) #symbol,
#include "templates/formats/list.h"
    0};

// The same for weights whose format is by default that of other weights ("same"): index 0, then 1 + Format.
static const char *const own_format_names[] = {"same",
#define FORMAT_ROW(enumerator, symbol, ...) #symbol,
#include "templates/formats/list.h"
                                               0};

// Bytes of `depth` k of one panel, a multiple of the step, from the beginning of a group on.
static inline int64_t format_bytes(Format format, int64_t depth) {
    const FormatFacts *facts = &format_facts[format];
    int64_t groups = facts->group ? (depth + facts->group - 1) / facts->group : 0;
    return depth / facts->step * facts->step_bytes + groups * facts->group_bytes;
}

static const Format router_formats[] = {ROUTER_FORMAT_LIST(LAYER_THIRD)};

// Scores and rules of selection: the files that routers/list.h names.
typedef enum Score {
#define SCORE_ROW(enumerator, ...) enumerator,
#include "templates/routers/list.h"
    SCORE_COUNT
} Score;

typedef enum Selection {
#define SELECTION_ROW(enumerator, ...) enumerator,
#include "templates/routers/list.h"
    SELECTION_COUNT
} Selection;

// Activations of experts: the files that activations/list.h names.
typedef enum Activation {
#define ACTIVATION_ROW(enumerator, ...) enumerator,
#include "templates/activations/list.h"
    ACTIVATION_COUNT
} Activation;

// What a score's row says of it; what it does not say is 0. No score is negative, none falls where its logit rises.
typedef struct ScoreFacts {
    int strict;  // a higher logit always scores higher, so that logits rank choices as well as scores do
    int whole;  // depends on all of a token's logits together
    int at_most_1;  // no score is above 1
    int sums_to_1;  // a token's scores sum to 1, but for rounding
    const char *torch;  // the score of logits z [tokens, choices] in PyTorch
} ScoreFacts;

// What a rule's row says of it. Rules choose among a token's choices, ranked by c = (score or logit) + correction; ties go to the
// lower index.
typedef struct SelectionFacts {
    const char *words;  // what it chooses; {key} stands for the value of that key of the router
    const char *weighs;  // what its choices' weights are, of a rule that makes them itself; NULL: they are the scores
    const char *softmax;  // what to say of other scores than softmax, if they make no sense
    int needs_scores;  // compares scores with something other than each other, so that logits in their place will not do
    int takes_k;  // stops at nothing else, as long as there are k choices with finite ranks
    int least;  // fewest choices of a token, where it does not take k
    int logits_alone;  // ranks the whole pool by logits: without correction or groups
} SelectionFacts;

// Names that configurations of other programs have for an activation (transformers' ACT2FN).
enum { ACTIVATION_CONFIGS = 8 };

// Such a name, and the slope that it stands for.
typedef struct SlopedConfig {
    const char *name;
    double slope;
} SlopedConfig;

// What an activation's row says of it; what it does not say is 0. From the bounds the oracle derives how far a correct fp32
// evaluation of f(x) may be from the exact one, where x carries an error itself.
typedef struct ActivationFacts {
    int takes_slope;  // the description's "slope" is a parameter of it
    int sigmoid;  // it is x sigmoid(slope x), of which the description's "gate_softcap" caps the first x
    // bounds, of x's error
    int rises;  // f falls nowhere, so that ends of an interval go to ends; `steepest` is not needed
    double steepest;  // no |f'(x)| is larger, whatever the slope
    // bounds, of the evaluation
    double units;  // roundings of u = 2^-24, relative to |f(x)|; 0: f is exact
    double tail;  // not 0: they are relative to |x| instead, for negative x to no more than this: f is a small difference there
    double exponent;  // not 0: f takes exp of x * exponent * slope; where that is a product, its rounding counts too
    // PyTorch; {x} stands for the argument, which is a name, {slope} for the slope
    const char *torch;
    const char *torch_slope;  // where the slope is not 1
    const char *configs[ACTIVATION_CONFIGS];  // NULL behind the last, as below
    SlopedConfig sloped_configs[ACTIVATION_CONFIGS];
} ActivationFacts;

static const ScoreFacts score_facts[] = {
#define SCORE_ROW(enumerator, symbol, ...) {__VA_ARGS__},
#include "templates/routers/list.h"
};

static const SelectionFacts selection_facts[] = {
#define SELECTION_ROW(enumerator, symbol, ...) {__VA_ARGS__},
#include "templates/routers/list.h"
};

static const ActivationFacts activation_facts[] = {
#define ACTIVATION_ROW(enumerator, symbol, ...) {__VA_ARGS__},
#include "templates/activations/list.h"
};

// Names in descriptions, NULL-terminated.
static const char *const score_names[] = {
#define SCORE_ROW(enumerator, symbol, ...) #symbol,
#include "templates/routers/list.h"
    0};

static const char *const selection_names[] = {
#define SELECTION_ROW(enumerator, symbol, ...) #symbol,
#include "templates/routers/list.h"
    0};

static const char *const activation_names[] = {
#define ACTIVATION_ROW(enumerator, symbol, ...) #symbol,
#include "templates/activations/list.h"
    0};

enum { LAYER_MAX_ITERATIONS = 16 };

// One sparse-expert layer. Enumerated fields hold the enumerators above; flags hold 0 or 1.
//
//     x_0 = norm(h);  for t:  z = softcap(logit_scale W_t x_t + b);  s = score(z);  c = (s or z) + correction;
//         chosen = select(c);  w = scale s / norm of the chosen s, times expert_scale;
//         y = output_bias + sum of w_e E_e(x_t) + shared_scale sum of g_j S_j(x_t);
//             of a latent layer the first sum is W_out (sum of w_e E_e(norm(W_in x_t)));
//         x_{t+1} = (inner ? inner_alpha x_t : 0) + y
//     out = (outer ? alpha (h + residual_bias) residual_scale : 0) + multiplier post_norm(x_T) output_scale
typedef struct Layer {
    int64_t hidden;  // width of a token's hidden state
    int64_t iterations;  // 1..16; more than one makes a Chain-of-Experts
    int64_t experts;  // routed experts in the pool
    int64_t identity_experts;  // choices that compute nothing: E(x) = x; their indices follow those of the experts
    int64_t null_experts;  // E(x) = 0; their indices come last
    int64_t intermediate;  // width of a routed expert
    int64_t latent;  // width of what routed experts read and return, between two projections; 0: hidden, without projections
    int64_t top_k;  // most choices per token and iteration: slots of a token's routing
    int64_t k_min;  // fewest, where the caller gives k per token
    int64_t expected_k;  // mean number of choices: sizes buffers and synthetic loads; the target of ReMoE
    int64_t shared_experts;  // experts that every token visits in every iteration
    int64_t shared_intermediate;  // width of a shared expert (0 when there is none)
    int32_t norm;  // Norm, applied once before the chain
    float norm_eps;
    int32_t norm_bias;  // layer norm has a bias
    int32_t inner_residual;
    float inner_alpha;
    int32_t outer_residual;
    float alpha;
    float multiplier;
    int32_t latent_norm;  // Norm, without a bias, of W_in x_t
    float latent_norm_eps;
    int32_t post_norm;  // Norm, without a bias, of x_T
    float post_norm_eps;
    int32_t residual_bias;  // h + a learnt vector in the outer residual
    int32_t residual_scale;  // ... times a learnt vector
    int32_t output_scale;  // x_T, or its norm, times a learnt vector
    int32_t coe_weight;  // a converted MoE: x_{t+1} = x_t + coe_weight_t y before the last iteration, x_T = y
    int32_t score;  // Score
    float logit_scale;
    float softcap;  // z = softcap tanh(z / softcap); 0: none
    int32_t selection;  // Selection
    int32_t rank;  // Rank
    int32_t correction;  // a learnt number per choice that is added for ranking only
    float threshold;  // of SELECTION_THRESHOLD
    float top_p;  // of SELECTION_TOP_P
    float jitter;  // of SELECTION_SPARSEMIXER
    int64_t groups;  // groups of equal size that consecutive choices form; 0 or 1: there are no groups
    int64_t top_groups;  // groups that remain
    int32_t group_score;  // GroupScore
    int32_t group_mask;  // GroupMask
    int32_t k_per_token;  // the caller may give each token's k (or an importance that becomes one)
    int32_t normalize;  // chosen scores are divided by their norm; where that divisor is 0, weights are 0
    float normalize_p;  // the norm is (sum of |s|^p)^(1/p)
    float normalize_eps;
    int32_t normalize_clamp;  // ... at least normalize_eps, instead of plus normalize_eps
    float scale;  // then multiplied by this
    int32_t expert_scale;  // ... and by a learnt number of the expert; choices that compute nothing have none
    int32_t weight_on;  // WeightOn
    int32_t router_bias;
    int32_t gate_per_iteration;  // a router matrix per iteration instead of one for all
    int32_t gated;  // down(act(gate x) * (up x)) instead of down(act(up x))
    int32_t activation;  // Activation
    float slope;  // silu becomes x sigmoid(slope x)
    float limit;  // gate, or act(gate), at most limit, up within +-limit; 0: none
    float shared_limit;  // the same of shared experts; what it is where there are none is that of the routed ones
    int32_t limit_place;  // LimitPlace
    float gate_softcap;  // act(gate) becomes softcap tanh(gate / softcap) sigmoid(slope gate); 0: none
    float up_softcap;  // up becomes softcap tanh(up / softcap); 0: none
    float up_offset;  // act(gate) * (up + up_offset)
    int32_t output_bias;  // y has a learnt vector added
    int32_t expert_bias;  // routed experts have biases on gate, up and down
    int32_t shared_bias;  // shared experts have biases
    int32_t shared_gated;  // each shared expert is weighted by a sigmoid of its own: g_j = sigmoid(G_j x_t), else 1
    int32_t shared_joint;  // these and the chosen scores have one norm, that divides both; g_j too is then multiplied by scale
    float shared_scale;
    int32_t weights;  // Format of the packed gate and up matrices
    int32_t down_weights;  // of the packed down matrices. 0: the format of gate and up; otherwise 1 + Format
    int32_t shared_weights;  // of the shared experts' gate and up. 0: the format of the routed ones; otherwise 1 + Format
    int32_t shared_down_weights;  // of the shared experts' down. 0: the format of their gate and up; otherwise 1 + Format
    int32_t latent_weights;  // of both projections of a latent layer. 0: the format of gate and up; otherwise 1 + Format
    int32_t router_weights;  // RouterFormat of the packed router matrices
    int32_t compute;  // Compute
    int32_t activations;  // Interface of x and y at the library's interface
} Layer;

// What a router chooses from: experts, identity experts, null experts, in this order.
static inline int64_t layer_choices(const Layer *layer) {
    return layer->experts + layer->identity_experts + layer->null_experts;
}

// Columns of the router's product: logits of the choices, then of the shared experts' gates.
static inline int64_t layer_router_columns(const Layer *layer) {
    return layer_choices(layer) + (layer->shared_gated ? layer->shared_experts : 0);
}

// Width of what routed experts read and return.
static inline int64_t layer_pool_width(const Layer *layer) {
    return layer->latent ? layer->latent : layer->hidden;
}

// Router matrices stored with the layer.
static inline int64_t layer_routers(const Layer *layer) {
    return layer->gate_per_iteration ? layer->iterations : 1;
}

// Tensors that a layer reads from a checkpoint. New ones come last, as synthetic weights depend on a tensor's number.
// X(enumerator, key in "tensors", what it holds)
#define TENSOR_LIST(X) \
    X(TENSOR_NORM, "norm", "[hidden]") \
    X(TENSOR_NORM_BIAS, "norm_bias", "[hidden]") \
    X(TENSOR_COE_WEIGHT, "coe_weight", "[iterations - 1]") \
    X(TENSOR_ROUTER, "router", "[choices, hidden]") \
    X(TENSOR_ROUTER_BIAS, "router_bias", "[choices]") \
    X(TENSOR_CORRECTION, "correction", "[choices]") \
    X(TENSOR_SHARED_EXPERT_GATE, "shared_expert_gate", "[shared experts, hidden]") \
    X(TENSOR_GATE, "gate", "[intermediate, latent or hidden]") \
    X(TENSOR_UP, "up", "[intermediate, latent or hidden]") \
    X(TENSOR_DOWN, "down", "[latent or hidden, intermediate]") \
    X(TENSOR_GATE_BIAS, "gate_bias", "[intermediate]") \
    X(TENSOR_UP_BIAS, "up_bias", "[intermediate]") \
    X(TENSOR_DOWN_BIAS, "down_bias", "[latent or hidden]") \
    X(TENSOR_SHARED_GATE, "shared_gate", "[shared intermediate, hidden]") \
    X(TENSOR_SHARED_UP, "shared_up", "[shared intermediate, hidden]") \
    X(TENSOR_SHARED_DOWN, "shared_down", "[hidden, shared intermediate]") \
    X(TENSOR_SHARED_GATE_BIAS, "shared_gate_bias", "[shared intermediate]") \
    X(TENSOR_SHARED_UP_BIAS, "shared_up_bias", "[shared intermediate]") \
    X(TENSOR_SHARED_DOWN_BIAS, "shared_down_bias", "[hidden]") \
    X(TENSOR_POST_NORM, "post_norm", "[hidden]") \
    X(TENSOR_EXPERT_SCALE, "expert_scale", "[experts]") \
    X(TENSOR_OUTPUT_BIAS, "output_bias", "[hidden]") \
    X(TENSOR_OUTPUT_SCALE, "output_scale", "[hidden]") \
    X(TENSOR_RESIDUAL_BIAS, "residual_bias", "[hidden]") \
    X(TENSOR_RESIDUAL_SCALE, "residual_scale", "[hidden]") \
    X(TENSOR_LATENT_IN, "latent_in", "[latent, hidden]") \
    X(TENSOR_LATENT_NORM, "latent_norm", "[latent]") \
    X(TENSOR_LATENT_OUT, "latent_out", "[hidden, latent]")
typedef enum Tensor { TENSOR_LIST(LAYER_ENUMERATOR) TENSOR_COUNT } Tensor;

// A tensor's key in "tensors".
static inline const char *layer_tensor_key(Tensor tensor) {
#define LAYER_TENSOR_KEY(enumerator, key, shape) \
    case enumerator: return key;
    switch (tensor) {
        TENSOR_LIST(LAYER_TENSOR_KEY)
    case TENSOR_COUNT: break;
    }
    return "";
}

// Inputs of a matrix; 0: the tensor is a vector.
static inline int64_t layer_tensor_inputs(const Layer *layer, Tensor tensor) {
    switch (tensor) {
    case TENSOR_ROUTER:
    case TENSOR_SHARED_EXPERT_GATE:
    case TENSOR_SHARED_GATE:
    case TENSOR_SHARED_UP:
    case TENSOR_LATENT_IN: return layer->hidden;
    case TENSOR_GATE:
    case TENSOR_UP:
    case TENSOR_LATENT_OUT: return layer_pool_width(layer);
    case TENSOR_DOWN: return layer->intermediate;
    case TENSOR_SHARED_DOWN: return layer->shared_intermediate;
    case TENSOR_NORM:
    case TENSOR_NORM_BIAS:
    case TENSOR_COE_WEIGHT:
    case TENSOR_ROUTER_BIAS:
    case TENSOR_CORRECTION:
    case TENSOR_GATE_BIAS:
    case TENSOR_UP_BIAS:
    case TENSOR_DOWN_BIAS:
    case TENSOR_SHARED_GATE_BIAS:
    case TENSOR_SHARED_UP_BIAS:
    case TENSOR_SHARED_DOWN_BIAS:
    case TENSOR_POST_NORM:
    case TENSOR_EXPERT_SCALE:
    case TENSOR_OUTPUT_BIAS:
    case TENSOR_OUTPUT_SCALE:
    case TENSOR_RESIDUAL_BIAS:
    case TENSOR_RESIDUAL_SCALE:
    case TENSOR_LATENT_NORM:
    case TENSOR_COUNT: break;
    }
    return 0;
}

// How a matrix [out, in] (or vector [out]) lies within the checkpoint's tensor. X(enumerator, name in the description)
// Rows of the tensor that are this matrix's: gate and up may share one tensor, concatenated or interleaved; so may the router's
// rows and those of the shared experts' gates behind them. `one`: a vector's only element, which all others are.
#define TENSOR_ROWS_LIST(X) \
    X(ROWS_ALL, "all") \
    X(ROWS_FIRST_HALF, "first_half") \
    X(ROWS_SECOND_HALF, "second_half") \
    X(ROWS_EVEN, "even") X(ROWS_ODD, "odd") X(ROWS_CHOICES, "choices") X(ROWS_SHARED, "shared_experts") X(ROWS_ONE, "one")
#define TENSOR_ORDER_LIST(X) X(ORDER_OUT_IN, "out_in") X(ORDER_IN_OUT, "in_out")
typedef enum TensorRows { TENSOR_ROWS_LIST(LAYER_ENUMERATOR) TENSOR_ROWS_COUNT } TensorRows;
typedef enum TensorOrder { TENSOR_ORDER_LIST(LAYER_ENUMERATOR) TENSOR_ORDER_COUNT } TensorOrder;
static const char *const tensor_rows_names[] = {TENSOR_ROWS_LIST(LAYER_NAME) 0};
static const char *const tensor_order_names[] = {TENSOR_ORDER_LIST(LAYER_NAME) 0};

enum { LAYER_NAME_BYTES = 64, TENSOR_PATTERN_BYTES = 160 };

// One tensor of a checkpoint.
typedef struct TensorSource {
    char pattern[TENSOR_PATTERN_BYTES];  // name with {layer}, {iteration}, {expert} to be replaced; empty: no such tensor
    int32_t rows;  // TensorRows
    int32_t order;  // TensorOrder
    int32_t encoding;  // Encoding
    float add;  // to every element (norms that store their weight minus one)
} TensorSource;

// Where a layer's weights are in a checkpoint.
typedef struct Checkpoint {
    int64_t first_layer;  // {layer} of instance i is first_layer + i * layer_step
    int64_t layer_step;
    TensorSource tensors[TENSOR_COUNT];
} Checkpoint;

// Whether a layer with a gate per iteration has one such tensor for each.
static inline int layer_tensor_per_iteration(Tensor tensor) {
    return tensor == TENSOR_ROUTER || tensor == TENSOR_ROUTER_BIAS || tensor == TENSOR_CORRECTION;
}

// Whether it is one tensor whatever the numbers of experts and iterations.
static inline int layer_tensor_single(Tensor tensor) {
    return tensor == TENSOR_NORM || tensor == TENSOR_NORM_BIAS || tensor == TENSOR_COE_WEIGHT ||
           tensor == TENSOR_SHARED_EXPERT_GATE || tensor >= TENSOR_POST_NORM;
}

// Whether it consists of factors: 1 stands for nothing.
static inline int layer_tensor_factors(Tensor tensor) {
    return tensor == TENSOR_NORM || tensor == TENSOR_POST_NORM || tensor == TENSOR_EXPERT_SCALE || tensor == TENSOR_OUTPUT_SCALE ||
           tensor == TENSOR_RESIDUAL_SCALE || tensor == TENSOR_LATENT_NORM;
}

// Whether the layer has a tensor of this kind at all (a plain expert has no gate, ...).
static inline int layer_has_tensor(const Layer *layer, Tensor tensor) {
    switch (tensor) {
    case TENSOR_NORM: return layer->norm != NORM_NONE;
    case TENSOR_NORM_BIAS: return layer->norm == NORM_LAYER && layer->norm_bias;
    case TENSOR_COE_WEIGHT: return layer->coe_weight;
    case TENSOR_ROUTER: return 1;
    case TENSOR_ROUTER_BIAS: return layer->router_bias;
    case TENSOR_CORRECTION: return layer->correction;
    case TENSOR_SHARED_EXPERT_GATE: return layer->shared_gated && layer->shared_experts > 0;
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
    case TENSOR_POST_NORM: return layer->post_norm != NORM_NONE;
    case TENSOR_EXPERT_SCALE: return layer->expert_scale;
    case TENSOR_OUTPUT_BIAS: return layer->output_bias;
    case TENSOR_OUTPUT_SCALE: return layer->output_scale;
    case TENSOR_RESIDUAL_BIAS: return layer->residual_bias;
    case TENSOR_RESIDUAL_SCALE: return layer->residual_scale;
    case TENSOR_LATENT_IN:
    case TENSOR_LATENT_OUT: return layer->latent > 0;
    case TENSOR_LATENT_NORM: return layer->latent > 0 && layer->latent_norm != NORM_NONE;
    case TENSOR_COUNT: break;
    }
    return 0;
}

#endif
