// Models of others with DeepSeek-V3's router: sigmoid scores, a correction for the choice alone, groups by their two best.
#include "row.h"

// Both keep Kimi's names of keys; those of transformers are taken too.
#define KIMI_KEYS(groups, top, k, normalize, scale, experts) \
    NOAUX_SCORES, [SETTING_GROUPS] = NULLABLE("num_expert_group n_group", groups), \
                  [SETTING_TOP_GROUPS] = NULLABLE("topk_group", top), [SETTING_GROUP_SCORE] = WORD("top2_sum"), \
                  [SETTING_K] = KEY("num_experts_per_token num_experts_per_tok", k), \
                  [SETTING_NORMALIZE] = KEY("moe_renormalize norm_topk_prob", normalize), [SETTING_NORMALIZE_EPS] = FIXED(1e-20), \
                  SCALE(scale), EXPERTS(QWEN_EXPERTS, experts), \
                  HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("num_shared_experts n_shared_experts", 1)

const ImportFamily family_bailing_hybrid = {
    .name = "Bailing hybrid (Ling)",
    .model_types = "bailing_hybrid",
    .architectures = "BailingHybridForCausalLM",
    .aliases = "moe_renormalize num_expert_group num_experts num_experts_per_token num_shared_experts",
    .rules = {SIZES(2560, 42), RMS(1e-6), OUTER, KIMI_KEYS(8, 4, 8, 1, 2.5, 512), WIDTH("moe_intermediate_size", 768),
              FIRST_DENSE(2)},
    .types = "mlp_layer_types",
    MLP,
    .tensors = {DEEPSEEK_TENSORS, CORRECTION("@gate.expert_bias")},
};

const ImportFamily family_kimi_linear = {
    .name = "Kimi-Linear",
    .model_types = "kimi_linear",
    .architectures = "KimiLinearForCausalLM",
    .aliases = "moe_renormalize num_expert_group num_experts num_experts_per_token num_shared_experts",
    .rules = {SIZES(2304, 27), RMS(1e-5), OUTER, KIMI_KEYS(1, 1, 8, 1, 2.446, 256), WIDTH("moe_intermediate_size", 1024),
              FIRST_DENSE(1), FREQUENCY},
    .types = "mlp_layer_types",
    .expectations = {{"moe_router_activation_func", "\"sigmoid\""}},
    BLOCK_SPARSE_MOE,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

const ImportFamily family_exaone_moe = {
    .name = "EXAONE-MoE",
    .model_types = "exaone_moe",
    .architectures = "ExaoneMoeForCausalLM",
    .rules = {SIZES(4096, 32), RMS(1e-5), OUTER, NOAUX_SCORES, DEEPSEEK_GROUPS(1, 1), TOP_K(8), NORM_TOPK(1, 1e-20), SCALE(2.5),
              EXPERTS(QWEN_EXPERTS, 64), WIDTH("moe_intermediate_size", 1024),
              HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("num_shared_experts", 1), FIRST_DENSE(1)},
    .types = "mlp_layer_types",
    NOAUX_TC,
    MLP,
    .tensors = {DEEPSEEK_TENSORS, CORRECTION("@e_score_correction_bias")},
};

const ImportFamily family_hy_v3 = {
    .name = "HY-3",
    .model_types = "hy_v3",
    .architectures = "HYV3ForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(4096, 80), RMS(1e-5), OUTER, NOAUX_SCORES, TOP_K(8),
              NORMALIZED(1e-20), [SETTING_SCALE] = KEY("router_scaling_factor", 2.826), EXPERTS(QWEN_EXPERTS, 192),
              WIDTH("moe_intermediate_size", 1536), HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("num_shared_experts", 1),
              FIRST_DENSE(1)},
    .types = "mlp_layer_types",
    MLP,
    .tensors = {POST_NORM, ROUTER("@router.gate"), CORRECTION("@expert_bias"), SHARED("@shared_mlp")},
};

const ImportFamily family_mimo_v2_flash = {
    .name = "MiMo-V2-Flash",
    .model_types = "mimo_v2_flash",
    .architectures = "MiMoV2FlashForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(4096, 48), RMS(1e-5), OUTER, NOAUX_SCORES, DEEPSEEK_GROUPS(1, 1), TOP_K(8),
              NORM_TOPK(1, 1e-20), [SETTING_SCALE] = NULLABLE("routed_scaling_factor", 1), EXPERTS(ROUTED_EXPERTS, 256),
              WIDTH("moe_intermediate_size", 2048), HIDDEN_ACT, FIRST_DENSE(1)},
    .types = "mlp_layer_types moe_layer_freq",
    NOAUX_TC,
    MLP,
    .tensors = {POST_NORM, ROUTER("@gate"), DEEPSEEK_CORRECTION},
};

const ImportFamily family_solar_open = {
    .name = "Solar-Open",
    .model_types = "solar_open",
    .architectures = "SolarOpenForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(4096, 48), RMS(1e-5), OUTER, NOAUX_SCORES, DEEPSEEK_GROUPS(1, 1), TOP_K(8), NORM_TOPK(1, 1e-20), SCALE(1),
              EXPERTS(ROUTED_EXPERTS, 128), WIDTH("moe_intermediate_size", 1280),
              HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), FIRST_DENSE(0)},
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

