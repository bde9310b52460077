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
    disk: str = ""                           # the list of layers on disk, if that has another name there
    experts: str = "experts"                 # the experts within the block; "": they stand in the block itself (jetmoe)
    names: str = ""                          # what a layer's tensors begin with there, as alternatives of a pattern
    called: str = ""                         # the module that is run, if not the model
    in_out: bool = False                     # stacked experts are written [in, out]
    shared: str = ""                         # shared experts beside the block
    factor: float = 1                        # what the model multiplies its routed experts' sum by, after their weights
    residual: str = "layer"                  # what layer_out is: the decoder layer's output, or block_out with or without layer_in;
                                             # "block alone": layer_in is block_in too
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


def nemotron(hidden, layers, **more):
    """Mamba, attention, networks and experts in any order."""
    common = attention(hidden, len(layers), head_dim=8, intermediate_size=28, ssm_state_size=4, mamba_num_heads=4, mamba_head_dim=8,
                       n_groups=2, chunk_size=8, n_routed_experts=8, moe_intermediate_size=12,
                       moe_shared_expert_intermediate_size=20, num_experts_per_tok=3)
    del common["num_hidden_layers"]
    return {**common, "layers_block_type": layers, **more}


LANGUAGE = (("layers", "model.language_model.layers", ""),)
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
QWEN_VISION = dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=36, patch_size=14)
PIXTRAL = dict(model_type="pixtral", hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
               image_size=28, patch_size=14)
