#!/usr/bin/env python3
"""Writes tests/data/import/defaults.json: what the configuration classes of transformers 5.24 make of an empty configuration.

    tests/import_defaults.py > tests/data/import/defaults.json      (pip install transformers==5.24.0 torch)

One object per model type that `catena import` takes from transformers: `given` are the keys that the class needs, `full` the keys
of its defaults that import reads. tests/test_import.c imports both and wants the same description.
"""
import json
import pathlib
import re

from transformers import CONFIG_MAPPING

NEEDED = {
    "deepseek_v2": {"num_experts_per_tok": 6},
    "deepseek_ocr2_text": {"num_experts_per_tok": 6},
    "dots1": {"num_experts_per_tok": 6, "n_routed_experts": 128, "n_shared_experts": 2},
}
TYPES = (
    "mixtral minimax minimax_m2 olmoe qwen2_moe qwen3_moe qwen3_vl_moe_text qwen3_next qwen3_5_moe_text deepseek_v2 deepseek_v3"
    " glm4_moe dots1 ernie4_5_moe gpt_oss llama4_text phimoe granitemoe granitemoeshared jamba dbrx hunyuan_v1_moe lfm2_moe"
    " longcat_flash switch_transformers cohere2_moe bailing_hybrid kimi_linear exaone_moe hy_v3 mimo_v2_flash solar_open sarvam_moe"
    " sarvam_mla deepseek_v32 glm4_moe_lite glm_moe_dsa mistral4 flint lara_mini laguna mellum granitemoehybrid granitemoe_swa"
    " openai_privacy_filter aria_text glm4v_moe_text glm5_next_text mistral_large4_text dots3_note_text axk2 deepseek_ocr2_text"
    " unlimited_ocr_text deepseek_v4 qwen3_omni_moe_text qwen4_exp_text minimax_m3_vl_text nllb-moe axk1 afmoe kolibri1 flex_olmo"
    " step3p5 hy_v4 inkling2_text beam jetmoe ernie4_5_vl_moe_text inkling_text nemotron_h"
)
rows = "".join(file.read_text() for file in (pathlib.Path(__file__).parent.parent / "compiler/import/families").glob("*.[ch]"))
READ = {word.split(".")[0] for text in re.findall(r'"([a-z0-9_. ]+)"', rows) for word in text.split()}
READ -= {"layer_types"}  # of most families it says what attention a layer has


def main():
    cases = []
    for model_type in TYPES.split():
        given = NEEDED.get(model_type, {})
        full = CONFIG_MAPPING[model_type](**given).to_dict()
        full = {key: value for key, value in sorted(full.items()) if key in READ}
        cases.append({"model_type": model_type, "given": given, "full": full})
    print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")


if __name__ == "__main__":
    main()
