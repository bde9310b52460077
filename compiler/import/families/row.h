// What rows of different files have in common. A row says how to recognise a model, where its configuration keeps the numbers, and
// where its checkpoints keep the tensors.
//
// Sources: transformers 5.24, models/*/configuration_*.py (names and defaults), modeling_*.py (what is computed) and
// conversion_mapping.py (names on disk); CoE's own code for CoE (github.com/ZihanWang314/CoE).
#ifndef CATENA_IMPORT_FAMILIES_ROW_H
#define CATENA_IMPORT_FAMILIES_ROW_H

#include "compiler/import/table.h"

// --- rules ---

// What most decoders have in common: hidden size, layers, RMS norm after attention, residual around the block.
#define SIZES(hidden, layers) [SETTING_HIDDEN] = KEY("hidden_size", hidden), [SETTING_LAYERS] = KEY("num_hidden_layers", layers)
#define NORM_KIND(kind, name, eps) [SETTING_NORM] = WORD(kind), [SETTING_NORM_EPS] = KEY(name, eps)
#define RMS(eps) NORM_KIND("rms", "rms_norm_eps", eps)
// A norm of the block's result, beside the one before the block or instead of that.
#define RMS_AFTER(eps) [SETTING_POST_NORM] = WORD("rms"), [SETTING_POST_NORM_EPS] = KEY("rms_norm_eps", eps)
#define OUTER [SETTING_OUTER] = FIXED(1)
#define EXPERTS(names, value) [SETTING_EXPERTS] = KEY(names, value)
#define TOP_K(value) [SETTING_K] = KEY("num_experts_per_tok", value)
#define WIDTH(name, value) [SETTING_INTERMEDIATE] = KEY(name, value)
#define HIDDEN_ACT [SETTING_ACTIVATION] = KEY_WORD("hidden_act", "silu")
// (clamp(up) + 1) g sigmoid(alpha g) with g = min(gate, limit), whatever hidden_act says.
#define CLAMPED_GLU \
    [SETTING_ACTIVATION] = WORD("silu"), [SETTING_SLOPE] = KEY("swiglu_alpha", 1.702), [SETTING_LIMIT] = KEY("swiglu_limit", 7), \
    [SETTING_UP_OFFSET] = FIXED(1)
// The activation of min(gate, limit), times up within the limit.
#define GLU_LIMIT(value) [SETTING_LIMIT] = KEY("swiglu_limit", value)
#define SCORE(text) [SETTING_SCORE] = WORD(text)
// Weights divided by their sum: always, or as the config says.
#define NORMALIZED(eps) [SETTING_NORMALIZE] = FIXED(1), [SETTING_NORMALIZE_EPS] = FIXED(eps)
#define NORM_TOPK(value, eps) [SETTING_NORMALIZE] = KEY("norm_topk_prob", value), [SETTING_NORMALIZE_EPS] = FIXED(eps)
#define SCALE(value) [SETTING_SCALE] = KEY("routed_scaling_factor", value)
#define FIRST_DENSE(value) [SETTING_FIRST] = NULLABLE("first_k_dense_replace", value)
// moe_layer_freq: in DeepSeek's own code; transformers has no other value than 1.
#define FREQUENCY [SETTING_STEP] = KEY("moe_layer_freq", 1), [SETTING_PHASE] = FIXED(0)
#define SPARSE_STEP [SETTING_STEP] = KEY("decoder_sparse_step", 1)
#define DEEPSEEK_GROUPS(groups, top) \
    [SETTING_GROUPS] = NULLABLE("n_group", groups), [SETTING_TOP_GROUPS] = NULLABLE("topk_group", top), \
    [SETTING_GROUP_SCORE] = WORD("top2_sum")
// Scores of DeepSeek-V3 and its kin.
#define NOAUX_SCORES SCORE("sigmoid"), [SETTING_CORRECTION] = FIXED(1)
#define NOAUX_TC .expectations = {{"scoring_func", "\"sigmoid\""}, {"topk_method", "\"noaux_tc\""}}

#define QWEN_EXPERTS "num_experts num_local_experts"
#define LOCAL_EXPERTS "num_local_experts num_experts"
#define ROUTED_EXPERTS "n_routed_experts num_local_experts num_experts"

// --- names of tensors ---

#define NORM(name_) PLAIN(TENSOR_NORM, name_ ".weight")
#define POST_NORM NORM("post_attention_layernorm")
#define NORM_AFTER(name_) PLAIN(TENSOR_POST_NORM, name_ ".weight")
// Norms that store their weight minus one.
#define CENTRED_NORM {.tensor = TENSOR_NORM, .name = "post_attention_layernorm.weight", .add = 1}
#define ROUTER(name_) PLAIN(TENSOR_ROUTER, name_ ".weight")
#define CLASSIFIER ROUTER("@router.classifier"), PLAIN(TENSOR_ROUTER_BIAS, "@router.classifier.bias")
#define CORRECTION(name_) PLAIN(TENSOR_CORRECTION, name_)
#define SHARED(name_) \
    PLAIN(TENSOR_SHARED_GATE, name_ ".gate_proj.weight"), PLAIN(TENSOR_SHARED_UP, name_ ".up_proj.weight"), \
        PLAIN(TENSOR_SHARED_DOWN, name_ ".down_proj.weight")
#define SHARED_NUMBERED \
    PLAIN(TENSOR_SHARED_GATE, "@shared_experts.w1.weight"), PLAIN(TENSOR_SHARED_UP, "@shared_experts.w3.weight"), \
        PLAIN(TENSOR_SHARED_DOWN, "@shared_experts.w2.weight")
#define DEEPSEEK_TENSORS POST_NORM, ROUTER("@gate"), SHARED("@shared_experts")
#define DEEPSEEK_CORRECTION CORRECTION("@gate.e_score_correction_bias")

// --- remarks ---

#define BLOCK_ALONE "the layers are the blocks alone, without norm and residual: "
#define HYPER_CONNECTIONS BLOCK_ALONE "the model mixes several streams before and after them (hyper-connections)"

// --- how the matrices of experts lie ---

#define ONE_BY_ONE(gate, up, down) \
    .tensors = {PLAIN(TENSOR_GATE, "@experts.{expert}." gate ".weight"), PLAIN(TENSOR_UP, "@experts.{expert}." up ".weight"), \
                PLAIN(TENSOR_DOWN, "@experts.{expert}." down ".weight")}
#define STACKED(order) \
    .tensors = {PART(TENSOR_GATE, "@experts.gate_up_proj", ROWS_FIRST_HALF, order), \
                PART(TENSOR_UP, "@experts.gate_up_proj", ROWS_SECOND_HALF, order), \
                PART(TENSOR_DOWN, "@experts.down_proj", ROWS_ALL, order)}

extern const ImportLayout layout_projections, layout_numbered;
extern const ImportLayout layout_stacked, layout_stacked_in_out;  // the former: as transformers 5 holds them in memory

#define MLP .block = "mlp.", .layouts = {&layout_projections, &layout_stacked}
#define BLOCK_SPARSE_MOE .block = "block_sparse_moe.", .layouts = {&layout_numbered}

#endif