#define SARVAM_EXPERTS "n_routed_experts num_experts num_local_experts"
#define SARVAM_SHARED [SETTING_SHARED] = NULLABLE("n_shared_experts num_shared_experts", 1)

// transformers has no classes of its own for these two: it runs and saves them as the last of each row's architectures.
const ImportFamily family_sarvam_moe = {
    .name = "Sarvam-MoE",
    .model_types = "sarvam_moe",
    .architectures = "SarvamMoEForCausalLM Glm4MoeForCausalLM",
    .aliases = "num_local_experts num_experts num_shared_experts",
    .rules = {SIZES(4096, 19), RMS(1e-6), OUTER, NOAUX_SCORES, DEEPSEEK_GROUPS(1, 1), TOP_K(6), NORM_TOPK(1, 1e-20), SCALE(2.5),
              EXPERTS(SARVAM_EXPERTS, 128), WIDTH("moe_intermediate_size", 1024), HIDDEN_ACT, SARVAM_SHARED, FIRST_DENSE(1)},
    MLP,
    .tensors = {DEEPSEEK_TENSORS, CORRECTION("@gate.expert_bias")},
};

const ImportFamily family_sarvam_mla = {
    .name = "Sarvam-MLA",
    .model_types = "sarvam_mla",
    .architectures = "SarvamMLAForCausalLM DeepseekV3ForCausalLM",
    .aliases = "num_local_experts num_experts num_shared_experts",
    .rules = {SIZES(4096, 32), RMS(1e-6), OUTER, NOAUX_SCORES, DEEPSEEK_GROUPS(1, 1), TOP_K(8), NORM_TOPK(1, 1e-20), SCALE(2.5),
              EXPERTS(SARVAM_EXPERTS, 128), WIDTH("moe_intermediate_size", 2048), HIDDEN_ACT, SARVAM_SHARED, FIRST_DENSE(1)},
    NOAUX_TC,
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
};

// Several shared experts of a width of their own are one that is as wide as all.
static bool adjust_dots3(const ImportConfig *config, ImportValue *values) {
    const json_t *count = import_config_get(config, "n_shared_experts", NULL);
    if (json_is_integer(count)) {
        values[SETTING_SHARED_WIDTH].number *= (double)json_integer_value(count);
    }
    return true;
}

const ImportFamily family_dots3_note = {
    .name = "dots 3 Note",
    .model_types = "dots3_note dots3_note_text",
    .architectures = "Dots3NoteForConditionalGeneration Dots3NoteForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(5120, 46), RMS(1e-5), OUTER, NOAUX_SCORES, DEEPSEEK_GROUPS(1, 1), TOP_K(8), NORM_TOPK(1, 1e-20), SCALE(1),
              EXPERTS(ROUTED_EXPERTS, 256), WIDTH("moe_intermediate_size", 1536),
              HIDDEN_ACT, [SETTING_SHARED] = KEY("n_shared_experts", 1),
              [SETTING_SHARED_WIDTH] = KEY("moe_shared_expert_intermediate_size shared_experts_intermediate_size", 1536),
              FIRST_DENSE(1)},
    .types = "mlp_layer_types moe_layer_freq",
    NOAUX_TC,
    .nested_prefix = "model.",
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION},
    .adjust = adjust_dots3,
};

const ImportFamily family_axk1 = {
    .name = "A.X-K1",
    .model_types = "axk1",
    .architectures = "AXK1ForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(7168, 61), RMS(1e-6), RMS_AFTER(1e-6), OUTER, NOAUX_SCORES, DEEPSEEK_GROUPS(8, 4), TOP_K(8),
              NORM_TOPK(1, 1e-20), SCALE(2.5), EXPERTS(ROUTED_EXPERTS, 192), WIDTH("moe_intermediate_size", 2048),
              HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), FIRST_DENSE(1), FREQUENCY},
    .types = "mlp_layer_types",
    NOAUX_TC,
    MLP,
    .tensors = {DEEPSEEK_TENSORS, DEEPSEEK_CORRECTION, NORM_AFTER("post_mlp_layernorm")},
};

const ImportFamily family_axk2 = {
    .name = "A.X-K2",
    .model_types = "axk2",
    .architectures = "AXK2ForCausalLM",
    .aliases = "num_local_experts",
    .rules = {SIZES(2048, 48), NOAUX_SCORES, [SETTING_GROUPS] = OPTIONAL("n_group"), [SETTING_TOP_GROUPS] = OPTIONAL("topk_group"),
              [SETTING_GROUP_SCORE] = WORD("top2_sum"), [SETTING_GROUP_MASK] = WORD("zero"), TOP_K(8), NORM_TOPK(1, 1e-20),
              SCALE(2.5), EXPERTS(ROUTED_EXPERTS, 128), WIDTH("moe_intermediate_size", 512),
              HIDDEN_ACT, [SETTING_SHARED] = NULLABLE("n_shared_experts", 1), FIRST_DENSE(1)},
    .types = "mlp_layer_types moe_layer_freq",
    NOAUX_TC,
    MLP,
    .tensors = {ROUTER("@gate"), SHARED("@shared_experts"), DEEPSEEK_CORRECTION},
    .remark = BLOCK_ALONE "the model's norm before them has a gate of low rank",
};
