"""The model families of the golden data: the class, the configuration and where the sparse layers are.

Values differ from the configurations' defaults wherever a family has a choice (dense layers, scales, norms of weights), so that
an importer that overlooks a key computes something else. Sizes are no multiples of vector lengths, except for gpt_oss_mxfp4,
whose format stores blocks of 32.
"""
import dataclasses


@dataclasses.dataclass
class Family:
    architecture: str                        # class in transformers
    config: dict                             # arguments of its configuration
    settings: str = ""                       # class of its configuration, if not the model's own
    norm: str = "post_attention_layernorm"   # module of a layer before the sparse block
    block: str = "mlp"                       # the sparse block
    dtype: str = "float32"                   # on disk
    shards: int = 1
    seed: int = 1
    stacks: tuple = (("layers", "model.layers", ""),)  # (prefix in io, list of layers, the layer's part with norm and block)
    shared: str = ""                         # shared experts beside the block
    factor: float = 1                        # what the model multiplies its routed experts' sum by, after their weights
    residual: str = "layer"                  # what layer_out is: the decoder layer's output, or block_out with or without layer_in
    mxfp4: bool = False                      # experts are stored as blocks and scales
    fp8: str = ""                            # matrices whose names match are stored as F8_E4M3 with a scale for 128 x 128 elements
    scales: str = "float32"                  # dtype of these scales on disk
    quantisation: dict = dataclasses.field(default_factory=dict)  # what quantization_config says beside the common keys of fp8


def attention(hidden, layers, heads=4, **more):
    """What every decoder wants and no sparse layer needs."""
    return {"vocab_size": 48, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
            "eos_token_id": 2, **more}


def latent_attention(hidden, layers):
    """Multi-head latent attention: DeepSeek's and LongCat's."""
    return attention(hidden, layers, num_key_value_heads=4, q_lora_rank=12, kv_lora_rank=12, qk_nope_head_dim=8,
                     qk_rope_head_dim=4, v_head_dim=8)


