#!/usr/bin/env python3
"""Makes tests/data/attention: recorded attention probabilities and the importances that follow from them by NumPy. Run by hand.

    tests/extract_attention.py activations.safetensors tests/data/attention

The first 32 tokens of layers.0.attention [heads, queries, keys] of a small Chain-of-Experts language model: under the causal mask
their rows sum to 1 by themselves. Written: attention.npy [4, 32, 32] and, by rule, importance.RULE.npy [32]. Probabilities are
averaged over heads; receive_max and receive_sum go over queries (a sum is at most 1), give_max over keys.
"""
import pathlib
import sys

import numpy
from safetensors.numpy import load_file

TOKENS = 32


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    attention = load_file(sys.argv[1])["layers.0.attention"][:, :TOKENS, :TOKENS].astype(numpy.float32)
    mean = attention.astype(numpy.float64).mean(axis=0)
    rules = {
        "receive_max": mean.max(axis=0),
        "receive_sum": numpy.minimum(mean.sum(axis=0), 1),
        "give_max": mean.max(axis=1),
    }
    out = pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    numpy.save(out / "attention.npy", numpy.ascontiguousarray(attention))
    for rule, importance in rules.items():
        numpy.save(out / f"importance.{rule}.npy", importance.astype(numpy.float32))


main()
