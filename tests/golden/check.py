#!/usr/bin/env python3
"""Recomputes every golden case in double precision from the tensors of its folder alone, by the formulas of its family.

    tests/golden/check.py [FOLDER...]

A row of FAMILIES says what the layer computes and where its tensors are; it shares nothing with the code that made the data.
For each layer: the worst error of block_in, block_out and layer_out relative to the largest value, that of the weights, and the
margin: how far the worst chosen expert is from the best one that was not chosen (of ReLU routing: the logits from 0).
Of fp8 checkpoints that transformers dequantises itself, its block_out is a third opinion.

Over 500 lines: most of it is the table of families.
"""
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

HERE = pathlib.Path(__file__).parent
TOLERANCE, MARGIN = 3e-6, 1e-3
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gelu(z):
    return torch.nn.functional.gelu(torch.from_numpy(z)).numpy()


SCORES = {"softmax": softmax, "sigmoid": sigmoid, "sqrtsoftplus": lambda z: np.sqrt(np.logaddexp(z, 0)),
          "relu": lambda z: np.maximum(z, 0), "plain": lambda z: z}
ACTIVATIONS = {"silu": lambda z: z * sigmoid(z), "gelu": gelu, "relu": lambda z: np.maximum(z, 0),
               "relu2": lambda z: np.maximum(z, 0) ** 2}


# --- where an expert's matrices are: (tensors, expert) -> gate, up, down, each [out, in], and their biases -----------------------
def split(path, gate="gate_proj", up="up_proj", down="down_proj"):
    """And their biases, where there are any."""
    def find(t, e):
        names = [f"{path}.{n}".format(e=e) for n in (gate, up, down)]
        return [t[n + ".weight"] for n in names] + [t[n + ".bias"] for n in names if n + ".bias" in t]
    return find


def concatenated(path, up="input_linear", down="output_linear"):
    def find(t, e):
        pair, last = t[f"{path}.{up}.weight"], t[f"{path}.{down}.weight"]
        pair, last = (pair[e], last[e]) if pair.ndim == 3 else (pair, last)
        return [*np.split(pair, 2), last]
    return find


def llama4_experts(t, e):
    return [*np.split(t["feed_forward.experts.gate_up_proj"][e].T, 2), t["feed_forward.experts.down_proj"][e].T]


def dbrx_experts(t, e):
    w1, v1, w2 = (t[f"ffn.experts.mlp.{n}"].reshape(8, 20, 40)[e] for n in ("w1", "v1", "w2"))
    return [w1, v1, w2.T]


def mxfp4(t, name, e):
    """16 bytes are 32 consecutive inputs, the low half of a byte first; a block's scale is 2^(byte - 127). To [out, in]."""
    blocks = t[name + "_blocks"][e].astype(np.uint8)
    values = FP4[np.stack([blocks & 15, blocks >> 4], -1)].reshape(*blocks.shape[:-1], 32)
    return (values * np.exp2(t[name + "_scales"][e] - 127.0)[..., None]).reshape(len(blocks), -1)


def gpt_oss_experts(t, e):
    path = "mlp.experts."
    if path + "gate_up_proj" in t:
        pair, down = t[path + "gate_up_proj"][e].T, t[path + "down_proj"][e].T
    else:
        pair, down = mxfp4(t, path + "gate_up_proj", e), mxfp4(t, path + "down_proj", e)
    bias = t[path + "gate_up_proj_bias"][e]
    return [pair[0::2], pair[1::2], down, bias[0::2], bias[1::2], t[path + "down_proj_bias"][e]]


def stacked(path, transposed=False, names=("gate_up_proj", "down_proj")):
    """Gate above up in one tensor of all experts, and their biases where there are any."""
    def find(t, e):
        pair, down = (t[f"{path}.{n}"][e].T if transposed else t[f"{path}.{n}"][e] for n in names)
        biases = [t[f"{path}.{n}_bias"][e] for n in names if f"{path}.{n}_bias" in t]
        return [*np.split(pair, 2), down] + ([*np.split(biases[0], 2), biases[1]] if biases else [])
    return find


def apart(path):
    return lambda t, e: [t[f"{path}.{n}.weight"][e] for n in ("gate_proj", "up_proj", "down_proj")]


def alternating(t, e):
    pair = t["mlp.experts.w13_weight"][e]
    return [pair[0::2], pair[1::2], t["mlp.experts.w2_weight"][e]]


