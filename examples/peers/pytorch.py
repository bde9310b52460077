#!/usr/bin/env python3
"""The layers that catena benchmarks, in PyTorch: an eager loop over experts, and torch._grouped_mm. See README.md.

Prints one JSON document {"peer", "version", "rows"}; rows as in `catena bench --format json`.
"""
import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time

LAYERS = {
    "moe_8of64": dict(hidden=1024, intermediate=704, experts=64, k=8, iterations=1),
    "coe_2x4of64": dict(hidden=1024, intermediate=704, experts=64, k=4, iterations=2),
}


def known_layer(name):
    """Other descriptions have what is not run here: comparing with them would compare different layers."""
    if name not in LAYERS:
        raise argparse.ArgumentTypeError(
            f"'{name}' is not run here: softmax, top-k, gated silu and no shared experts are all there is. "
            f"It is one of {', '.join(sorted(LAYERS))}, or such a layer given by its sizes (--hidden, ...)"
        )
    return name


def at_least(least, convert, text):
    try:
        value = convert(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        raise argparse.ArgumentTypeError(f"takes a number from {least} up, not '{text}'")
    return value


def size(text):
    return at_least(1, int, text)


def seconds(text):
    return at_least(0, float, text)


def token_counts(text):
    return [size(part) for part in text.split(",")]


class Parser(argparse.ArgumentParser):
    """What is wrong in one line, without the usage."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message}\n")


def parse_arguments():
    parser = Parser(description="PyTorch on the layers that catena benchmarks.")
    parser.add_argument("--layer", type=known_layer, default="moe_8of64")
    for name in ("hidden", "intermediate", "experts", "k", "iterations"):
        parser.add_argument("--" + name, type=size)
    parser.add_argument("--tokens", type=token_counts, default="1,8,64,512,2048")
    parser.add_argument("--threads", type=size, default=2)
    parser.add_argument("--seconds", type=seconds, default=3.0)
    parser.add_argument("--only", choices=["eager_fp32", "eager_bf16", "grouped_bf16"], action="append")
    arguments = parser.parse_args()
    given = {key: getattr(arguments, key) for key in LAYERS["moe_8of64"] if getattr(arguments, key) is not None}
    shape = {**LAYERS[arguments.layer], **given}
    if shape["k"] > shape["experts"]:
        parser.error(f"--k is at most --experts, {shape['experts']}, not {shape['k']}")
    return arguments


def last_level_cache_bytes():
    """Size of the largest cache that the kernel names; 32 MiB if it names none."""
    import glob

    sizes = [32 << 20]
    for path in glob.glob("/sys/devices/system/cpu/cpu0/cache/index*/size"):
        text = open(path).read().strip()
        sizes.append(int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]])
    return max(sizes)


def make_bank(torch, shape, dtype):
    """Instances of one layer's experts that together are cold: at least 1 GiB and four last-level caches."""
    hidden, inner, experts = shape["hidden"], shape["intermediate"], shape["experts"]
    instance_bytes = 3 * hidden * inner * experts * (2 if dtype == torch.bfloat16 else 4)
    count = math.ceil(max(1 << 30, 4 * last_level_cache_bytes()) / instance_bytes)
    gate_up = torch.empty(experts, 2 * inner, hidden).uniform_(-1, 1).mul_(math.sqrt(3 / hidden)).to(dtype)
    down = torch.empty(experts, hidden, inner).uniform_(-1, 1).mul_(math.sqrt(3 / inner)).to(dtype)
    return [(gate_up.clone(), down.clone()) for _ in range(count)], count * instance_bytes


def make_scratch(torch, shape, dtype, tokens, slots):
    """Twice the last-level cache, to be read between calls where the rotation alone would leave experts in it: all slots together
    touch less than four such caches. None where they touch enough."""
    chosen = shape["k"] * shape["iterations"]
    touched = shape["experts"] * (1 - (1 - shape["k"] / shape["experts"]) ** (tokens * shape["iterations"]))  # distinct, expected
    touched = min(touched, chosen * tokens) * 3 * shape["hidden"] * shape["intermediate"] * (2 if dtype == torch.bfloat16 else 4)
    if slots * touched >= 4 * last_level_cache_bytes():
        return None
    return torch.ones(2 * last_level_cache_bytes() // 4, dtype=torch.int32)


def route(torch, shape, tokens):
    """k different experts for every token, uniformly, and weights that sum to one."""
    scores = torch.rand(tokens, shape["experts"])
    weights, chosen = torch.topk(scores, shape["k"], dim=1)
    return chosen, torch.softmax(weights, dim=1)


def eager_iteration(torch, x, weights, chosen, scores, experts):
    """What Hugging Face's eager modelling code does: a loop over the experts that were hit."""
    gate_up, down = weights
    y = torch.zeros_like(x)
    for expert in chosen.unique().tolist():
        token, slot = torch.where(chosen == expert)
        gate, up = torch.nn.functional.linear(x[token], gate_up[expert]).chunk(2, dim=-1)
        out = torch.nn.functional.linear(torch.nn.functional.silu(gate) * up, down[expert])
        y.index_add_(0, token, out * scores[token, slot, None].to(out.dtype))
    return y


def grouped_iteration(torch, x, weights, chosen, scores, experts):
    """Tokens sorted by expert, two grouped products."""
    gate_up, down = weights
    k = chosen.shape[1]
    order = chosen.flatten().argsort(stable=True)
    token = order // k
    ends = torch.bincount(chosen.flatten(), minlength=experts).cumsum(0).to(torch.int32)
    gate, up = torch._grouped_mm(x[token], gate_up.transpose(1, 2), offs=ends).chunk(2, dim=-1)
    out = torch._grouped_mm(torch.nn.functional.silu(gate) * up, down.transpose(1, 2), offs=ends)
    y = torch.zeros_like(x)
    return y.index_add_(0, token, out * scores.flatten()[order, None].to(out.dtype))


def forward(torch, iterate, x, weights, routes, shape):
    for chosen, scores in routes:
        y = iterate(torch, x, weights, chosen, scores, shape["experts"])
        x = x + y  # the chain's inner residual; for one iteration the outer one
    return x


def measure(torch, iterate, bank, shape, dtype, tokens, seconds):
    """Median and spread of cold calls: the next instance, fresh tokens and choices for each."""
    samples, distinct, share, started, call = [], [], [], None, 0
    scratch = make_scratch(torch, shape, dtype, tokens, len(bank))
    while started is None or len(samples) < 5 or time.perf_counter() - started < seconds:
        x = torch.randn(tokens, shape["hidden"]).to(dtype)
        routes = [route(torch, shape, tokens) for _ in range(shape["iterations"])]
        if scratch is not None:
            scratch.amax()  # reads all of it, with all threads
            if len(bank) > 1:  # as a model's layer before this one: code and buffers are back
                forward(torch, iterate, x, bank[(call + 1) % len(bank)], routes, shape)
        begin = time.perf_counter()
        forward(torch, iterate, x, bank[call % len(bank)], routes, shape)
        elapsed = time.perf_counter() - begin
        call += 1
        if call == 2:  # two calls of warming up: thread pool, allocator
            started = time.perf_counter()
        elif call > 2:
            samples.append(elapsed)
            counts = [torch.bincount(chosen.flatten(), minlength=shape["experts"]) for chosen, _ in routes]
            distinct.append(sum(int((c > 0).sum()) for c in counts) / len(counts))
            share.append(max(float(c.max() / c.sum()) for c in counts))
    return samples, statistics.mean(distinct), statistics.mean(share), scratch is not None


def make_row(shape, name, variant, tokens, threads, measured, bank_bytes):
    samples, distinct, share, evicted = measured
    quartiles = statistics.quantiles(samples, n=4, method="inclusive")
    median = quartiles[1]
    element = 4 if variant.endswith("fp32") else 2
    flops = 6 * shape["hidden"] * shape["intermediate"] * shape["k"] * shape["iterations"] * tokens
    read = distinct * shape["iterations"] * 3 * shape["hidden"] * shape["intermediate"] * element
    return {
        "layer": name, "peer": "pytorch " + variant, "dtype": variant.split("_")[1], "tokens": tokens, "routing": "uniform",
        "routed": False, "distinct_experts": distinct, "largest_share": share, "threads": threads, "cold": True,
        "median_s": median, "spread": (quartiles[2] - quartiles[0]) / median, "min_s": min(samples), "calls": len(samples),
        "flops": flops, "bytes": read, "gflops": flops / median * 1e-9, "gbytes_s": read / median * 1e-9,
        "bank_bytes": bank_bytes, "evicted": evicted,
    }  # fmt: skip


def run_variant(torch, variant, name, shape, arguments):
    dtype = torch.float32 if variant.endswith("fp32") else torch.bfloat16
    iterate = grouped_iteration if variant.startswith("grouped") else eager_iteration
    bank, bank_bytes = make_bank(torch, shape, dtype)
    for tokens in arguments.tokens:
        try:
            measured = measure(torch, iterate, bank, shape, dtype, tokens, arguments.seconds)
        except (RuntimeError, NotImplementedError) as error:
            yield {"peer": "pytorch " + variant, "layer": name, "tokens": tokens, "status": str(error).splitlines()[0]}
            return
        yield make_row(shape, name, variant, tokens, arguments.threads, measured, bank_bytes)


def limit_onednn_where_it_crashes():
    """Some virtual machines report AMX and fault when it is used. Asks a child process for one bf16 product; where that dies of
    a signal, oneDNN is kept to AVX-512 BF16, and the document says so. Must run before torch is imported."""
    probe = "import torch; a = torch.ones(64, 64, dtype=torch.bfloat16); torch.nn.functional.linear(a, a)"
    crashed = subprocess.run([sys.executable, "-c", probe], stderr=subprocess.DEVNULL, check=False).returncode < 0
    if crashed and "ONEDNN_MAX_CPU_ISA" not in os.environ:
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_BF16"
    return os.environ.get("ONEDNN_MAX_CPU_ISA", "all")


def main():
    arguments = parse_arguments()
    if importlib.util.find_spec("torch") is None:
        print(json.dumps({"peer": "pytorch", "status": "not installed"}))
        return 0
    onednn_isa = limit_onednn_where_it_crashes()
    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    given = {key: getattr(arguments, key) for key in LAYERS["moe_8of64"] if getattr(arguments, key)}
    shape = {**LAYERS[arguments.layer], **given}
    name = arguments.layer if not given else "{iterations}x{k}of{experts}_{hidden}_{intermediate}".format(**shape)
    rows = []
    with torch.inference_mode():
        for variant in arguments.only or ["eager_fp32", "eager_bf16", "grouped_bf16"]:
            if variant.startswith("grouped") and not hasattr(torch, "_grouped_mm"):
                rows.append({"peer": "pytorch " + variant, "status": "this PyTorch has no _grouped_mm"})
                continue
            rows.extend(run_variant(torch, variant, name, shape, arguments))
    print(json.dumps({"peer": "pytorch", "version": torch.__version__, "onednn_isa": onednn_isa, "rows": rows}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
