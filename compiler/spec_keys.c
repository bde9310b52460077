// Every key of a description. Names of choices come from the lists of templates/layer.h.
#include "spec_keys.h"

#include <stddef.h>

// Bounds of sizes: far above any model, and low enough that the sizes in bytes that spec_check.c multiplies mean something.
enum {
    MAX_WIDTH = 1 << 20,
    MAX_EXPERTS = 1 << 16,
    MAX_SHARED = 1 << 10,
    MAX_INSTANCES = 1 << 12,
    MAX_LAYER_NUMBER = 1 << 20,
    MAX_TOKENS = 1 << 20,
    MAX_FACTOR = 1000000,
};

#define CHOICE_NAME(enumerator, name, ...) name,
static const char *const norms[] = {NORM_LIST(CHOICE_NAME) NULL};
static const char *const scores[] = {SCORE_LIST(CHOICE_NAME) NULL};
static const char *const selections[] = {SELECTION_LIST(CHOICE_NAME) NULL};
static const char *const ranks[] = {RANK_LIST(CHOICE_NAME) NULL};
static const char *const group_scores[] = {GROUP_SCORE_LIST(CHOICE_NAME) NULL};
static const char *const group_masks[] = {GROUP_MASK_LIST(CHOICE_NAME) NULL};
static const char *const weight_ons[] = {WEIGHT_ON_LIST(CHOICE_NAME) NULL};
static const char *const activations[] = {ACTIVATION_LIST(CHOICE_NAME) NULL};
static const char *const formats[] = {FORMAT_LIST(CHOICE_NAME) NULL};
static const char *const computes[] = {COMPUTE_LIST(CHOICE_NAME) NULL};
static const char *const tensor_parts[] = {TENSOR_ROWS_LIST(CHOICE_NAME) NULL};
static const char *const tensor_orders[] = {TENSOR_ORDER_LIST(CHOICE_NAME) NULL};
static const char *const encodings[] = {ENCODING_LIST(CHOICE_NAME) NULL};

// Rows. `field` is a member of ModelLayer; REQUIRED ones have no value when absent.
#define REQUIRED .required = true
#define DEFAULT(value) .fallback = value
#define ROW(name_, type_, field) .name = name_, .type = type_, .offset = offsetof(ModelLayer, field)
#define INTEGER(name, field, low, high, presence) {ROW(name, KEY_INTEGER, field), .minimum = low, .maximum = high, presence}
#define REAL(name, field, low, high, presence) {ROW(name, KEY_REAL, field), .minimum = low, .maximum = high, presence}
#define FLAG(name, field, presence) {ROW(name, KEY_FLAG, field), presence}
#define CHOICE(name, field, list, presence) {ROW(name, KEY_CHOICE, field), .choices = list, presence}
#define SECTION(name_, keys_, required_) {.name = name_, .type = KEY_SECTION, .required = required_, .section = &keys_}
#define SECTION_DEFINE(variable, name_, rows) static const Section variable = {name_, rows, sizeof rows / sizeof *rows}

static const Key norm_rows[] = {
    CHOICE("kind", layer.norm, norms, DEFAULT(NORM_NONE)),
    REAL("eps", layer.norm_eps, 0, 1, DEFAULT(1e-6)),
    FLAG("bias", layer.norm_bias, DEFAULT(0)),
};
SECTION_DEFINE(norm_section, "norm", norm_rows);

static const Key residual_rows[] = {
    FLAG("inner", layer.inner_residual, DEFAULT(0)),
    REAL("inner_alpha", layer.inner_alpha, -MAX_FACTOR, MAX_FACTOR, DEFAULT(1)),
    FLAG("outer", layer.outer_residual, DEFAULT(0)),
    REAL("alpha", layer.alpha, -MAX_FACTOR, MAX_FACTOR, DEFAULT(1)),
    REAL("multiplier", layer.multiplier, -MAX_FACTOR, MAX_FACTOR, DEFAULT(1)),
    FLAG("coe_weight", layer.coe_weight, DEFAULT(0)),
};
SECTION_DEFINE(residual_section, "residual", residual_rows);