def switch_expert(t, e):
    return [None, t[f"mlp.experts.expert_{e}.wi.weight"], t[f"mlp.experts.expert_{e}.wo.weight"]]


def ungated(path):
    return lambda t, e: [None, *(t[f"{path}.{n}.weight".format(e=e)] for n in ("up_proj", "down_proj"))]


def nllb_expert(t, e):
    path = f"ffn.experts.expert_{e}"
    return [None, t[path + ".fc1.weight"], t[path + ".fc2.weight"], 0, t[path + ".fc1.bias"], t[path + ".fc2.bias"]]


# --- the families ----------------------------------------------------------------------------------------------------------------
DEEPSEEK = dict(router="mlp.gate.weight", expert=split("mlp.experts.{e}"), shared=split("mlp.shared_experts"))
SIGMOID = DEEPSEEK | dict(score="sigmoid", correction="mlp.gate.e_score_correction_bias")
MIXTRAL = dict(router="block_sparse_moe.gate.weight", expert=split("block_sparse_moe.experts.{e}", "w1", "w3", "w2"))
QWEN = dict(router="mlp.gate.weight", expert=split("mlp.experts.{e}"))
QWEN_SHARED = QWEN | dict(shared=split("mlp.shared_expert"), shared_gate="mlp.shared_expert_gate.weight")
GPT_OSS = dict(router="mlp.router.weight", router_bias="mlp.router.bias", expert=gpt_oss_experts, normalise=0)
GRANITE = dict(router="block_sparse_moe.router.layer.weight", expert=concatenated("block_sparse_moe"), normalise=0)
UNGATED = QWEN | dict(shared=split("mlp.shared_expert"))
COHERE = DEEPSEEK | dict(norm="input_layernorm", normalise=0, eps=1e-3)
LANGUAGE = "model.language_model.layers"
NEMOTRON = dict(norm="norm", router="mixer.gate.weight", correction="mixer.gate.e_score_correction_bias", score="sigmoid", k=3,
                expert=ungated("mixer.experts.{e}"), shared=ungated("mixer.shared_experts"), layers="backbone.layers")
COE = DEEPSEEK | dict(iterations=2, inner=True, outer=0, router="mlp.gate.{t}.weight")