SAM = dict(hidden_size=16, output_channels=8, num_hidden_layers=1, num_attention_heads=2, image_size=64, window_size=2,
           global_attn_indexes=[0], downsample_channels=[8, 16])

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
    "jetmoe": Family("JetMoeForCausalLM", experts="", config=attention(
        36, 2, heads=6, kv_channels=8, intermediate_size=20, num_local_experts=7, num_experts_per_tok=3, rms_norm_eps=1e-3)),
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
    # Multimodal models: the text model's layers, under the names that the whole model has on disk.
    "aria": Family("AriaForConditionalGeneration", stacks=LANGUAGE, disk="language_model.model.layers", config=dict(
        text_config=attention(36, 1, heads=2, intermediate_size=12, moe_num_experts=7, moe_topk=3, moe_num_shared_experts=2),
        vision_config=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28,
                           patch_size=14), projector_patch_to_query_dict={"4": 2})),
    "glm4v_moe": Family("Glm4vMoeForConditionalGeneration", stacks=LANGUAGE, config=dict(
        text_config=attention(36, 2, head_dim=16, intermediate_size=28, moe_intermediate_size=12, n_routed_experts=6,
                              n_shared_experts=2, num_experts_per_tok=3, n_group=2, topk_group=1, routed_scaling_factor=1.3,
                              norm_topk_prob=False, first_k_dense_replace=1, rope_parameters=MROPE),
        vision_config=dict(QWEN_VISION, image_size=28))),
    "qwen3_5_moe": Family("Qwen3_5MoeForConditionalGeneration", stacks=LANGUAGE, config=dict(
        text_config=attention(36, 1, head_dim=8, moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=7,
                              num_experts_per_tok=3, layer_types=["full_attention"], rope_parameters=MROPE),
        vision_config=QWEN_VISION)),
    "qwen3_5_moe_text": Family("Qwen3_5MoeForCausalLM", dtype="bfloat16", config=attention(
        36, 1, head_dim=8, moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=6, num_experts_per_tok=2,
        layer_types=["full_attention"], rope_parameters=MROPE)),
    "qwen3_vl_moe": Family("Qwen3VLMoeForConditionalGeneration", stacks=LANGUAGE, in_out=True, config=dict(
        text_config=attention(36, 2, head_dim=8, intermediate_size=28, moe_intermediate_size=12, num_experts=7,
                              num_experts_per_tok=3, mlp_only_layers=[0], rope_parameters=MROPE),
        vision_config=dict(QWEN_VISION, deepstack_visual_indexes=[0]))),
    # As transformers 5 saves it: the other order under the same names.
    "qwen3_vl_moe_resaved": Family("Qwen3VLMoeForConditionalGeneration", stacks=LANGUAGE, config=dict(
        text_config=attention(36, 2, head_dim=8, intermediate_size=28, moe_intermediate_size=14, num_experts=6,
                              num_experts_per_tok=2, decoder_sparse_step=2, rope_parameters=MROPE),
        vision_config=dict(QWEN_VISION, deepstack_visual_indexes=[0]))),
    "qwen3_omni_moe": Family("Qwen3OmniMoeForConditionalGeneration", called="thinker", disk="thinker.model.layers",
                             stacks=(("layers", "thinker.model.language_model.layers", ""),),
                             config=dict(enable_audio_output=False, thinker_config=dict(
        text_config=attention(36, 2, head_dim=8, intermediate_size=28, moe_intermediate_size=12, num_experts=7,
                              num_experts_per_tok=3, norm_topk_prob=False, mlp_only_layers=[1], rope_parameters=MROPE),
        vision_config=dict(QWEN_VISION, deepstack_visual_indexes=[0]),
        audio_config=dict(d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16, output_dim=36,
                          num_mel_bins=16, downsample_hidden_size=8)))),
    "minimax_m3_vl": Family("MiniMaxM3SparseForConditionalGeneration", stacks=LANGUAGE, factor=1.4,
                            disk="language_model.model.layers", config=dict(
        text_config=attention(36, 2, head_dim=8, intermediate_size=12, shared_intermediate_size=20, dense_intermediate_size=28,
                              num_local_experts=7, num_experts_per_tok=3, routed_scaling_factor=1.4, swiglu_alpha=1.5,
                              swiglu_limit=1.2, rotary_dim=4, mlp_layer_types=["sparse", "dense"]),
        vision_config=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28),
        projector_hidden_size=36)),
    "mistral4_nested": Family("Mistral3ForConditionalGeneration", stacks=LANGUAGE, disk="language_model.model.layers",
                              dtype="bfloat16", config=dict(
        text_config=dict(latent_attention(36, 1), model_type="mistral4", intermediate_size=28, moe_intermediate_size=12,
                         n_routed_experts=7, n_shared_experts=1, num_experts_per_tok=2, routed_scaling_factor=0.8,
                         norm_topk_prob=False),
        vision_config=PIXTRAL)),
    "mistral_large4": Family("MistralLarge4ForConditionalGeneration", stacks=LANGUAGE, disk="layers",
                             names="gate|experts|shared_experts|ffn_norm", config=dict(
        text_config=dict(latent_attention(36, 2), intermediate_size=28, moe_intermediate_size=12, n_routed_experts=8,
                         n_shared_experts=2, num_experts_per_tok=3, n_group=4, topk_group=2, routed_scaling_factor=1.7,
                         index_topk=32, index_n_heads=2, index_head_dim=8, mlp_layer_types=["sparse", "dense"]),
        vision_config=PIXTRAL)),
    "ernie4_5_vl_moe": Family(
        "Ernie4_5_VLMoeForConditionalGeneration", stacks=LANGUAGE, disk="model.layers", experts="text_moe.experts", config=dict(
            text_config=attention(36, 2, intermediate_size=28, moe_intermediate_size=[12, 8], moe_num_experts=7, moe_k=3,
                                  moe_num_shared_experts=2, moe_norm_min=0.5, use_bias=True, mlp_layer_types=["dense", "sparse"],
                                  head_dim=16, rope_parameters=dict(MROPE, mrope_section=[3, 3, 2])),
            vision_config=dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=2))),
    "dots3_note": Family("Dots3NoteForConditionalGeneration", stacks=LANGUAGE, disk="model.layers", config=dict(
        text_config=dict(latent_attention(36, 2), intermediate_size=28, moe_intermediate_size=12, n_routed_experts=8,
                         n_shared_experts=2, shared_experts_intermediate_size=10, num_experts_per_tok=3, n_group=2, topk_group=1,
                         routed_scaling_factor=1.6, index_topk=32, index_n_heads=2, index_head_dim=8,
                         mlp_layer_types=["sparse", "dense"]),
        vision_config=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                           mlp_layer_types=["dense"], adapter_in_dim=16, adapter_out_dim=36),
        audio_config=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, adapter_input_size=16,
                          downsample_hidden_size=8, feature_size=16, adapter_out_dim=36))),
    "deepseek_ocr2": Family("DeepseekOcr2ForConditionalGeneration", stacks=LANGUAGE, disk="model.layers", config=dict(
        text_config=attention(36, 2, heads=2, intermediate_size=28, moe_intermediate_size=12, n_routed_experts=8,
                              n_shared_experts=2, num_experts_per_tok=3, topk_method="group_limited_greedy", n_group=4,
                              topk_group=2,
                              routed_scaling_factor=1.4, mlp_layer_types=["dense", "sparse"]),
        vision_config=dict(sam_config=SAM, encoder_config=dict(
            vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2)))),
    "unlimited_ocr": Family("UnlimitedOcrForConditionalGeneration", stacks=LANGUAGE, disk="model.layers", config=dict(
        text_config=attention(36, 2, heads=2, intermediate_size=28, moe_intermediate_size=12, n_routed_experts=7,
                              n_shared_experts=1, num_experts_per_tok=2, routed_scaling_factor=0.6,
                              mlp_layer_types=["sparse", "dense"],
                              sliding_window=16),
        vision_config=dict(sam_config=dict(SAM, mlp_dim=16), encoder_config=dict(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28)))),
    # The block alone: what the model does around it is not the layer's.
    "deepseek_v4": Family("DeepseekV4ForCausalLM", residual="block alone", names="ffn", config=attention(
        36, 2, head_dim=8, num_key_value_heads=1, moe_intermediate_size=12, n_routed_experts=7, n_shared_experts=1,
        num_experts_per_tok=3, routed_scaling_factor=1.7, swiglu_limit=0.9, mlp_layer_types=["hash_moe", "moe"], q_lora_rank=12,
        o_lora_rank=8, o_groups=2, index_n_heads=2, index_head_dim=8, hc_mult=2, sliding_window=16,
        layer_types=["sliding_attention", "sliding_attention"])),
    "glm5_next": Family("Glm5NextForConditionalGeneration", stacks=LANGUAGE, residual="block alone", config=dict(
        text_config=dict(latent_attention(36, 2), intermediate_size=28, moe_intermediate_size=12, n_routed_experts=8,
                         n_shared_experts=2, num_experts_per_tok=3, n_group=2, topk_group=1, routed_scaling_factor=1.6,
                         norm_topk_prob=False, swiglu_limit=0.9, mlp_layer_types=["sparse", "dense"], hc_mult=2, qk_rope_head_dim=0,
                         linear_num_heads=2, linear_head_dim=8, layer_types=["linear_attention", "linear_attention"]),
        vision_config=dict(QWEN_VISION, image_size=28, projection_intermediate_size=16))),
    "qwen4_exp": Family("Qwen4ExpForConditionalGeneration", stacks=LANGUAGE, norm="", residual="block alone", config=dict(
        text_config=attention(36, 1, head_dim=8, moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=7,
                              num_experts_per_tok=3, norm_topk_prob=False, hc_count=2, hc_lowrank=4,
                              layer_types=["linear_attention"], linear_num_key_heads=2, linear_num_value_heads=4,
                              linear_key_head_dim=8, linear_value_head_dim=8, rope_parameters=MROPE),
        vision_config=QWEN_VISION)),
    "axk2": Family("AXK2ForCausalLM", residual="block alone", config={**latent_attention(36, 2), **dict(
        intermediate_size=28, moe_intermediate_size=12, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3, n_group=4,
        topk_group=2, routed_scaling_factor=1.5, index_topk=32, index_n_heads=2, index_head_dim=8, gated_norm_rank=4,
        mlp_layer_types=["sparse", "dense"])}),
    # A norm behind the block. That of flex_olmo is the only one: its block reads the residual itself.
    "afmoe": Family(
        "AfmoeForCausalLM", norm="pre_mlp_layernorm", names="mlp|pre_mlp_layernorm|post_mlp_layernorm", config=attention(
            36, 2, head_dim=8, intermediate_size=28, moe_intermediate_size=12, num_experts=7, num_shared_experts=2,
            num_experts_per_tok=3, route_scale=1.7, num_dense_layers=1, sliding_window=16, rms_norm_eps=1e-3)),
    "kolibri1": Family("Kolibri1ForCausalLM", names="mlp|moe|post_attention_layernorm|post_ffn_norm", config=attention(
        36, 1, head_dim=8, moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=7, num_experts_per_tok=3,
        sliding_window=16)),
    "flex_olmo": Family("FlexOlmoForCausalLM", norm="mlp", names="mlp|post_feedforward_layernorm", config=attention(
        36, 1, head_dim=8, intermediate_size=12, num_experts=7, num_experts_per_tok=3, rms_norm_eps=1e-3)),
    "beam": Family("BeamForCausalLM", norm="pre_feedforward_layernorm", factor=1.7,
                   names="mlp|pre_feedforward_layernorm|post_feedforward_layernorm", config=attention(
        36, 3, head_dim=8, intermediate_size=28, moe_intermediate_size=12, num_experts=8, num_experts_per_tok=3, n_group=4,
        topk_group=2, routed_scaling_factor=1.7, rms_norm_eps=1e-3, sliding_window=16,
        mlp_layer_types=["sparse", "dense", "sparse"])),
    "axk1": Family("AXK1ForCausalLM", names="mlp|post_attention_layernorm|post_mlp_layernorm", config={
        **latent_attention(36, 2), **dict(
            intermediate_size=28, moe_intermediate_size=12, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3,
            n_group=4, topk_group=2, routed_scaling_factor=1.5, rms_norm_eps=1e-3, mlp_layer_types=["sparse", "dense"])}),
    # Limits of each layer and of shared experts; soft caps.
    "step3p7": Family("Step3p7ForConditionalGeneration", stacks=LANGUAGE, factor=1.4, disk="model.layers",
                      names="moe|share_expert|post_attention_layernorm", config=dict(
        text_config=attention(36, 3, head_dim=8, intermediate_size=28, moe_intermediate_size=8, n_routed_experts=5,
                              share_expert_dim=12, num_experts_per_tok=2, sliding_window=16, moe_router_scaling_factor=1.4,
                              swiglu_limits=[0.0, 0.4, 0.4], swiglu_limits_shared=[None, 0.7, 0.0],
                              mlp_layer_types=["dense", "sparse", "sparse"]),
        vision_config=dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, mlp_ratio=1.0))),
    "hy_v4": Family("HYV4ForCausalLM", residual="block alone", names="mlp", config={**latent_attention(36, 2), **dict(
        intermediate_size=28, moe_intermediate_size=12, n_routed_experts=8, n_shared_experts=2, num_experts_per_tok=3, n_group=4,
        topk_group=2, routed_scaling_factor=1.6, norm_topk_prob=False, swiglu_limit=0.5, hc_mult=2, index_topk=32,
        index_n_heads=2, index_head_dim=8)}),
    "inkling2": Family("Inkling2ForConditionalGeneration", stacks=LANGUAGE, disk="model.llm.layers", residual="block alone",
                       config=dict(
        text_config=attention(36, 1, head_dim=8, unpadded_vocab_size=48, swa_num_attention_heads=4, swa_num_key_value_heads=2,
                              swa_head_dim=8, sliding_window_size=16, d_rel=4, rel_extent=32, moe_intermediate_size=12,
                              n_routed_experts=7, num_experts_per_tok=3, route_scale=1.7, mlp_gate_softcap=0.8,
                              mlp_up_softcap=1.1, n_layers_per_attn_res_block=1),
        vision_config=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                           projection_hidden_dim=16, text_hidden_size=36))),
    "inkling": Family("InklingForConditionalGeneration", stacks=LANGUAGE, disk="model.llm.layers", residual="block alone",
                      config=dict(
        text_config=attention(36, 2, head_dim=8, unpadded_vocab_size=48, swa_num_attention_heads=4, swa_num_key_value_heads=2,
                              swa_head_dim=8, sliding_window_size=16, d_rel=4, rel_extent=32, moe_intermediate_size=12,
                              intermediate_size=28, n_routed_experts=7, n_shared_experts=2, num_experts_per_tok=3, route_scale=1.7,
                              mlp_layer_types=["dense", "sparse"]),
        audio_config=dict(n_mel_bins=4, mel_vocab_size=8, text_hidden_size=36),
        vision_config=dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=8, text_hidden_size=36))),
    # Routed experts between two projections, without a gate; the second model has none of these.
    "nemotron_h": Family(
        "NemotronHForCausalLM", norm="norm", block="mixer", disk="backbone.layers", dtype="bfloat16", names="mixer|norm",
        config=nemotron(36, ["moe", "linear_attention", "full_attention", "moe", "mlp"], moe_latent_size=20, n_group=2,
                        topk_group=1, routed_scaling_factor=1.7, layer_norm_epsilon=1e-3)),
    "nemotron_h_plain": Family(
        "NemotronHForCausalLM", norm="norm", block="mixer", disk="backbone.layers", names="mixer|norm", seed=2,
        config=nemotron(36, ["linear_attention", "moe"], norm_topk_prob=False, mlp_hidden_act="silu")),
    # Encoder and decoder, as of switch_transformers.
    "nllb_moe": Family(
        "NllbMoeForConditionalGeneration", seed=2, norm="ff_layer_norm", block="ffn", factor=0.7,
        stacks=(("encoder.layers", "model.encoder.layers", ""), ("decoder.layers", "model.decoder.layers", "")), config=dict(
            vocab_size=48, d_model=36, encoder_layers=2, decoder_layers=3, encoder_ffn_dim=12, decoder_ffn_dim=14,
            encoder_attention_heads=2, decoder_attention_heads=2, num_experts=6, encoder_sparse_step=2, decoder_sparse_step=3,
            moe_token_dropout=0.3, router_bias=True, max_position_embeddings=64, decoder_start_token_id=2)),
}