static const Key group_rows[] = {
    INTEGER("count", layer.groups, 1, MAX_EXPERTS, REQUIRED),
    INTEGER("k", layer.top_groups, 1, MAX_EXPERTS, REQUIRED),
    CHOICE("score", layer.group_score, group_scores, DEFAULT(GROUP_MAX)),
    CHOICE("mask", layer.group_mask, group_masks, DEFAULT(MASK_MINUS_INFINITY)),
};
SECTION_DEFINE(group_section, "groups", group_rows);

// An absent k is the whole pool where the rule itself limits the choices, an absent expected_k is k (0 stands for both until the
// layer is complete: spec_value.c).
static const Key router_rows[] = {
    CHOICE("score", layer.score, scores, DEFAULT(SCORE_SOFTMAX)),
    REAL("logit_scale", layer.logit_scale, -MAX_FACTOR, MAX_FACTOR, DEFAULT(1)),
    REAL("softcap", layer.softcap, 0, MAX_FACTOR, DEFAULT(0)),
    CHOICE("select", layer.selection, selections, DEFAULT(SELECTION_TOP_K)),
    CHOICE("rank", layer.rank, ranks, DEFAULT(RANK_SCORE)),
    FLAG("correction", layer.correction, DEFAULT(0)),
    SECTION("groups", group_section, false),
    INTEGER("k", layer.top_k, 1, SPEC_MAX_TOP_K, DEFAULT(0)),
    FLAG("k_per_token", layer.k_per_token, DEFAULT(0)),
    INTEGER("k_min", layer.least_k, 0, SPEC_MAX_TOP_K, DEFAULT(1)),
    INTEGER("expected_k", layer.expected_k, 1, SPEC_MAX_TOP_K, DEFAULT(0)),
    REAL("threshold", layer.threshold, -MAX_FACTOR, MAX_FACTOR, DEFAULT(0)),
    REAL("top_p", layer.top_p, 0, 1, DEFAULT(1)),
    REAL("jitter", layer.jitter, 0, 1, DEFAULT(0.01)),
    FLAG("normalize", layer.normalize, DEFAULT(0)),
    REAL("normalize_p", layer.normalize_p, 1, 64, DEFAULT(1)),
    REAL("normalize_eps", layer.normalize_eps, 0, 1, DEFAULT(1e-20)),
    FLAG("normalize_clamp", layer.normalize_clamp, DEFAULT(0)),
    REAL("scale", layer.scale, 0, MAX_FACTOR, DEFAULT(1)),
    CHOICE("weight_on", layer.weight_on, weight_ons, DEFAULT(WEIGHT_ON_OUTPUT)),
    FLAG("bias", layer.router_bias, DEFAULT(0)),
    FLAG("per_iteration", layer.gate_per_iteration, DEFAULT(0)),
    CHOICE("weights", layer.router_weights, formats, DEFAULT(FORMAT_FP32)),
};
SECTION_DEFINE(router_section, "router", router_rows);

static const Key expert_rows[] = {
    INTEGER("count", layer.experts, 1, MAX_EXPERTS, REQUIRED),
    INTEGER("intermediate", layer.intermediate, 1, MAX_WIDTH, REQUIRED),
    FLAG("gated", layer.gated, DEFAULT(1)),
    CHOICE("activation", layer.activation, activations, DEFAULT(ACTIVATION_SILU)),
    REAL("slope", layer.slope, -MAX_FACTOR, MAX_FACTOR, DEFAULT(1)),
    REAL("limit", layer.limit, 0, MAX_FACTOR, DEFAULT(0)),
    REAL("up_offset", layer.up_offset, -MAX_FACTOR, MAX_FACTOR, DEFAULT(0)),
    FLAG("bias", layer.expert_bias, DEFAULT(0)),
    INTEGER("identity", layer.identity_experts, 0, MAX_EXPERTS, DEFAULT(0)),
    INTEGER("null", layer.null_experts, 0, MAX_EXPERTS, DEFAULT(0)),
};
SECTION_DEFINE(expert_section, "experts", expert_rows);

