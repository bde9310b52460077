// Every key of a description. Names of choices come from the lists of templates/layer.h.
#include "keys.h"

#include <stddef.h>
#include <string.h>

// Bounds of sizes: far above any model, and low enough that the sizes in bytes that check.c multiplies mean something.
enum {
    MAX_WIDTH = 1 << 20,
    MAX_EXPERTS = 1 << 16,
    MAX_SHARED = 1 << 10,
    MAX_INSTANCES = 1 << 12,
    MAX_LAYER_NUMBER = 1 << 20,
};

// Rows. `field` is a member of ModelLayer; REQUIRED ones have no value when absent.
#define REQUIRED .required = true
#define DEFAULT(value) .fallback = value
#define DEFAULT_NOT_ZERO(value) .fallback = value, .not_zero = true
#define ROW(name_, help_, type_, field) .name = name_, .help = help_, .type = type_, .offset = offsetof(ModelLayer, field)
#define INTEGER(name, help, field, low, high, presence) \
    {ROW(name, help, KEY_INTEGER, field), .minimum = low, .maximum = high, presence}
#define REAL(name, help, field, low, high, presence) {ROW(name, help, KEY_REAL, field), .minimum = low, .maximum = high, presence}
#define FLAG(name, help, field, presence) {ROW(name, help, KEY_FLAG, field), presence}
#define CHOICE(name, help, field, list, presence) {ROW(name, help, KEY_CHOICE, field), .choices = list, presence}
#define SECTION(name_, help_, keys_, required_) \
    {.name = name_, .help = help_, .type = KEY_SECTION, .required = required_, .section = &keys_}
#define SECTION_DEFINE(variable, name_, rows) static const Section variable = {name_, rows, sizeof rows / sizeof *rows}

static const Key norm_rows[] = {
    CHOICE("kind", "Kind of norm.", layer.norm, norm_names, DEFAULT(NORM_NONE)),
    REAL("eps", "Added to the variance; of kind rms to the mean square.", layer.norm_eps, 0, 1, DEFAULT(1e-6)),
    FLAG("bias", "A layer norm has a bias.", layer.norm_bias, DEFAULT(0)),
};
SECTION_DEFINE(norm_section, "norm", norm_rows);

static const Key post_norm_rows[] = {
    CHOICE("kind", "Kind of norm.", layer.post_norm, norm_names, DEFAULT(NORM_NONE)),
    REAL("eps", "Added to the variance; of kind rms to the mean square.", layer.post_norm_eps, 0, 1, DEFAULT(1e-6)),
};
SECTION_DEFINE(post_norm_section, "post_norm", post_norm_rows);

static const Key latent_rows[] = {
    INTEGER("width", "Width of what routed experts read and return.", layer.latent, 1, MAX_WIDTH, REQUIRED),
    CHOICE("norm", "Kind of norm of what they read.", layer.latent_norm, norm_names, DEFAULT(NORM_NONE)),
    REAL("norm_eps", "Added to the variance; of kind rms to the mean square.", layer.latent_norm_eps, 0, 1, DEFAULT(1e-6)),
    CHOICE("weights", "Format of the packed projections; same: that of the layer's weights.", layer.latent_weights,
           own_format_names, DEFAULT(0)),
};
SECTION_DEFINE(latent_section, "latent", latent_rows);

static const Key residual_rows[] = {
    FLAG("inner", "x_{t+1} = inner_alpha x_t + y in every iteration.", layer.inner_residual, DEFAULT(0)),
    REAL("inner_alpha", "Factor of x_t in the inner residual.", layer.inner_alpha, -SPEC_MAX_FACTOR, SPEC_MAX_FACTOR, DEFAULT(1)),
    FLAG("outer", "The layer's input, times alpha, is added to the result.", layer.outer_residual, DEFAULT(0)),
    REAL("alpha", "Factor of the layer's input in the outer residual.", layer.alpha, -SPEC_MAX_FACTOR, SPEC_MAX_FACTOR, DEFAULT(1)),
    REAL("multiplier", "Factor of x_T, or of its norm, in the result.", layer.multiplier, -SPEC_MAX_FACTOR, SPEC_MAX_FACTOR,
         DEFAULT(1)),
    FLAG("bias", "A learnt vector is added to the layer's input in the outer residual.", layer.residual_bias, DEFAULT(0)),
    FLAG("scale", "The layer's input in the outer residual is multiplied by a learnt vector, after the bias.", layer.residual_scale,
         DEFAULT(0)),
    FLAG("output_scale", "x_T, or its norm, is multiplied by a learnt vector.", layer.output_scale, DEFAULT(0)),
    FLAG("coe_weight",
         "A converted MoE: x_{t+1} = x_t + coe_weight y before the last iteration, whose y stands alone. A learnt number.",
         layer.coe_weight, DEFAULT(0)),
};
SECTION_DEFINE(residual_section, "residual", residual_rows);