# loads: transformers dequantises it; it takes rows / rows of scales for a block's height, which is wrong of partial blocks.
# of_text: the router is [in, out], and the correction's first row counts.
# k: choices; normalise: added to the sum of the weights; groups: number, kept, rule; out = outer h + multiplier x_T.
FAMILIES = {
    "mixtral": MIXTRAL | dict(k=2, normalise=0, eps=1e-5),
    "minimax": MIXTRAL | dict(k=2, normalise=0, eps=1e-5, inner=True, inner_alpha=1.6 / 0.7, outer=0, multiplier=0.7),
    "minimax_m2": MIXTRAL | dict(k=3, score="sigmoid", normalise=0, correction="block_sparse_moe.e_score_correction_bias"),
    "olmoe": QWEN | dict(k=3, normalise=0, eps=1e-5),
    "qwen2_moe": QWEN_SHARED | dict(k=3, normalise=0),
    "qwen3_moe": QWEN | dict(k=3),
    "qwen3_next": QWEN_SHARED | dict(k=3, norm_add=1),
    "deepseek_v2": DEEPSEEK | dict(k=4, groups=(4, 2, "max"), scale=1.7, eps=1e-3),
    "deepseek_v3": SIGMOID | dict(k=3, groups=(3, 2, "sum"), normalise=1e-20, scale=1.3),
    "glm4_moe": SIGMOID | dict(k=3, scale=1.9, eps=1e-3),
    "dots1": SIGMOID | dict(k=3, groups=(2, 1, "sum"), normalise=1e-20, scale=2.2),
    "ernie4_5_moe": DEEPSEEK | dict(k=3, correction="mlp.moe_statics.e_score_correction_bias", clamp=0.6, eps=1e-5),
    "gpt_oss": GPT_OSS | dict(k=3, limit=1.5, slope=1.5, eps=1e-3),
    "gpt_oss_mxfp4": GPT_OSS | dict(k=2, limit=7, slope=1.702, eps=1e-5),
    "llama4": dict(router="feed_forward.router.weight", expert=llama4_experts, shared=split("feed_forward.shared_expert"), k=1,
                   score="sigmoid", on_input=True, eps=1e-5),
    "phimoe": MIXTRAL | dict(k=2, jitter=0.15, layer_norm=True, eps=1e-5),
    "deepseek_v3_fp8": SIGMOID | dict(k=3, groups=(2, 1, "sum"), normalise=1e-20, scale=1.3),
    "deepseek_v3_fp8_shared_bf16": SIGMOID | dict(k=2, normalise=1e-20, scale=0.8),
    "qwen3_moe_fp8": QWEN | dict(k=2, normalise=0),
    "qwen3_moe_fp8_e8m0": QWEN | dict(k=2, loads=True),
    "minimax_m2_fp8": MIXTRAL | dict(k=2, score="sigmoid", normalise=0, correction="block_sparse_moe.e_score_correction_bias"),
    "granitemoe": GRANITE | dict(k=3, multiplier=0.6),
    "granitemoeshared": GRANITE | dict(k=2, multiplier=0.8, shared=concatenated("shared_mlp")),
    "jamba": dict(norm="pre_ff_layernorm", router="feed_forward.router.weight", expert=split("feed_forward.experts.{e}"), k=3,
                  eps=1e-3),
    "dbrx": dict(norm="norm_attn_norm.norm_2", layer_norm=True, eps=1e-5, router="ffn.router.layer.weight", expert=dbrx_experts,
                 k=3, norm_p=2, act="gelu", layers="transformer.blocks"),
    "hunyuan_v1_moe": dict(router="mlp.gate.wg.weight", expert=split("mlp.experts.{e}"), shared=split("mlp.shared_mlp"),
                           k={"0": 2, "1": 3}, normalise=0, eps=1e-5),
    "lfm2_moe": dict(norm="ffn_norm", router="feed_forward.gate.weight", expert=split("feed_forward.experts.{e}", "w1", "w3", "w2"),
                     k=3, score="sigmoid", correction="feed_forward.expert_bias", normalise=1e-6, scale=1.4, eps=1e-3),
    "longcat_flash": dict(norm="post_attention_layernorm.0", router="mlp.router.classifier.weight", expert=split("mlp.experts.{e}"),
                          correction="mlp.router.e_score_correction_bias", k=4, scale=2.5, experts=8, outer=0, eps=1e-5),
    "switch_transformers": dict(norm="layer_norm", router="mlp.router.classifier.weight", expert=switch_expert, k=1, eps=1e-3,
                                layers="{half}.block", path="{layers}.{number}.layer.{part}."),
    "cohere2_moe": COHERE | dict(layer_norm=True, score="sigmoid", k=3, average=True),
    "cohere2_moe_softmax": COHERE | dict(k=3),
    "bailing_hybrid": SIGMOID | dict(k=3, groups=(4, 2, "sum"), scale=1.6, correction="mlp.gate.expert_bias", eps=1e-3),
    "exaone_moe": SIGMOID | dict(k=3, groups=(2, 1, "sum"), normalise=1e-20, scale=1.7, correction="mlp.e_score_correction_bias",
                                 eps=1e-5),
    "glm4_moe_lite": SIGMOID | dict(k=2, normalise=1e-20, scale=1.4, eps=1e-5),
    "glm_moe_dsa": SIGMOID | dict(k=2, groups=(3, 2, "sum"), normalise=1e-20, scale=1.8, eps=1e-5),
    "deepseek_v32": SIGMOID | dict(k=3, groups=(4, 3, "sum"), normalise=1e-20, scale=1.5),
    "hy_v3": dict(router="mlp.router.gate.weight", expert=split("mlp.experts.{e}"), shared=split("mlp.shared_mlp"), k=3,
                  score="sigmoid", correction="mlp.expert_bias", normalise=1e-20, scale=1.9, eps=1e-5),
    "kimi_linear": MIXTRAL | dict(shared=split("block_sparse_moe.shared_experts"), score="sigmoid", k=3, normalise=1e-20,
                                  correction="block_sparse_moe.gate.e_score_correction_bias", scale=1.3, eps=1e-5),
    "mimo_v2_flash": SIGMOID | dict(shared=None, k=3, groups=(2, 1, "sum"), scale=0.7, eps=1e-5),
    "solar_open": SIGMOID | dict(k=2, normalise=1e-20, scale=1.2, eps=1e-5),
    "sarvam_moe": SIGMOID | dict(k=3, groups=(3, 2, "sum"), normalise=1e-20, scale=1.7, correction="mlp.gate.expert_bias"),
    "sarvam_mla": SIGMOID | dict(k=3, normalise=1e-20, scale=0.9),
    "mistral4": DEEPSEEK | dict(expert=stacked("mlp.experts"), k=3, groups=(4, 2, "sum, others 0"), normalise=1e-20, scale=1.6),
    "flint": UNGATED | dict(k=3, score="sigmoid"),
    "lara_mini": UNGATED | dict(expert=stacked("mlp.experts"), k=3),
    "laguna": UNGATED | dict(k=3, score="sigmoid", softcap=2.5, correction="mlp.experts.e_score_correction_bias", normalise=0,
                             scale=1.4),
    "mellum": QWEN | dict(k=3),
    "granitemoehybrid": GRANITE | dict(k=3, multiplier=0.7, shared=concatenated("shared_mlp")),
    "granitemoe_swa": GRANITE | dict(router="block_sparse_moe.router.weight", expert=stacked("block_sparse_moe.experts"), k=3,
                                     multiplier=0.7, shared=concatenated("shared_mlp")),
    "openai_privacy_filter": GPT_OSS | dict(expert=stacked("mlp.experts", True), k=3, limit=1.5, slope=1.5, eps=1e-5),
    "aria": dict(router="mlp.router.weight", expert=stacked("mlp.experts", True, ("fc1.weight", "fc2.weight")),
                 shared=split("mlp.shared_experts"), k=3, normalise=0, layers="language_model.model.layers"),
    "glm4v_moe": SIGMOID | dict(k=3, groups=(2, 1, "sum"), scale=1.3, eps=1e-5, layers=LANGUAGE),
    "qwen3_5_moe": QWEN_SHARED | dict(k=3, normalise=0, norm_add=1, layers=LANGUAGE),
    "qwen3_5_moe_text": QWEN_SHARED | dict(k=2, normalise=0, norm_add=1),
    "qwen3_vl_moe": QWEN | dict(expert=stacked("mlp.experts", True), k=3, normalise=0, layers=LANGUAGE),
    "qwen3_vl_moe_resaved": QWEN | dict(expert=stacked("mlp.experts"), k=2, normalise=0, layers=LANGUAGE),
    "qwen3_omni_moe": QWEN | dict(k=3, layers="thinker.model.layers"),
    "minimax_m3_vl": MIXTRAL | dict(shared=split("block_sparse_moe.shared_experts"), k=3, score="sigmoid", normalise=0, scale=1.4,
                                    correction="block_sparse_moe.e_score_correction_bias", norm_add=1, limit=1.2, slope=1.5,
                                    layers="language_model.model.layers"),
    "mistral4_nested": DEEPSEEK | dict(expert=stacked("mlp.experts"), k=2, scale=0.8, layers="language_model.model.layers"),
    "mistral_large4": dict(norm="ffn_norm", router="gate.weight", expert=split("experts.{e}", "w1", "w3", "w2"),
                           shared=split("shared_experts", "w1", "w3", "w2"), k=3, groups=(4, 2, "sum, others 0"), normalise=1e-20,
                           scale=1.7, eps=1e-5, layers="layers"),
    "ernie4_5_vl_moe": DEEPSEEK | dict(k=3, correction="mlp.moe_statics.e_score_correction_bias", of_text=True, clamp=0.5, eps=1e-5,
                                       shared=split("mlp.shared_experts")),
    "dots3_note": SIGMOID | dict(k=3, groups=(2, 1, "sum"), normalise=1e-20, scale=1.6, eps=1e-5),
    "deepseek_ocr2": DEEPSEEK | dict(k=3, groups=(4, 2, "max"), scale=1.4),
    "unlimited_ocr": DEEPSEEK | dict(k=2, scale=0.6),
    "deepseek_v4": dict(norm=None, outer=0, router="ffn.gate.weight", expert=split("ffn.experts.{e}", "w1", "w3", "w2"),
                        shared=split("ffn.shared_experts", "w1", "w3", "w2"), k=3, score="sqrtsoftplus", correction="ffn.gate.bias",
                        normalise=1e-20, scale=1.7, limit=0.9, offset=0),
    "glm5_next": SIGMOID | dict(norm=None, outer=0, k=3, groups=(2, 1, "sum"), scale=1.6, limit=0.9, offset=0, layers=LANGUAGE),
    "qwen4_exp": QWEN_SHARED | dict(norm=None, outer=0, k=3, layers=LANGUAGE),
    "axk2": SIGMOID | dict(norm=None, outer=0, k=3, groups=(4, 2, "sum, others 0"), normalise=1e-20, scale=1.5),
    "afmoe": dict(norm="pre_mlp_layernorm", post_norm="post_mlp_layernorm", router="mlp.router.gate.weight",
                  expert=split("mlp.experts.{e}"), shared=split("mlp.shared_experts"), k=3, score="sigmoid",
                  correction="mlp.expert_bias", normalise=1e-20, scale=1.7, eps=1e-3),
    "kolibri1": SIGMOID | dict(post_norm="post_ffn_norm", rank="logit", correction="moe.router.expert_bias", k=3),
    "flex_olmo": QWEN | dict(norm=None, post_norm="post_feedforward_layernorm", k=3, eps=1e-3),
    "beam": SIGMOID | dict(norm="pre_feedforward_layernorm", post_norm="post_feedforward_layernorm", shared=None, k=3,
                           groups=(4, 2, "sum"), normalise=1e-20, scale=1.7, eps=1e-3, of_layer={
                               "0": dict(outer=(2 / 3) ** 0.5, multiplier=3 ** -0.5),
                               "2": dict(outer=(6 / 7) ** 0.5, multiplier=7 ** -0.5)}),
    "jetmoe": GRANITE | dict(router="mlp.router.layer.weight", expert=concatenated("mlp"), k=3, output_bias="mlp.bias"),
    "axk1": SIGMOID | dict(post_norm="post_mlp_layernorm", norm_in_block=True, k=3, groups=(4, 2, "sum"), normalise=1e-20,
                           scale=1.5, eps=1e-3),
    "step3p7": dict(norm_add=1, eps=1e-5, router="moe.gate.weight", correction="moe.router_bias", score="sigmoid", k=2, normalise=0,
                    scale=1.4, expert=apart("moe"), shared=split("share_expert"), limit_after=0.4, of_layer={
                        "1": dict(shared_limit=dict(limit_after=0.7)), "2": dict(shared_limit={})}),
    "hy_v4": SIGMOID | dict(norm=None, outer=0, k=3, groups=(4, 2, "sum"), scale=1.6, expert=stacked("mlp.experts"),
                            shared=split("mlp.shared_experts", gate="linear_gate"), limit=0.5, offset=0, shared_limit={}),
    "inkling2": dict(norm=None, outer=0, router="mlp.gate.weight", correction="mlp.gate.bias", score="sigmoid", k=3,
                     normalise=1e-20, scale=1.7, expert=alternating, softcaps=(0.8, 1.1), layers="model.llm.layers"),
    "inkling": dict(norm=None, outer=0, router="mlp.gate.weight", correction="mlp.gate.bias", score="sigmoid", k=3, scale=1.7,
                    experts_of_router=7, expert=alternating, output_scale="mlp.gate.global_scale", layers="model.llm.layers"),
    "nemotron_h": NEMOTRON | dict(act="relu2", groups=(2, 1, "sum"), normalise=1e-20, scale=1.7, eps=1e-3,
                                  latent=("mixer.fc1_latent_proj.weight", "mixer.fc2_latent_proj.weight")),
    "nemotron_h_plain": NEMOTRON | dict(act="silu", eps=1e-5),
    "nllb_moe": dict(norm="ff_layer_norm", layer_norm=True, eps=1e-5, router="ffn.router.classifier.weight",
                     router_bias="ffn.router.classifier.bias", expert=nllb_expert, k=2, normalise=0, scale=0.7,
                     layers="model.{half}.layers"),
    "coe": COE | dict(k=3),
    "coe_inner_outer": COE | dict(k=3, outer=1, normalise=1e-20),
    "coe_outer": COE | dict(k=3, inner=False, outer=1, groups=(4, 2, "max"), router="mlp.gate.weight"),
    "coe_none": COE | dict(k=3, inner=False, iterations=3, scale=1.8, shared=None, eps=1e-3),
    "coe_converted": COE | dict(k=3, outer=1, coe_weight="mlp.coe_weight"),
    "remoe": DEEPSEEK | dict(k=3, score="relu"),
    "da_moe": DEEPSEEK | dict(k=6, shared=None),
}