// An absent intermediate is the routed experts' (spec_value.c: 0 stands for it until the layer is complete).
static const Key shared_rows[] = {
    INTEGER("count", layer.shared_experts, 0, MAX_SHARED, REQUIRED),
    INTEGER("intermediate", layer.shared_intermediate, 1, MAX_WIDTH, DEFAULT(0)),
    FLAG("bias", layer.shared_bias, DEFAULT(0)),
    FLAG("gated", layer.shared_gated, DEFAULT(0)),
    REAL("scale", layer.shared_scale, -MAX_FACTOR, MAX_FACTOR, DEFAULT(1)),
};
SECTION_DEFINE(shared_section, "shared_experts", shared_rows);

// A tensor in words: the long form of an entry of "tensors". Its base is a TensorSource.
static const Key source_rows[] = {
    {.name = "name",
     .type = KEY_PATTERN,
     .offset = offsetof(TensorSource, pattern),
     .required = true,
     .text_bytes = TENSOR_PATTERN_BYTES},
    {.name = "rows", .type = KEY_CHOICE, .offset = offsetof(TensorSource, rows), .choices = tensor_parts},
    {.name = "order", .type = KEY_CHOICE, .offset = offsetof(TensorSource, order), .choices = tensor_orders},
    {.name = "encoding", .type = KEY_CHOICE, .offset = offsetof(TensorSource, encoding), .choices = encodings},
    {.name = "add", .type = KEY_REAL, .offset = offsetof(TensorSource, add), .minimum = -MAX_FACTOR, .maximum = MAX_FACTOR},
};
SECTION_DEFINE(source_section, "tensor", source_rows);

#define TENSOR_ROW(tensor, name_, shape) \
    {.name = name_, \
     .type = KEY_TENSOR, \
     .offset = offsetof(ModelLayer, checkpoint.tensors[tensor]), \
     .text_bytes = TENSOR_PATTERN_BYTES, \
     .section = &source_section},
static const Key tensor_rows[] = {TENSOR_LIST(TENSOR_ROW)};
SECTION_DEFINE(tensor_section, "tensors", tensor_rows);

static const Key checkpoint_rows[] = {
    INTEGER("first_layer", checkpoint.first_layer, 0, MAX_LAYER_NUMBER, DEFAULT(0)),
    INTEGER("layer_step", checkpoint.layer_step, 1, MAX_LAYER_NUMBER, DEFAULT(1)),
    SECTION("tensors", tensor_section, true),
};
SECTION_DEFINE(checkpoint_section, "checkpoint", checkpoint_rows);

static const Key layer_rows[] = {
    {ROW("name", KEY_IDENTIFIER, name), REQUIRED, .text_bytes = LAYER_NAME_BYTES},
    INTEGER("count", count, 1, MAX_INSTANCES, DEFAULT(1)),
    INTEGER("hidden", layer.hidden, 1, MAX_WIDTH, REQUIRED),
    INTEGER("iterations", layer.iterations, 1, LAYER_MAX_ITERATIONS, DEFAULT(1)),
    SECTION("norm", norm_section, false),
    SECTION("residual", residual_section, false),
    SECTION("router", router_section, true),
    SECTION("experts", expert_section, true),
    SECTION("shared_experts", shared_section, false),
    CHOICE("weights", layer.weights, formats, DEFAULT(FORMAT_BF16)),
    CHOICE("compute", layer.compute, computes, DEFAULT(COMPUTE_FP32)),
    CHOICE("activations", layer.activations, formats, DEFAULT(FORMAT_FP32)),
    SECTION("checkpoint", checkpoint_section, false),
};
SECTION_DEFINE(layer_section, "layer", layer_rows);

static const Key workload_rows[] = {
    {.name = "tokens", .type = KEY_COUNTS, .offset = offsetof(Model, workload), .minimum = 1, .maximum = MAX_TOKENS},
    {.name = "routing", .type = KEY_ROUTING, .offset = offsetof(Model, workload.routing), .text_bytes = WORKLOAD_ROUTING_BYTES},
};
SECTION_DEFINE(workload_section, "workload", workload_rows);

static const Key root_rows[] = {
    {.name = "$schema", .type = KEY_IGNORED},
    {.name = "name", .type = KEY_IDENTIFIER, .required = true, .offset = offsetof(Model, name), .text_bytes = MODEL_NAME_BYTES},
    {.name = "layers", .type = KEY_LAYERS, .required = true, .section = &layer_section},
    SECTION("workload", workload_section, false),
};
const Section spec_root = {"description", root_rows, sizeof root_rows / sizeof *root_rows};