static const Key group_rows[] = {
    INTEGER("count", "Groups.", layer.groups, 1, MAX_EXPERTS, REQUIRED),
    INTEGER("k", "Groups that remain.", layer.top_groups, 1, MAX_EXPERTS, REQUIRED),
    CHOICE("score", "A group's best expert, or the sum of its two best.", layer.group_score, group_score_names, DEFAULT(GROUP_MAX)),
    CHOICE("mask", "What experts of the other groups are ranked by.", layer.group_mask, group_mask_names,
           DEFAULT(MASK_MINUS_INFINITY)),
};
SECTION_DEFINE(group_section, "groups", group_rows);

// An absent k is the whole pool where the rule itself limits the choices, an absent expected_k is k (0 stands for both until the
// layer is complete: value.c).
static const Key router_rows[] = {
    CHOICE("score", "From logits to scores.", layer.score, score_names, DEFAULT(SCORE_SOFTMAX)),
    REAL("logit_scale", "Factor of W x in the logits.", layer.logit_scale, -SPEC_MAX_FACTOR, SPEC_MAX_FACTOR, DEFAULT_NOT_ZERO(1)),
    REAL("softcap", "Logits become softcap tanh(z / softcap); 0: they stay.", layer.softcap, 0, SPEC_MAX_FACTOR, DEFAULT(0)),
    CHOICE("select", "Rule that chooses experts.", layer.selection, selection_names, DEFAULT(SELECTION_TOP_K)),
    CHOICE("rank", "What experts are ranked by, before the correction.", layer.rank, rank_names, DEFAULT(RANK_SCORE)),
    FLAG("correction", "A learnt number per expert is added for ranking, never to a weight. Minus infinity: never chosen.",
         layer.correction, DEFAULT(0)),
    SECTION("groups", "Experts compete in consecutive groups of equal size, and only the best groups remain.", group_section,
            false),
    INTEGER("k",
            "The most choices of a token in an iteration. Required by top_k and sparsemixer. Other rules without it allow the "
            "whole pool, if that has at most " SPEC_DIGITS(SPEC_MAX_TOP_K) " choices.",
            layer.top_k, 1, SPEC_MAX_TOP_K, DEFAULT(0)),
    FLAG("k_per_token", "The caller may give each token's k, or an importance that becomes one.", layer.k_per_token, DEFAULT(0)),
    INTEGER("k_min", "Fewest experts of a token. Only with k_per_token.", layer.k_min, 0, SPEC_MAX_TOP_K, DEFAULT(1)),
    INTEGER("expected_k",
            "Mean number of experts per token: sizes buffers and synthetic loads, target of ReMoE's sparsity. k when absent.",
            layer.expected_k, 1, SPEC_MAX_TOP_K, DEFAULT(0)),
    REAL("threshold", "threshold chooses experts that rank above this. Only with select threshold.", layer.threshold,
         -SPEC_MAX_FACTOR, SPEC_MAX_FACTOR, DEFAULT(0)),
    REAL("top_p", "top_p chooses the fewest experts whose scores sum to this. Only with select top_p.", layer.top_p, 0, 1,
         DEFAULT_NOT_ZERO(1)),
    REAL(
        "jitter",
        "sparsemixer's weights are softmaxes over logits within twice this, relatively, of the best. Only with select sparsemixer.",
        layer.jitter, 0, 1, DEFAULT(0.01)),
    FLAG("normalize", "Chosen scores are divided by (their norm + normalize_eps).", layer.normalize, DEFAULT(0)),
    REAL("normalize_p", "The norm is (sum of |s|^p)^(1/p). Only with normalize.", layer.normalize_p, 1, 64, DEFAULT(1)),
    REAL("normalize_eps", "See normalize. Only with it.", layer.normalize_eps, 0, 1, DEFAULT(1e-20)),
    FLAG("normalize_clamp", "The divisor is the norm, but at least normalize_eps. Only with normalize.", layer.normalize_clamp,
         DEFAULT(0)),
    REAL("scale", "Factor of the weights, after normalising.", layer.scale, 0, SPEC_MAX_FACTOR, DEFAULT_NOT_ZERO(1)),
    FLAG("expert_scale", "Weights are multiplied by a learnt number per expert, after scale.", layer.expert_scale, DEFAULT(0)),
    CHOICE("weight_on", "What the weight multiplies: an expert's output or its input.", layer.weight_on, weight_on_names,
           DEFAULT(WEIGHT_ON_OUTPUT)),
    FLAG("bias", "Logits have a bias. Minus infinity: never chosen.", layer.router_bias, DEFAULT(0)),
    FLAG("per_iteration", "A router matrix per iteration instead of one for all.", layer.gate_per_iteration, DEFAULT(0)),
    CHOICE("weights", "Format of the packed router matrices.", layer.router_weights, router_format_names, DEFAULT(ROUTER_FP32)),
};
const Section spec_router = {"router", router_rows, sizeof router_rows / sizeof *router_rows};