def rms(h, row, weight):
    return h / np.sqrt((h * h).mean(-1, keepdims=True) + row.get("eps", 1e-6)) * weight


def normalise_rows(row, t, h):
    name = row.get("norm", "post_attention_layernorm")
    if not name:
        return h
    weight = t[name + ".weight"] + row.get("norm_add", 0)
    h = h - h.mean(-1, keepdims=True) if row.get("layer_norm") else h
    return rms(h, row, weight) + t.get(name + ".bias", 0)


def gap(better, worse):
    """Relative, as the error of a score is: for a softmax nearly the difference of the logits."""
    return ((better - worse) / np.abs(better)).min()


def rank_groups(c, groups):
    """What choices are ranked by when only some groups remain, and the margin between groups."""
    count, kept, rule = groups
    members = np.sort(c.reshape(len(c), count, -1), -1)
    best = members[..., -1] if rule == "max" else members[..., -2:].sum(-1)
    order = np.sort(best, -1)
    lost = np.repeat(best < order[:, -kept, None], members.shape[-1], -1)
    return np.where(lost, -np.inf if rule == "sum" else 0, c), gap(order[:, -kept], order[:, -kept - 1])


def sparsemixer(z, k, jitter):
    """k times the best that is left, weighted by a softmax over those left within 2 jitter of it."""
    weights, left, margin = np.zeros_like(z), z.copy(), np.inf
    for _ in range(k):
        best = left.argmax(-1)
        top = left.max(-1, keepdims=True)
        distance = (top - z) / np.maximum(np.abs(z), top)
        margin = min(margin, np.abs(distance - 2 * jitter).min(), np.diff(np.sort(left, -1)[:, -2:]).min())
        mask = distance > 2 * jitter
        rows = np.arange(len(z))
        weights[rows, best] = softmax(np.where(mask, -np.inf, left))[rows, best]
        left[rows, best] = -np.inf
    return weights, weights > 0, margin


