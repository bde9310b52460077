"""The layers of the papers in PyTorch, written from their formulas: Chain-of-Experts (CoE), CoE converted from a trained MoE,
ReMoE and DA-MoE. Readable before fast; what each returns beside its output is what the golden data records.

    x_0 = norm(h);  x_{t+1} = (inner residual ? x_t : 0) + MoE_t(x_t);  out = (outer residual ? h : 0) + x_T
"""
import torch
import torch.nn.functional as F
from torch import nn


class RmsNorm(nn.Module):
    def __init__(self, hidden, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.eps = eps

    def forward(self, h):
        return self.weight * h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + self.eps)


class Expert(nn.Module):
    def __init__(self, hidden, intermediate):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, intermediate, bias=False)
        self.up_proj = nn.Linear(hidden, intermediate, bias=False)
        self.down_proj = nn.Linear(intermediate, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Router(nn.Module):
    """Scores [tokens, experts] to weights [tokens, experts], 0 for experts that are not chosen, and the choice as a mask."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config["n_routed_experts"], config["hidden_size"]))

    def forward(self, x, k=None):
        c = self.config
        z = F.linear(x, self.weight)
        if c["scoring_func"] == "relu":  # ReMoE: what is positive is active; neither normalised nor scaled
            p = F.relu(z)
            return p, p > 0
        s = z.softmax(-1)
        ranked = s
        if c["topk_method"] == "group_limited_greedy":  # a group is as good as its best expert; losers get the score 0
            grouped = s.view(len(s), c["n_group"], -1)
            groups = grouped.amax(-1).topk(c["topk_group"], -1).indices
            wins = torch.zeros(grouped.shape[:2], dtype=torch.bool).scatter(1, groups, True)
            ranked = grouped.masked_fill(~wins[..., None], 0).view_as(s)
        place = ranked.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        chosen = place < (c["num_experts_per_tok"] if k is None else k[:, None])
        w = s * chosen
        if c["norm_topk_prob"] and c["num_experts_per_tok"] > 1:  # CoE: normalised weights are not scaled
            return w / (w.sum(-1, keepdim=True) + 1e-20), chosen
        return w * c["routed_scaling_factor"], chosen


class SparseMlp(nn.Module):
    """Experts, routers and shared experts under DeepSeek-V2's names."""

    def __init__(self, config):
        super().__init__()
        hidden, width, shared = config["hidden_size"], config["moe_intermediate_size"], config["n_shared_experts"]
        self.per_iteration = config["use_igate"]
        self.gate = nn.ModuleList(Router(config) for _ in range(config["inner_iter"])) if self.per_iteration else Router(config)
        self.experts = nn.ModuleList(Expert(hidden, width) for _ in range(config["n_routed_experts"]))
        self.shared_experts = Expert(hidden, shared * width) if shared else None
        if config.get("coe_weight"):
            self.coe_weight = nn.Parameter(torch.empty(config["inner_iter"] - 1))

    def forward(self, x, iteration=0, k=None):
        weights, chosen = (self.gate[iteration] if self.per_iteration else self.gate)(x, k)
        y = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            rows = chosen[:, e]
            y[rows] += weights[rows, e, None] * expert(x[rows])
        if self.shared_experts is not None:
            y = y + self.shared_experts(x)
        return y, weights, chosen


class SparseLayer(nn.Module):
    """Norm, chain and residuals. Returns a dictionary of what was read, chosen and written."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.post_attention_layernorm = RmsNorm(config["hidden_size"], config["rms_norm_eps"])
        self.mlp = SparseMlp(config)

    def forward(self, h, importance=None):
        c, seen = self.config, {"layer_in": h}
        k = None
        if importance is not None:  # DA-MoE: the more attention a token receives, the more experts it gets
            k = (importance * c["n_routed_experts"]).ceil().long().clamp(c["k_min"], c["k_max"])
            seen["importance"], seen["k"] = importance, k
        x = seen["block_in"] = self.post_attention_layernorm(h)
        routings = []
        for t in range(c["inner_iter"]):
            y, weights, chosen = self.mlp(x, t, k)
            routings.append((weights, chosen))
            if c.get("coe_weight"):  # while coe_weight is 0 the last pass sees x_0, and this is the MoE
                x = y if t == c["inner_iter"] - 1 else x + self.mlp.coe_weight[t] * y
            else:
                x = (x if c["inner_residual"] else 0) + y
        seen["block_out"] = x
        seen["layer_out"] = (h if c["outer_residual"] else 0) + x
        seen["experts"], seen["weights"] = list_choices(routings)
        if c["scoring_func"] == "relu":
            seen["sparsity"], seen["l1"] = remoe_figures(*routings[0], c["num_experts_per_tok"])
        return seen


def list_choices(routings):
    """Masks to lists, best first: [iterations, tokens, slots] (or [tokens, slots] of one), empty slots -1 with weight 0."""
    slots = max(int(chosen.sum(-1).max()) for _, chosen in routings)
    experts, weights = [], []
    for weight, chosen in routings:
        best = weight.masked_fill(~chosen, -1).sort(dim=-1, descending=True, stable=True)
        empty = best.values[:, :slots] < 0
        experts.append(best.indices[:, :slots].masked_fill(empty, -1))
        weights.append(best.values[:, :slots].masked_fill(empty, 0))
    return (torch.stack(experts), torch.stack(weights)) if len(routings) > 1 else (experts[0], weights[0])


def remoe_figures(p, active, k):
    """Sparsity 1 - active / (T E), and ReMoE's load-balanced L1 term for lambda = 1: E / (k T^2) sum_e (sum_t p)(sum_t [p > 0])."""
    tokens, experts = p.shape
    sparsity = 1 - active.sum() / (tokens * experts)
    return sparsity.reshape(1), (experts / (k * tokens**2) * (p.sum(0) * active.sum(0)).sum()).reshape(1)


def config_of(model_type, architecture, **more):
    base = dict(
        architectures=[architecture], model_type=model_type, hidden_size=40, num_hidden_layers=2, num_attention_heads=4,
        n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3, moe_intermediate_size=20, intermediate_size=30,
        hidden_act="silu", norm_topk_prob=False, routed_scaling_factor=1.0, scoring_func="softmax", topk_method="greedy",
        n_group=1, topk_group=1, rms_norm_eps=1e-6, inner_iter=1, inner_residual=False, outer_residual=True, use_igate=False,
        first_k_dense_replace=0, moe_layer_freq=1, vocab_size=48, torch_dtype="float32", tie_word_embeddings=False)
    return base | more


def coe(**more):
    return config_of("coe_deepseekv2", "CoeForCausalLM",
                     **dict(inner_iter=2, inner_residual=True, outer_residual=False, use_igate=True, aux_loss_alpha=0.001,
                            seq_aux=True) | more)


PAPERS = {
    "coe": coe(first_k_dense_replace=1),  # the official defaults
    "coe_inner_outer": coe(outer_residual=True, norm_topk_prob=True, routed_scaling_factor=1.7, n_shared_experts=2,
                           num_hidden_layers=1),
    "coe_outer": coe(inner_residual=False, outer_residual=True, use_igate=False, topk_method="group_limited_greedy", n_group=4,
                     topk_group=2, n_routed_experts=12, num_hidden_layers=3, first_k_dense_replace=1,
                     moe_layer_freq=2),
    "coe_none": coe(inner_residual=False, inner_iter=3, routed_scaling_factor=1.8, n_shared_experts=None, num_hidden_layers=1,
                    n_routed_experts=9, rms_norm_eps=1e-3),
    "coe_converted": coe(outer_residual=True, coe_weight=True, first_k_dense_replace=1, n_shared_experts=2),
    "remoe": config_of("remoe", "ReMoEForCausalLM", scoring_func="relu", n_routed_experts=9, hidden_size=44,
                       first_k_dense_replace=1),
    "da_moe": config_of("da_moe", "DaMoeForCausalLM", n_routed_experts=10, num_experts_per_tok=6, k_min=1, k_max=6,
                        n_shared_experts=None, num_hidden_layers=1),
}


SEEDS = {"coe_none": 2}  # where 1 makes a near tie


def fill_randomly(layer, generator):
    for name, tensor in layer.named_parameters():
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name:
            noise = 1 + 0.3 * noise
        elif tensor.dim() == 2:
            noise *= (2.0 if ".gate." in name and "proj" not in name else 1.1) / tensor.shape[1] ** 0.5
        tensor.data = noise


def make(name, tokens):
    """(config, tensors of the checkpoint, recorded tensors)."""
    config, tensors, recorded = PAPERS[name], {}, {}
    generator = torch.Generator().manual_seed(SEEDS.get(name, 1))
    for n in range(config["first_k_dense_replace"], config["num_hidden_layers"]):
        if n % config["moe_layer_freq"]:
            continue
        layer = SparseLayer(config)
        fill_randomly(layer, generator)
        h = torch.randn(tokens, config["hidden_size"], generator=generator)
        if config["scoring_func"] == "relu":  # one token that no expert is active for, one that all are
            signs = torch.tensor([-1.0, 1.0])[:, None].expand(2, config["n_routed_experts"])
            h[:2] = signs @ torch.linalg.pinv(layer.mlp.gate.weight.detach()).T / layer.post_attention_layernorm.weight.detach()
        importance = None
        if "k_min" in config:  # the ends of the range and exact multiples of 1 / experts included
            importance = torch.rand(tokens, generator=generator) * 0.7
            importance[:5] = torch.tensor([0, 1, 0.25, 0.5, 0.75])
        with torch.no_grad():
            seen = layer(h, importance)
        tensors |= {f"model.layers.{n}.{key}": t.detach().contiguous() for key, t in layer.state_dict().items()}
        recorded |= {f"layers.{n}.{key}": t.detach().contiguous() for key, t in seen.items()}
    return config, tensors, recorded