static const Key expert_rows[] = {
    INTEGER("count", "Experts in the pool.", layer.experts, 1, MAX_EXPERTS, REQUIRED),
    INTEGER("intermediate", "Width of an expert.", layer.intermediate, 1, MAX_WIDTH, REQUIRED),
    FLAG("gated", "down(act(gate x) * (up x)) instead of down(act(up x)).", layer.gated, DEFAULT(1)),
    CHOICE("activation", "Activation function.", layer.activation, activation_names, DEFAULT(ACTIVATION_SILU)),
    REAL("slope", "silu becomes x sigmoid(slope x).", layer.slope, -SPEC_MAX_FACTOR, SPEC_MAX_FACTOR, DEFAULT(1)),
    REAL("limit", "Gate is clamped to at most this, up to within +- this; 0: neither.", layer.limit, 0, SPEC_MAX_FACTOR,
         DEFAULT(0)),
    CHOICE("limit_place", "Where the gate is clamped: gate itself, or act(gate).", layer.limit_place, limit_place_names,
           DEFAULT(LIMIT_BEFORE_ACTIVATION)),
    REAL("gate_softcap", "act(gate) becomes softcap tanh(gate / softcap) sigmoid(slope gate); 0: it stays. Only with silu.",
         layer.gate_softcap, 0, SPEC_MAX_FACTOR, DEFAULT(0)),
    REAL("up_softcap", "up becomes softcap tanh(up / softcap), before up_offset is added; 0: it stays.", layer.up_softcap, 0,
         SPEC_MAX_FACTOR, DEFAULT(0)),
    REAL("up_offset", "act(gate) (up + up_offset).", layer.up_offset, -SPEC_MAX_FACTOR, SPEC_MAX_FACTOR, DEFAULT(0)),
    FLAG("bias", "Gate, up and down have biases.", layer.expert_bias, DEFAULT(0)),
    FLAG("output_bias", "A learnt vector is added to the experts' sum.", layer.output_bias, DEFAULT(0)),
    INTEGER("identity", "Choices that return their input and compute nothing; they follow the experts.", layer.identity_experts, 0,
            MAX_EXPERTS, DEFAULT(0)),
    INTEGER("null", "Choices that return nothing; they come last.", layer.null_experts, 0, MAX_EXPERTS, DEFAULT(0)),
    CHOICE("down_weights", "Format of the packed down matrices; same: that of the layer's weights.", layer.down_weights,
           own_format_names, DEFAULT(0)),
};
SECTION_DEFINE(expert_section, "experts", expert_rows);