def route(row, z, t, k):
    """Weights [tokens, choices], 0 for what is not chosen, the choice as a mask, and the margin. k: of each token."""
    s = SCORES[row.get("score", "softmax")](z)
    if row.get("score") == "relu":
        return s, s > 0, np.abs(z).min()
    if "jitter" in row:
        return sparsemixer(z, row["k"], row["jitter"])
    c, margin = z if row.get("rank") == "logit" else s, np.inf
    c = c + (t[row["correction"]][0] if row.get("of_text") else t[row["correction"]].reshape(-1)) if "correction" in row else c
    if "groups" in row:
        c, margin = rank_groups(c, row["groups"])
    order = np.argsort(-c, -1, kind="stable")
    chosen = np.zeros(c.shape, bool)
    for n, count in enumerate(k):
        chosen[n, order[n, :count]] = True
        if count < c.shape[1]:
            margin = min(margin, gap(c[n, order[n, count - 1]], c[n, order[n, count]]))
    w = s * chosen
    if "normalise" in row:
        w = w / (w.sum(-1, keepdims=True) + row["normalise"])
    elif "clamp" in row:
        w = w / np.maximum(w.sum(-1, keepdims=True), row["clamp"])
    elif "norm_p" in row:
        w = w / (w ** row["norm_p"]).sum(-1, keepdims=True) ** (1 / row["norm_p"])
    return w * row.get("scale", 1), chosen, margin


