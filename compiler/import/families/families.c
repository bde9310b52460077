// The list of all models that import knows, and the layouts that several of them have.
#include "row.h"

const ImportLayout layout_projections = {ONE_BY_ONE("gate_proj", "up_proj", "down_proj")};
const ImportLayout layout_numbered = {ONE_BY_ONE("w1", "w3", "w2")};
const ImportLayout layout_stacked = {STACKED(ORDER_OUT_IN)};
const ImportLayout layout_stacked_in_out = {STACKED(ORDER_IN_OUT)};

// X(family): a row named family_FAMILY in one of the files of this folder.
#define FAMILY_LIST(X) \
    X(coe) \
    X(remoe) \
    X(da_moe) \
    X(mixtral) \
    X(minimax) \
    X(minimax_m2) \
    X(olmoe) \
    X(qwen2_moe) \
    X(qwen3_moe) \
    X(qwen3_vl_moe) \
    X(qwen3_next) \
    X(qwen3_5_moe) \
    X(deepseek_v2) \
    X(deepseek_v3) \
    X(glm4_moe) \
    X(dots1) \
    X(ernie4_5_moe) \
    X(ernie4_5_vl_moe) \
    X(gpt_oss) \
    X(llama4) \
    X(phimoe) \
    X(granitemoe) \
    X(granitemoeshared) \
    X(jamba) \
    X(dbrx) \
    X(hunyuan) \
    X(lfm2_moe) \
    X(longcat_flash) \
    X(bailing_hybrid) \
    X(kimi_linear) \
    X(exaone_moe) \
    X(hy_v3) \
    X(mimo_v2_flash) \
    X(solar_open) \
    X(sarvam_moe) \
    X(sarvam_mla) \
    X(glm4_moe_lite) \
    X(glm_moe_dsa) \
    X(mistral4) \
    X(flint) \
    X(lara_mini) \
    X(laguna) \
    X(mellum) \
    X(granitemoehybrid) \
    X(granitemoe_swa) \
    X(openai_privacy_filter) \
    X(glm4v_moe) \
    X(glm5_next) \
    X(mistral_large4) \
    X(dots3_note) \
    X(axk1) \
    X(axk2) \
    X(afmoe) \
    X(kolibri1) \
    X(flex_olmo) \
    X(beam) \
    X(jetmoe) \
    X(step3p7) \
    X(hy_v4) \
    X(inkling) \
    X(inkling2) \
    X(nemotron_h) \
    X(deepseek_ocr2) \
    X(unlimited_ocr) \
    X(deepseek_v4) \
    X(qwen3_omni_moe) \
    X(qwen4_exp) \
    X(minimax_m3_vl) \
    X(aria) \
    X(nllb_encoder) \
    X(switch_encoder) \
    X(cohere2_moe)

#define FAMILY_DECLARATION(name) extern const ImportFamily family_##name;
FAMILY_LIST(FAMILY_DECLARATION)

#define FAMILY_ADDRESS(name) &family_##name,
const ImportFamily *const import_families[] = {FAMILY_LIST(FAMILY_ADDRESS) NULL};