// An absent intermediate and limit are the routed experts' (value.c: 0 and -1 stand for them until the layer is complete).
static const Key shared_rows[] = {
    INTEGER("count", "How many; several that are stored as one wide MLP count as one.", layer.shared_experts, 0, MAX_SHARED,
            REQUIRED),
    INTEGER("intermediate", "Width of a shared expert; that of a routed expert when absent.", layer.shared_intermediate, 1,
            MAX_WIDTH, DEFAULT(0)),
    FLAG("bias", "Gate, up and down have biases.", layer.shared_bias, DEFAULT(0)),
    REAL("limit", "As experts.limit, for shared experts; that of the routed experts when absent.", layer.shared_limit, 0,
         SPEC_MAX_FACTOR, DEFAULT(-1)),
    FLAG("gated", "Each is weighted by the sigmoid of a product of its own with x.", layer.shared_gated, DEFAULT(0)),
    FLAG("joint",
         "These sigmoids and the chosen scores are divided by the norm of all of them, then multiplied by router.scale. Only with "
         "gated, of scores that are sigmoids and normalized.",
         layer.shared_joint, DEFAULT(0)),
    REAL("scale", "Factor of the shared experts' sum.", layer.shared_scale, -SPEC_MAX_FACTOR, SPEC_MAX_FACTOR, DEFAULT(1)),
    CHOICE("weights", "Format of the packed matrices; same: that of the layer's weights.", layer.shared_weights, own_format_names,
           DEFAULT(0)),
    CHOICE("down_weights", "Format of the packed down matrices; same: that of the shared experts' weights.",
           layer.shared_down_weights, own_format_names, DEFAULT(0)),
};
SECTION_DEFINE(shared_section, "shared_experts", shared_rows);

// A tensor in words: the long form of an entry of "tensors". Its base is a TensorSource.
static const Key source_rows[] = {
    {.name = "name",
     .help = "Its name.",
     .type = KEY_PATTERN,
     .offset = offsetof(TensorSource, pattern),
     .required = true,
     .text_bytes = TENSOR_PATTERN_BYTES},
    {.name = "rows",
     .help = "Rows of the tensor that are this matrix's: gate and up may share one tensor, or the router and the shared experts' "
             "gates; one: a vector's only element, which all others are.",
     .type = KEY_CHOICE,
     .offset = offsetof(TensorSource, rows),
     .choices = tensor_rows_names},
    {.name = "order",
     .help = "Order of the matrix's dimensions.",
     .type = KEY_CHOICE,
     .offset = offsetof(TensorSource, order),
     .choices = tensor_order_names},
    {.name = "encoding",
     .help = "plain numbers; mxfp4: 4-bit floats in NAME_blocks, exponents in NAME_scales; fp8_e4m3: a scale in NAME_scale_inv for "
             "128 x 128 codes.",
     .type = KEY_CHOICE,
     .offset = offsetof(TensorSource, encoding),
     .choices = encoding_names},
    {.name = "add",
     .help = "Added to every element.",
     .type = KEY_REAL,
     .offset = offsetof(TensorSource, add),
     .minimum = -SPEC_MAX_FACTOR,
     .maximum = SPEC_MAX_FACTOR},
};
SECTION_DEFINE(source_section, "tensor", source_rows);

#define TENSOR_ROW(tensor, name_, shape) \
    {.name = name_, \
     .help = shape, \
     .type = KEY_TENSOR, \
     .offset = offsetof(ModelLayer, checkpoint.tensors[tensor]), \
     .text_bytes = TENSOR_PATTERN_BYTES, \
     .section = &source_section},
static const Key tensor_rows[] = {TENSOR_LIST(TENSOR_ROW)};
SECTION_DEFINE(tensor_section, "tensors", tensor_rows);

static const Key checkpoint_rows[] = {
    INTEGER("first_layer", "{layer} of the first instance.", checkpoint.first_layer, 0, MAX_LAYER_NUMBER, DEFAULT(0)),
    INTEGER("layer_step", "{layer} grows by this from instance to instance.", checkpoint.layer_step, 1, MAX_LAYER_NUMBER,
            DEFAULT(1)),
    SECTION("tensors",
            "Names of tensors, with {layer}, {iteration} and {expert} for numbers. All that the layer has must be named.",
            tensor_section, true),
};
SECTION_DEFINE(checkpoint_section, "checkpoint", checkpoint_rows);