def run_expert(row, weights, x):
    gate, up, down, *biases = weights
    gate_bias, up_bias, down_bias = biases or (0, 0, 0)
    if gate is None:
        return ACTIVATIONS[row.get("act", "relu")](x @ up.T + up_bias) @ down.T + down_bias
    g, u = x @ gate.T + gate_bias, x @ up.T + up_bias
    if "softcaps" in row:
        gate_cap, up_cap = row["softcaps"]
        return (gate_cap * np.tanh(g / gate_cap) * sigmoid(g) * up_cap * np.tanh(u / up_cap)) @ down.T
    if "limit_after" in row:
        return (np.minimum(g * sigmoid(g), row["limit_after"]) * np.clip(u, -row["limit_after"], row["limit_after"])) @ down.T
    if "limit" in row:
        g, u = np.minimum(g, row["limit"]), np.clip(u, -row["limit"], row["limit"])
        return (g * sigmoid(row.get("slope", 1) * g) * (u + row.get("offset", 1))) @ down.T + down_bias
    return (ACTIVATIONS[row.get("act", "silu")](g) * u) @ down.T + down_bias


def run_joint_block(row, t, x, k):
    """The shared experts' logits come behind the others', and all weights are normalised together."""
    count = row["experts_of_router"]
    s = sigmoid(x @ t[row["router"]].T)
    _, chosen, margin = route(row | dict(score="plain"), s[:, :count], t, k)
    w = np.concatenate([s[:, :count] * chosen, s[:, count:]], -1)
    w *= row["scale"] * t[row["output_scale"]] / w.sum(-1, keepdims=True)
    pairs, downs = t["mlp.shared_experts.shared_w13_weight"], t["mlp.shared_experts.shared_w2_weight"]
    y = sum(w[:, count + j, None] * run_expert(row, [pair[0::2], pair[1::2], down], x)
            for j, (pair, down) in enumerate(zip(pairs, downs, strict=True)))
    for e in range(count):
        y += w[:, e, None] * run_expert(row, row["expert"](t, e), x)
    return y, w[:, :count], chosen, margin


