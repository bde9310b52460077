// gpt-oss: gate and up alternate; BF16 or MXFP4.
#include "row.h"

#define BLOCKS(tensor_, name_, rows_) {.tensor = tensor_, .name = name_, .rows = rows_, .encoding = ENCODING_MXFP4}
// gpt-oss: gate and up alternate.
#define GPT_OSS_BIASES \
    PART(TENSOR_GATE_BIAS, "@experts.gate_up_proj_bias", ROWS_EVEN, ORDER_OUT_IN), \
        PART(TENSOR_UP_BIAS, "@experts.gate_up_proj_bias", ROWS_ODD, ORDER_OUT_IN), \
        PLAIN(TENSOR_DOWN_BIAS, "@experts.down_proj_bias")
static const ImportLayout interleaved = {.tensors = {PART(TENSOR_GATE, "@experts.gate_up_proj", ROWS_EVEN, ORDER_IN_OUT),
                                                     PART(TENSOR_UP, "@experts.gate_up_proj", ROWS_ODD, ORDER_IN_OUT),
                                                     PART(TENSOR_DOWN, "@experts.down_proj", ROWS_ALL, ORDER_IN_OUT),
                                                     GPT_OSS_BIASES}};
static const ImportLayout interleaved_blocks = {
    .quantisation = "mxfp4",
    .tensors = {BLOCKS(TENSOR_GATE, "@experts.gate_up_proj", ROWS_EVEN), BLOCKS(TENSOR_UP, "@experts.gate_up_proj", ROWS_ODD),
                BLOCKS(TENSOR_DOWN, "@experts.down_proj", ROWS_ALL), GPT_OSS_BIASES}};

// Gate and up in contiguous halves.
static const ImportLayout halves = {.tensors = {PART(TENSOR_GATE, "@experts.gate_up_proj", ROWS_FIRST_HALF, ORDER_IN_OUT),
                                                PART(TENSOR_UP, "@experts.gate_up_proj", ROWS_SECOND_HALF, ORDER_IN_OUT),
                                                PART(TENSOR_DOWN, "@experts.down_proj", ROWS_ALL, ORDER_IN_OUT),
                                                PART(TENSOR_GATE_BIAS, "@experts.gate_up_proj_bias", ROWS_FIRST_HALF, ORDER_OUT_IN),
                                                PART(TENSOR_UP_BIAS, "@experts.gate_up_proj_bias", ROWS_SECOND_HALF, ORDER_OUT_IN),
                                                PLAIN(TENSOR_DOWN_BIAS, "@experts.down_proj_bias")}};

const ImportFamily family_gpt_oss = {
    .name = "gpt-oss",
    .model_types = "gpt_oss",
    .architectures = "GptOssForCausalLM",
    .aliases = "num_experts",
    .rules = {SIZES(2880, 36), RMS(1e-5), OUTER,
              SCORE("softmax"), [SETTING_RANK] = WORD("logit"), [SETTING_K] = KEY("num_experts_per_tok experts_per_token", 4),
              NORMALIZED(0), [SETTING_ROUTER_BIAS] = FIXED(1), EXPERTS(LOCAL_EXPERTS, 128), WIDTH("intermediate_size", 2880),
              CLAMPED_GLU, [SETTING_EXPERT_BIAS] = FIXED(1)},
    .block = "mlp.",
    .layouts = {&interleaved, &interleaved_blocks},
    .tensors = {POST_NORM, ROUTER("@router"), PLAIN(TENSOR_ROUTER_BIAS, "@router.bias")},
};

const ImportFamily family_openai_privacy_filter = {
    .name = "OpenAI privacy filter",
    .model_types = "openai_privacy_filter",
    .architectures = "OpenAIPrivacyFilterForTokenClassification",
    .aliases = "num_experts",
    .rules = {SIZES(640, 8), RMS(1e-5), OUTER, SCORE("softmax"), [SETTING_RANK] = WORD("logit"), TOP_K(4),
              NORMALIZED(0), [SETTING_ROUTER_BIAS] = FIXED(1), EXPERTS(LOCAL_EXPERTS, 128), WIDTH("intermediate_size", 640),
              CLAMPED_GLU, [SETTING_EXPERT_BIAS] = FIXED(1)},
    .block = "mlp.",
    .layouts = {&halves},
    .tensors = {POST_NORM, ROUTER("@router"), PLAIN(TENSOR_ROUTER_BIAS, "@router.bias")},
};