static const Key layer_rows[] = {
    {ROW("name", "Name of the layer in the library; unique in the description.", KEY_IDENTIFIER, name), REQUIRED,
     .text_bytes = LAYER_NAME_BYTES},
    INTEGER("count", "Instances of this layer, each with weights of its own.", count, 1, MAX_INSTANCES, DEFAULT(1)),
    INTEGER("hidden", "Width of a token's hidden state.", layer.hidden, 1, MAX_WIDTH, REQUIRED),
    INTEGER("iterations", "Passes of a token through the pool; more than one makes a Chain-of-Experts.", layer.iterations, 1,
            LAYER_MAX_ITERATIONS, DEFAULT(1)),
    SECTION("norm", "Applied once, before the chain.", norm_section, false),
    SECTION("post_norm", "Applied once, to x_T: after the chain, before residual.multiplier.", post_norm_section, false),
    SECTION("residual", "What is added to the experts' sum.", residual_section, false),
    SECTION("router", "How experts are chosen and weighted.", spec_router, true),
    SECTION("experts", "The pool of routed experts.", expert_section, true),
    SECTION(
        "latent",
        "Projections around the pool: routed experts read norm(W_in x), and W_out of their sum is what counts. Router and shared "
        "experts read x.",
        latent_section, false),
    SECTION("shared_experts", "Experts that every token visits in every iteration.", shared_section, false),
    CHOICE("weights", "Format of the packed expert matrices, unless experts.down_weights, latent or shared_experts say otherwise.",
           layer.weights, format_names, DEFAULT(FORMAT_BF16)),
    CHOICE("compute", "Compute class: fp32, or bf16 (activations are rounded before a product; not for fp32 weights).",
           layer.compute, compute_names, DEFAULT(COMPUTE_FP32)),
    CHOICE("activations", "Format of inputs and outputs at the library's interface.", layer.activations, interface_names,
           DEFAULT(INTERFACE_FP32)),
    SECTION("checkpoint", "Where the weights are in a checkpoint.", checkpoint_section, false),
};
SECTION_DEFINE(layer_section, "layer", layer_rows);

static const Key count_rows[] = {
    {.name = "count",
     .help = "Tokens of a call.",
     .type = KEY_INTEGER,
     .required = true,
     .offset = offsetof(WorkloadCount, count),
     .minimum = 1,
     .maximum = WORKLOAD_MAX_COUNT},
    {.name = "weight",
     .help = "How much calls of this size matter to tune.",
     .type = KEY_REAL,
     .offset = offsetof(WorkloadCount, weight),
     .maximum = WORKLOAD_MAX_WEIGHT,
     .not_zero = true,
     .fallback = 1},
};
SECTION_DEFINE(count_section, "token count", count_rows);

static const Key workload_rows[] = {
    {.name = "tokens",
     .help = "Token counts, each alone or with its weight.",
     .type = KEY_COUNTS,
     .offset = offsetof(Model, workload),
     .section = &count_section},
    {.name = "routing",
     .help = "How tokens spread over experts.",
     .type = KEY_ROUTING,
     .offset = offsetof(Model, workload.routing),
     .text_bytes = WORKLOAD_ROUTING_BYTES},
};
SECTION_DEFINE(workload_section, "workload", workload_rows);

static const Key root_rows[] = {
    {.name = "$schema", .help = "For editors; ignored.", .type = KEY_IGNORED},
    {.name = "name",
     .help = "Prefix of the library's functions: a C identifier.",
     .type = KEY_IDENTIFIER,
     .required = true,
     .offset = offsetof(Model, name),
     .text_bytes = MODEL_NAME_BYTES},
    {.name = "layers", .help = "Kinds of layers in the library.", .type = KEY_LAYERS, .required = true, .section = &layer_section},
    SECTION("workload", "What the layers are optimised for.", workload_section, false),
};
const Section spec_root = {"description", root_rows, sizeof root_rows / sizeof *root_rows};

const char *format_name(Format format) {
    return format_names[format];
}

const char *compute_name(Compute compute) {
    return compute_names[compute];
}

static int find_name(const char *const *names, const char *name) {
    for (int i = 0; names[i]; i++) {
        if (!strcmp(names[i], name)) {
            return i;
        }
    }
    return -1;
}

int format_find(const char *name) {
    return find_name(format_names, name);
}

int compute_find(const char *name) {
    return find_name(compute_names, name);
}