def run_block(row, t, x, iteration, k):
    if "experts_of_router" in row:
        return run_joint_block(row, t, x, k)
    router = t[row["router"].format(t=iteration)]
    z = x @ (router if row.get("of_text") else router.T) + t.get(row.get("router_bias"), 0)
    z = row["softcap"] * np.tanh(z / row["softcap"]) if "softcap" in row else z
    w, chosen, margin = route(row, z, t, k)
    into, out = (t[name] for name in row["latent"]) if "latent" in row else (None, None)
    z = x if into is None else x @ into.T
    y = np.zeros_like(z)
    for e in range(w.shape[1]):
        n = chosen[:, e]
        if e >= row.get("experts", w.shape[1]):
            y[n] += w[n, e, None] * z[n]
        elif row.get("on_input"):
            y[n] += run_expert(row, row["expert"](t, e), w[n, e, None] * z[n])
        else:
            y[n] += w[n, e, None] * run_expert(row, row["expert"](t, e), z[n])
    y = y if out is None else y @ out.T
    y += t.get(row.get("output_bias"), 0)
    if row.get("shared"):
        gate = sigmoid(x @ t[row["shared_gate"]].T) if "shared_gate" in row else 1
        limits = {key: value for key, value in row.items() if "limit" not in key} | row.get("shared_limit", {})
        y += gate * run_expert(limits if "shared_limit" in row else row, row["shared"](t, 0), x)
    return y / 2 if row.get("average") else y, w, chosen, margin


def run_layer(row, t, h, k):
    x = block_in = normalise_rows(row, t, h)
    routings, last = [], row.get("iterations", 1) - 1
    for iteration in range(last + 1):
        y, *routing = run_block(row, t, x, iteration, k)
        routings.append(routing)
        if "coe_weight" in row:
            x = y if iteration == last else x + t[row["coe_weight"]][iteration] * y
        else:
            x = (row.get("inner_alpha", 1) * x if row.get("inner") else 0) + y
    after = rms(x, row, t[row["post_norm"] + ".weight"]) if "post_norm" in row else x
    out = row.get("outer", 1) * h + row.get("multiplier", 1) * after
    block_out = y if "inner_alpha" in row else after if row.get("norm_in_block") else x
    return block_in, block_out, out, routings


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def check_routing(io, routings):
    """The recorded lists against the masks; -1 is an empty slot. Returns the worst error of a weight."""
    experts, weights = io["experts"].astype(int), io["weights"]
    if len(routings) == 1:
        experts, weights = experts[None], weights[None]
    worst = 0
    for (w, chosen, _), expert, weight in zip(routings, experts, weights, strict=True):
        for n in range(len(w)):
            used = expert[n] >= 0
            if sorted(expert[n][used]) != list(np.flatnonzero(chosen[n])):
                raise SystemExit(f"token {n}: recorded experts {expert[n]}, recomputed {np.flatnonzero(chosen[n])}")
            worst = max(worst, np.abs(weight[n][used] - w[n, expert[n][used]]).max(initial=0))
    return worst


