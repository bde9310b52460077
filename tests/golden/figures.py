"""Figures about routing and importances of attention, for helpers that compute them outside a layer."""
import torch
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

TOKENS, EXPERTS, K, SEQUENCES = 24, 10, 2, 3


def sequence_loss(scores, experts):
    """DeepSeek's, for alpha = 1: mean over sequences of sum_e f_e P_e; f_e = choices of e * E / (k S), P_e = mean score."""
    total = 0
    for s, chosen in zip(scores.chunk(SEQUENCES), experts.chunk(SEQUENCES)):
        counts = torch.bincount(chosen.flatten(), minlength=EXPERTS).double()
        total += (counts * EXPERTS / (K * len(s)) * s.double().mean(0)).sum()
    return (total / SEQUENCES).float()


def make():
    generator = torch.Generator().manual_seed(7)
    logits = 1.5 * torch.randn(TOKENS, EXPERTS, generator=generator)
    scores = logits.softmax(-1)
    experts = scores.topk(K).indices
    attention = (2 * torch.randn(4, 9, 7, generator=generator)).softmax(-1)  # [heads, queries, keys]
    mean = attention.mean(0)
    return {
        "logits": logits,
        "scores": scores,
        "experts": experts,
        "load": torch.bincount(experts.flatten(), minlength=EXPERTS),
        "switch_loss": load_balancing_loss_func((logits,), EXPERTS, K).reshape(1),
        "sequence_loss": sequence_loss(scores, experts).reshape(1),
        "mean_entropy": -(scores * scores.log()).sum(-1).mean().reshape(1),
        "attention": attention,
        "receive_max": mean.amax(0),
        "receive_sum": mean.sum(0),
        "give_max": mean.amax(1),
    }