FAMILIES = {
    "mixtral": Family("MixtralForCausalLM", dtype="bfloat16", config=attention(
        44, 2, heads=2, head_dim=8, intermediate_size=28, num_local_experts=6, num_experts_per_tok=2)),
    "olmoe": Family("OlmoeForCausalLM", dtype="float16", config=attention(
        40, 2, intermediate_size=20, num_experts=10, num_experts_per_tok=3, norm_topk_prob=True)),
    "qwen2_moe": Family("Qwen2MoeForCausalLM", config=attention(
        44, 2, heads=2, intermediate_size=30, moe_intermediate_size=20, shared_expert_intermediate_size=26, num_experts=9,
        num_experts_per_tok=3, norm_topk_prob=True, decoder_sparse_step=2)),
    "qwen3_moe": Family("Qwen3MoeForCausalLM", shards=2, config=attention(
        44, 3, head_dim=8, intermediate_size=30, moe_intermediate_size=20, num_experts=6, num_experts_per_tok=3,
        norm_topk_prob=False, mlp_only_layers=[1])),
    "deepseek_v2": Family("DeepseekV2ForCausalLM", config={**latent_attention(40, 2), **dict(
        intermediate_size=30, moe_intermediate_size=20, n_routed_experts=12, n_shared_experts=2, num_experts_per_tok=4,
        topk_method="group_limited_greedy", n_group=4, topk_group=2, routed_scaling_factor=1.7, first_k_dense_replace=1,
        rms_norm_eps=1e-3)}),
    "deepseek_v3": Family("DeepseekV3ForCausalLM", dtype="bfloat16", config={**latent_attention(44, 3), **dict(
        intermediate_size=30, moe_intermediate_size=20, n_routed_experts=9, n_shared_experts=1, num_experts_per_tok=3,
        n_group=3, topk_group=2, routed_scaling_factor=1.3, norm_topk_prob=True, first_k_dense_replace=1)}),
    "gpt_oss": Family("GptOssForCausalLM", config=attention(
        44, 2, head_dim=8, intermediate_size=20, num_local_experts=5, num_experts_per_tok=3, swiglu_alpha=1.5, swiglu_limit=1.5,
        sliding_window=16, rms_norm_eps=1e-3)),
    "minimax": Family("MiniMaxForCausalLM", config=attention(
        40, 2, head_dim=8, intermediate_size=20, num_local_experts=6, num_experts_per_tok=2, block_size=16,
        mlp_alpha_factor=1.6, mlp_beta_factor=0.7, full_attn_alpha_factor=1.2, linear_attn_beta_factor=0.9)),
    "minimax_m2": Family("MiniMaxM2ForCausalLM", config=attention(
        40, 1, head_dim=8, intermediate_size=20, num_local_experts=8, num_experts_per_tok=3)),
    "qwen3_next": Family("Qwen3NextForCausalLM", config=attention(
        40, 2, head_dim=8, intermediate_size=30, moe_intermediate_size=20, shared_expert_intermediate_size=24, num_experts=8,
        num_experts_per_tok=3, norm_topk_prob=False, mlp_only_layers=[0], layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8)),
    "glm4_moe": Family("Glm4MoeForCausalLM", config=attention(
        44, 2, head_dim=8, intermediate_size=30, moe_intermediate_size=20, n_routed_experts=8, n_shared_experts=2,
        num_experts_per_tok=3, routed_scaling_factor=1.9, norm_topk_prob=False, first_k_dense_replace=1,
        rms_norm_eps=1e-3)),
    "dots1": Family("Dots1ForCausalLM", seed=2, config=attention(
        40, 2, head_dim=8, intermediate_size=30, moe_intermediate_size=20, n_routed_experts=10, n_shared_experts=1,
        num_experts_per_tok=3, n_group=2, topk_group=1, routed_scaling_factor=2.2, norm_topk_prob=True,
        first_k_dense_replace=1)),
    "ernie4_5_moe": Family("Ernie4_5_MoeForCausalLM", config=attention(
        40, 4, intermediate_size=30, moe_intermediate_size=20, moe_num_experts=8, moe_k=3, moe_num_shared_experts=2,
        moe_layer_start_index=1, moe_layer_end_index=2, moe_layer_interval=2, moe_norm_min=0.6)),
    "gpt_oss_mxfp4": Family("GptOssForCausalLM", dtype="bfloat16", mxfp4=True, config=attention(
        64, 2, head_dim=8, intermediate_size=32, num_local_experts=6, num_experts_per_tok=2)),
    "deepseek_v3_fp8": Family(
        "DeepseekV3ForCausalLM", dtype="bfloat16", fp8="experts", quantisation={"fmt": "e4m3"}, config={
            **latent_attention(160, 2), **dict(
                intermediate_size=30, moe_intermediate_size=96, n_routed_experts=6, n_shared_experts=2, num_experts_per_tok=3,
                n_group=2, topk_group=1, routed_scaling_factor=1.3, norm_topk_prob=True, first_k_dense_replace=1)}),
    "deepseek_v3_fp8_shared_bf16": Family(
        "DeepseekV3ForCausalLM", dtype="bfloat16", fp8=r"\.experts", quantisation={
            "fmt": "e4m3", "modules_to_not_convert": ["lm_head", "model.layers.1.mlp.gate", "model.layers.1.mlp.shared_experts"]},
        config={**latent_attention(192, 2), **dict(
            intermediate_size=30, moe_intermediate_size=72, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2,
            n_group=1, topk_group=1, routed_scaling_factor=0.8, norm_topk_prob=True, first_k_dense_replace=1)}),
    "qwen3_moe_fp8": Family(
        "Qwen3MoeForCausalLM", dtype="bfloat16", shards=2, fp8="experts", quantisation={
            "fmt": "e4m3", "modules_to_not_convert": ["lm_head", "model.layers.0.input_layernorm", "model.layers.0.mlp.gate",
                                                      "model.layers.0.post_attention_layernorm"]}, config=attention(
            288, 1, head_dim=8, intermediate_size=30, moe_intermediate_size=144, num_experts=4, num_experts_per_tok=2,
            norm_topk_prob=True)),
    "qwen3_moe_fp8_e8m0": Family(
        "Qwen3MoeForCausalLM", dtype="bfloat16", fp8="experts", scales="float8_e8m0fnu", quantisation={
            "scale_fmt": "ue8m0"}, config=attention(
            256, 1, head_dim=8, intermediate_size=30, moe_intermediate_size=128, num_experts=4, num_experts_per_tok=2,
            norm_topk_prob=False)),
    "minimax_m2_fp8": Family(
        "MiniMaxM2ForCausalLM", dtype="bfloat16", fp8="experts", quantisation={
            "fmt": "float8_e4m3fn", "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"]}, config=attention(
            136, 1, head_dim=8, intermediate_size=140, num_local_experts=5, num_experts_per_tok=2)),
    "llama4": Family("Llama4ForCausalLM", block="feed_forward", config=attention(
        44, 3, head_dim=8, intermediate_size=20, intermediate_size_mlp=30, num_local_experts=7, interleave_moe_layer_step=2)),
    "phimoe": Family("PhimoeForCausalLM", config=attention(
        40, 1, intermediate_size=24, num_local_experts=8, router_jitter_noise=0.15)),
    "granitemoe": Family("GraniteMoeForCausalLM", block="block_sparse_moe", config=attention(
        44, 1, heads=2, intermediate_size=20, num_local_experts=8, num_experts_per_tok=3, residual_multiplier=0.6)),
    "granitemoeshared": Family(
        "GraniteMoeSharedForCausalLM", block="block_sparse_moe", shared="shared_mlp", config=attention(
            40, 1, intermediate_size=20, num_local_experts=7, num_experts_per_tok=2, residual_multiplier=0.8,
            shared_intermediate_size=28)),
    "jamba": Family("JambaForCausalLM", seed=2, norm="pre_ff_layernorm", block="feed_forward", config=attention(
        40, 4, intermediate_size=20, num_experts=7, num_experts_per_tok=3, expert_layer_period=3, expert_layer_offset=2,
        attn_layer_period=2, attn_layer_offset=1, mamba_d_state=4, rms_norm_eps=1e-3)),
    "dbrx": Family(
        "DbrxForCausalLM", seed=2, norm="norm_attn_norm.norm_2", block="ffn",
        stacks=(("layers", "transformer.blocks", ""),), config=dict(
            vocab_size=48, d_model=40, n_heads=4, n_layers=1, max_seq_len=64,
            attn_config=dict(kv_n_heads=2, clip_qkv=8, rope_theta=10000.0),
            ffn_config=dict(ffn_hidden_size=20, moe_num_experts=8, moe_top_k=3, moe_normalize_expert_weights=2.0,
                            ffn_act_fn={"name": "gelu"}))),
    "hunyuan_v1_moe": Family("HunYuanMoEV1ForCausalLM", config=attention(
        40, 2, head_dim=8, intermediate_size=20, num_experts=5, moe_topk=[2, 3])),
    "lfm2_moe": Family("Lfm2MoeForCausalLM", norm="ffn_norm", block="feed_forward", config=attention(
        40, 2, intermediate_size=30, moe_intermediate_size=20, num_experts=8, num_experts_per_tok=3, num_dense_layers=1,
        routed_scaling_factor=1.4, norm_topk_prob=True, use_expert_bias=True, norm_eps=1e-3,
        layer_types=["conv", "full_attention"])),
    # The block's output is added two sublayers later: as a layer of its own it has no residual.
    "longcat_flash": Family("LongcatFlashForCausalLM", seed=2, norm="post_attention_layernorm.0", residual="block", config={
        **latent_attention(40, 2), **dict(
            num_layers=1, head_dim=4, ffn_hidden_size=30, expert_ffn_hidden_size=20, n_routed_experts=8, zero_expert_num=4,
            moe_topk=4, routed_scaling_factor=2.5)}),
    # Encoder and decoder each have sparse blocks; recorded as encoder.layers.N and decoder.layers.N, N a block's number.
    "switch_transformers": Family(
        "SwitchTransformersForConditionalGeneration", norm="layer_norm",
        stacks=(("encoder.layers", "encoder.block", "layer.1"), ("decoder.layers", "decoder.block", "layer.2")), config=dict(
            vocab_size=48, d_model=40, d_kv=8, d_ff=20, num_heads=4, num_layers=2, num_decoder_layers=3, num_experts=7,
            num_sparse_encoder_layers=1, num_sparse_decoder_layers=1, layer_norm_epsilon=1e-3,
            decoder_start_token_id=0)),
    # Attention and block read the same norm and are both added to the residual; as a layer of its own: layer_in + block.
    "cohere2_moe": Family("Cohere2MoeForCausalLM", norm="input_layernorm", residual="layer_in + block", config=attention(
        40, 2, head_dim=8, intermediate_size=20, num_experts=7, num_experts_per_tok=3, num_shared_experts=2,
        expert_selection_fn="sigmoid", norm_topk_prob=True, first_k_dense_replace=1, prefix_dense_intermediate_size=30,
        sliding_window=16, layer_norm_eps=1e-3)),
    # --- transformers 5.24 ---
    "bailing_hybrid": Family("BailingHybridForCausalLM", config={**latent_attention(36, 2), **dict(
        head_dim=8, intermediate_size=28, moe_intermediate_size=12, num_local_experts=8, n_shared_experts=2, num_experts_per_tok=3,
        n_group=4, topk_group=2, routed_scaling_factor=1.6, norm_topk_prob=False, first_k_dense_replace=1, layer_group_size=2,
        rms_norm_eps=1e-3)}),
    "exaone_moe": Family("ExaoneMoeForCausalLM", dtype="bfloat16", config=attention(
        36, 3, head_dim=8, intermediate_size=28, moe_intermediate_size=12, num_experts=6, num_shared_experts=2,
        num_experts_per_tok=3, n_group=2, topk_group=1, routed_scaling_factor=1.7, mlp_layer_types=["sparse", "dense", "sparse"],
        sliding_window=16)),
    "glm4_moe_lite": Family("Glm4MoeLiteForCausalLM", config={**latent_attention(36, 3), **dict(
        intermediate_size=28, moe_intermediate_size=12, n_routed_experts=6, n_shared_experts=1, num_experts_per_tok=2,
        routed_scaling_factor=1.4, mlp_layer_types=["dense", "dense", "sparse"])}),
    "glm_moe_dsa": Family("GlmMoeDsaForCausalLM", config={**latent_attention(36, 2), **dict(
        intermediate_size=28, moe_intermediate_size=12, n_routed_experts=9, n_shared_experts=1, num_experts_per_tok=2, n_group=3,
        topk_group=2, routed_scaling_factor=1.8, index_topk=32, index_n_heads=2, index_head_dim=8,
        mlp_layer_types=["sparse", "dense"])}),
    "deepseek_v32": Family("DeepseekV32ForCausalLM", seed=2, config={**latent_attention(36, 2), **dict(
        intermediate_size=28, moe_intermediate_size=12, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3, n_group=4,
        topk_group=3, routed_scaling_factor=1.5, index_topk=32, index_n_heads=2, index_head_dim=8,
        mlp_layer_types=["sparse", "dense"])}),
    "hy_v3": Family("HYV3ForCausalLM", seed=2, config=attention(
        36, 2, head_dim=8, intermediate_size=28, moe_intermediate_size=12, num_experts=7, num_shared_experts=2,
        num_experts_per_tok=3, router_scaling_factor=1.9)),
    "kimi_linear": Family("KimiLinearForCausalLM", config={**latent_attention(36, 3), **dict(
        head_dim=8, intermediate_size=28, moe_intermediate_size=12, num_local_experts=7, n_shared_experts=1, num_experts_per_tok=3,
        routed_scaling_factor=1.3, linear_num_heads=2, linear_head_dim=8, layer_types=["linear_attention", "full_attention",
        "linear_attention"], mlp_layer_types=["dense", "sparse", "dense"])}),
    "mimo_v2_flash": Family("MiMoV2FlashForCausalLM", config=attention(
        36, 2, head_dim=8, v_head_dim=8, intermediate_size=28, moe_intermediate_size=16, n_routed_experts=8, num_experts_per_tok=3,
        n_group=2, topk_group=1, routed_scaling_factor=0.7, norm_topk_prob=False, sliding_window=16)),
    "solar_open": Family("SolarOpenForCausalLM", config=attention(
        36, 1, head_dim=8, moe_intermediate_size=16, n_routed_experts=7, n_shared_experts=2, num_experts_per_tok=2,
        routed_scaling_factor=1.2)),
    "sarvam_moe": Family("Glm4MoeForCausalLM", settings="SarvamMoEConfig", config=attention(
        36, 2, head_dim=8, intermediate_size=28, moe_intermediate_size=12, n_routed_experts=6, n_shared_experts=2,
        num_experts_per_tok=3, n_group=3, topk_group=2, routed_scaling_factor=1.7)),
    "sarvam_mla": Family("DeepseekV3ForCausalLM", settings="SarvamMLAConfig", config={**latent_attention(36, 2), **dict(
        intermediate_size=28, moe_intermediate_size=12, n_routed_experts=6, n_shared_experts=1, num_experts_per_tok=3,
        routed_scaling_factor=0.9)}),
    "mistral4": Family("Mistral4ForCausalLM", config={**latent_attention(36, 2), **dict(
        intermediate_size=28, moe_intermediate_size=12, n_routed_experts=8, n_shared_experts=2, num_experts_per_tok=3, n_group=4,
        topk_group=2, routed_scaling_factor=1.6, norm_topk_prob=True, first_k_dense_replace=1)}),
    "flint": Family("FlintForCausalLM", config=attention(
        36, 3, head_dim=8, intermediate_size=28, moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=7,
        num_experts_per_tok=3, norm_topk_prob=False, sliding_window=16)),
    "lara_mini": Family("LaraMiniForCausalLM", config=attention(
        36, 1, head_dim=8, moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=7, num_experts_per_tok=3,
        norm_topk_prob=False, sliding_window=16, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8,
        linear_value_head_dim=8)),
    "laguna": Family("LagunaForCausalLM", factor=1.4, config=attention(
        36, 2, head_dim=8, intermediate_size=28, moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=7,
        num_experts_per_tok=3, moe_routed_scaling_factor=1.4, moe_router_logit_softcapping=2.5, sliding_window=16)),
    "mellum": Family("MellumForCausalLM", config=attention(
        36, 2, head_dim=8, intermediate_size=28, moe_intermediate_size=16, num_experts=7, num_experts_per_tok=3,
        norm_topk_prob=False, mlp_layer_types=["sparse", "dense"], sliding_window=16)),
    "granitemoehybrid": Family(
        "GraniteMoeHybridForCausalLM", dtype="bfloat16", block="block_sparse_moe", shared="shared_mlp", config=attention(
            36, 2, intermediate_size=12, num_local_experts=7, num_experts_per_tok=3, shared_intermediate_size=20,
            residual_multiplier=0.7, layer_types=["linear_attention", "full_attention"], mamba_n_heads=2, mamba_d_state=8,
            mamba_d_head=36, mamba_expand=2)),
    "granitemoe_swa": Family(
        "GraniteMoeSWAForCausalLM", block="block_sparse_moe", shared="shared_mlp", config=attention(
            36, 1, heads=2, intermediate_size=12, num_local_experts=7, num_experts_per_tok=3, shared_intermediate_size=20,
            residual_multiplier=0.7, sliding_window=16)),
    "openai_privacy_filter": Family("OpenAIPrivacyFilterForTokenClassification", factor=3, config=attention(
        36, 1, head_dim=8, intermediate_size=12, num_local_experts=6, num_experts_per_tok=3, swiglu_alpha=1.5, swiglu_limit=1.5,
        sliding_window=16)),
    "cohere2_moe_softmax": Family("Cohere2MoeForCausalLM", norm="input_layernorm", residual="layer_in + block", config=attention(
        36, 2, head_dim=8, intermediate_size=12, num_experts=7, num_experts_per_tok=3, num_shared_experts=1,
        shared_expert_combination_strategy="sum", norm_topk_prob=False, rms_norm_eps=1e-3, sliding_window=16,
        mlp_layer_types=["sparse", "dense"], prefix_dense_intermediate_size=28)),
}