def check_layer(name, row, prefix, tensors, io):
    stack, number = prefix.rsplit(".", 1)
    layers = row.get("layers", "model.layers").format(half=stack.split(".")[0])
    path = row.get("path", "{layers}.{number}.").format(layers=layers, number=number, part=1 if stack == "encoder.layers" else 2)
    t = {key.removeprefix(path): value for key, value in tensors.items() if key.startswith(path)}
    row = row | row.get("of_layer", {}).get(number, {})
    k = row["k"][number] if isinstance(row["k"], dict) else row["k"]
    h = io["layer_in"]
    counts = np.full(len(h), k)
    if "importance" in io:
        counts = np.clip(np.ceil(io["importance"] * len(t[row["router"]])), 1, k).astype(int)
        assert (counts == io["k"]).all(), "tokens' k"
    block_in, block_out, layer_out, routings = run_layer(row, t, h, counts)
    errors = [relative(io["block_in"], block_in), relative(io["block_out"], block_out), relative(io["layer_out"], layer_out),
              check_routing(io, routings)]
    margin = min(routing[2] for routing in routings)
    if "l1" in io:
        p, active = routings[0][:2]
        errors.append(abs(io["sparsity"][0] - (1 - active.mean())))
        errors.append(abs(io["l1"][0] / (p.shape[1] / (k * len(p) ** 2) * (p.sum(0) * active.sum(0)).sum()) - 1))
    good = max(errors) < TOLERANCE and margin > MARGIN
    print(f"{name:27} {prefix:16} errors {' '.join(f'{e:.1e}' for e in errors)}  margin {margin:.1e}{'' if good else '  FAILED'}")
    return good


def check_figures(f):
    """Switch's loss as transformers has it (a sum over the k choices), DeepSeek's per sequence, entropy, importances."""
    tokens, experts = f["scores"].shape
    load = np.bincount(f["experts"].astype(int).ravel(), minlength=experts)
    sequences = zip(np.split(f["scores"], 3), np.split(f["experts"].astype(int), 3))
    per_sequence = [np.bincount(e.ravel(), minlength=experts) * experts / e.size @ s.mean(0) for s, e in sequences]
    mean = f["attention"].mean(0)
    expected = {"scores": softmax(f["logits"]), "load": load, "switch_loss": experts * (load / tokens) @ f["scores"].mean(0),
                "sequence_loss": np.mean(per_sequence), "mean_entropy": -(f["scores"] * np.log(f["scores"])).sum(-1).mean(),
                "receive_max": mean.max(0), "receive_sum": mean.sum(0), "give_max": mean.max(1)}
    worst = max(relative(f[name], value) for name, value in expected.items())
    print(f"{'figures':44} error {worst:.1e}{'' if worst < TOLERANCE else '  FAILED'}")
    return worst < TOLERANCE


def check_dequantised(name, layers):
    """What transformers computes of an fp8 checkpoint that it dequantises when it loads it: to bf16, exactly by powers of two."""
    quantisation = transformers.FineGrainedFP8Config(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(HERE / name, experts_implementation="eager",
                                                              quantization_config=quantisation).float()
    good = True
    for prefix, io in layers.items():
        block = model.get_submodule(f"model.{prefix}.mlp")
        with torch.no_grad():
            out = block(torch.from_numpy(io["block_in"]).float()[None])
        out = out[0] if isinstance(out, tuple) else out
        error = relative(io["block_out"], out.reshape(io["block_out"].shape).numpy())
        good &= error < TOLERANCE
        print(f"{name:27} {prefix:16} error {error:.1e} of what transformers dequantises{'' if error < TOLERANCE else '  FAILED'}")
    return good


def dequantise(tensors):
    """F8_E4M3 matrices times the scale of their 128 x 128 block, rounded to fp32 once."""
    for name in [n.removesuffix("_scale_inv") for n in tensors if n.endswith("_scale_inv")]:
        scales = tensors.pop(name + "_scale_inv")
        rows, columns = (np.arange(length) // 128 for length in tensors[name].shape)
        assert scales.shape == (rows[-1] + 1, columns[-1] + 1), name
        tensors[name] = (tensors[name] * scales[np.ix_(rows, columns)]).astype(np.float32).astype(float)
    return tensors


def load(*paths):
    return dequantise({name: t.double().numpy() for path in paths for name, t in load_file(path).items()})


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    good = check_figures(load(HERE / "figures.safetensors"))
    for name in sys.argv[1:] or FAMILIES:
        tensors = load(*(HERE / name).glob("model*.safetensors"))
        layers = {}
        for key, value in load(HERE / name / "io.safetensors").items():
            prefix, what = key.rsplit(".", 1)
            layers.setdefault(prefix, {})[what] = value
        for prefix, io in layers.items():
            good &= check_layer(name, FAMILIES[name], prefix, tensors, io)
        if "loads" in FAMILIES[name]:
            good &= check_dequantised(name, layers)
    sys.exit(not good)


if __name__ == "__main__":
    main()
