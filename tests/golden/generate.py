#!/usr/bin/env python3
"""Makes the golden data: small random models of every family, and what they compute, recorded from transformers itself.

    tests/golden/generate.py [FOLDER...]      (all of them; see README.md for the files of a folder)

Needs the versions of requirements.txt. Each model is written whole by save_pretrained to a temporary folder, from which the
tensors of the sparse layers are kept as they are on disk; it is then loaded again in fp32, so that outputs are those of the
rounded weights.
"""
import json
import math
import pathlib
import re
import sys
import tempfile
import zlib

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import FP4_VALUES, convert_moe_packed_tensors
from transformers.models.nllb_moe.modeling_nllb_moe import NllbMoeExperts

import figures
import papers
from families import FAMILIES

HERE = pathlib.Path(__file__).parent
TOKENS = 24
IN_OUT = ("gpt_oss", "llama4_text", "openai_privacy_filter", "aria")  # stacked experts that are multiplied from the right


def fill_randomly(model, generator):
    """Random weights whose products stay of order 1, with norms that are not 1, biases that are not 0, routers that decide."""
    corrections = {n: b for n, b in model.named_buffers() if n.endswith(("correction_bias", "expert_bias"))}
    for name, tensor in (dict(model.named_parameters()) | corrections).items():
        if name.endswith(("A_log", ".D", "dt_bias")):
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        in_out = "experts." in name and model.config.model_type in IN_OUT
        if name in corrections or "correction" in name:
            noise *= 0.15
        elif tensor.dim() == 1 or name.endswith("_bias"):
            noise = noise * 0.3 + (1 if (tensor == 1).all() else 0)  # norms start at 1, or at 0 where 1 is added
        elif "embed" in name or name == "shared.weight":
            pass
        else:
            router = re.search(r"(gate|router|wg|classifier|router\.layer)\.weight$", name)
            noise *= (2.0 if router else 1.3) / math.sqrt(tensor.shape[-2 if in_out else -1])
        tensor.data.copy_(noise)


def convert(model, dtype):
    """To the dtype on disk, but for what transformers keeps in fp32 (as the hub's checkpoints do)."""
    kept = list(model._keep_in_fp32_modules_strict or [])
    for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
        if tensor.is_floating_point() and not any(word in name for word in kept):
            tensor.data = tensor.data.to(dtype)


def run_nllb_experts(experts, hidden_states, mask, weights):
    """The experts' sum of transformers 4.57. That of 5.24 takes the mask of the first choices for their numbers."""
    out = torch.zeros_like(hidden_states)
    for number in range(experts.num_experts):
        chosen = weights[:, number] != 0
        result = experts[f"expert_{number}"](hidden_states[chosen])
        out[chosen] += weights[chosen, number, None] * result * (1 - experts.moe_token_dropout)
    return out


class Recorder:
    """Hooks that keep what one decoder layer's sparse part reads, decides and writes."""

    def __init__(self, family, layer):
        self.seen = {}
        self.family = family
        norm, block = layer.get_submodule(family.norm), layer.get_submodule(family.block)  # without a norm: the layer itself
        self.handles = [
            norm.register_forward_pre_hook(lambda module, args: self.keep("layer_in", args[0])),
            block.register_forward_pre_hook(lambda module, args: self.keep("block_in", args[0])),
            block.register_forward_hook(lambda module, args, out: self.keep("block_out", out)),
            layer.register_forward_hook(lambda module, args, out: self.keep("layer_out", out)),
        ]
        if family.experts:
            self.handles.append(block.get_submodule(family.experts).register_forward_pre_hook(self.keep_routing))
        else:
            self.handles.append(block.router.register_forward_hook(self.keep_logits))
        if "llama4" in family.architecture.lower():  # its experts see weighted inputs instead of choices
            self.handles.append(block.router.register_forward_hook(self.keep_scores))
        if family.shared:
            shared = layer.get_submodule(family.shared)
            self.handles.append(shared.register_forward_hook(lambda module, args, out: self.keep("shared", out)))

    def keep(self, name, value):
        value = value[0] if isinstance(value, tuple) else value
        self.seen[name] = value.detach().reshape(-1, value.shape[-1]).clone()

    def keep_routing(self, module, args):
        if len(args) == 3:
            _, experts, weights = args
            if "nllb" in self.family.architecture.lower():  # its experts see a weight for each of them
                weights, experts = weights.topk(2)
            one_hot = experts.dim() == 3  # switch_transformers
            self.keep("experts", experts.argmax(-1) if one_hot else experts)
            self.keep("weights", weights * self.family.factor)

    def keep_scores(self, module, args, out):
        best = out[0].topk(module.top_k)
        self.keep("experts", best.indices)
        self.keep("weights", best.values)

    def keep_logits(self, module, args, out):
        best = out[-1].topk(module.top_k)
        self.keep("experts", best.indices)
        self.keep("weights", best.values.softmax(-1))

    def finish(self):
        for handle in self.handles:
            handle.remove()
        seen = self.seen
        if "shared" in seen:
            seen["block_out"] = seen["block_out"] + seen.pop("shared")
        if self.family.residual == "block alone":
            seen["layer_in"], seen["layer_out"] = seen["block_in"].clone(), seen["block_out"].clone()
        elif self.family.residual == "block":
            seen["layer_out"] = seen["block_out"].clone()
        elif self.family.residual == "layer_in + block":
            seen["layer_out"] = seen["layer_in"] + seen["block_out"]
        return seen


def sparse_layers(model, family):
    """(prefix of io tensors, path of the layer, layer) of the layers that have experts."""
    for prefix, stack, part in family.stacks:
        for number, layer in enumerate(model.get_submodule(stack)):
            layer = layer.get_submodule(part)
            block = layer.get_submodule(family.block)
            by_table = hasattr(block.gate if hasattr(block, "gate") else block, "tid2eid")
            if hasattr(block, family.experts.split(".")[0] or "router") and not by_table:
                yield f"{prefix}.{number}", ".".join(filter(None, [stack, str(number), part])), layer


def record(model, family, generator):
    recorders = {prefix: Recorder(family, layer) for prefix, _, layer in sparse_layers(model, family)}
    ids = torch.randint(3, model.config.get_text_config().vocab_size, (1, TOKENS), generator=generator)
    more = {"decoder_input_ids": ids.flip(1)} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        model.get_submodule(family.called)(input_ids=ids, use_cache=False, **more)
    out = {}
    for prefix, recorder in recorders.items():
        for name, value in recorder.finish().items():
            out[f"{prefix}.{name}"] = value.to(torch.int64 if name == "experts" else torch.float32).contiguous()
    return out


def sparse_tensors(model, family, tensors):
    """Of the tensors on disk those that the sparse layers need."""
    modules = [family.block, "block_sparse_moe", family.norm, family.shared]
    names = family.names or "|".join(filter(None, modules)).replace(".", r"\.")
    paths = [path for _, path, _ in sparse_layers(model, family)]
    if family.disk:
        paths = [f"{family.disk}.{path.rsplit('.', 1)[1]}" for path in paths]
    paths = "|".join(paths).replace(".", r"\.")
    return {name: t for name, t in tensors.items() if re.match(rf"({paths})\.({names})\.", name)}


def write_safetensors(path, tensors):
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)


def write_model(folder, tensors, shards):
    """One file, or as save_pretrained does it several and an index."""
    for old in folder.glob("model*"):
        old.unlink()
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors)
        return
    names = sorted(tensors)
    index = {"metadata": {"total_parameters": sum(t.numel() for t in tensors.values()),
                          "total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": {}}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard::shards]  # no layer, and no expert, is in one file
        index["weight_map"].update(dict.fromkeys(part, file))
        write_safetensors(folder / file, {name: tensors[name] for name in part})
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def quantise_mxfp4(weight):
    """[E, in, out] to blocks [E, out, in / 32, 16] and scales [E, out, in / 32], as the hub's gpt-oss has them."""
    rows = weight.float().transpose(1, 2).reshape(weight.shape[0], weight.shape[2], -1, 32)
    exponent = torch.floor(torch.log2(rows.abs().amax(-1))) - 2  # the largest FP4 number is 6 = 1.5 * 2^2
    scaled = rows / torch.exp2(exponent)[..., None]
    codes = (scaled[..., None] - torch.tensor(FP4_VALUES)).abs().argmin(-1).to(torch.uint8)
    return codes[..., 0::2] | codes[..., 1::2] << 4, (exponent + 127).to(torch.uint8)


def store_mxfp4(model, tensors):
    """Replaces the experts' matrices by MXFP4 on disk and by what that dequantises to in the model."""
    for name in [n for n in tensors if n.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        blocks, scales = quantise_mxfp4(tensors.pop(name))
        tensors[name + "_blocks"], tensors[name + "_scales"] = blocks, scales
        model.get_parameter(name).data = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)


def spread_scales(scales, shape):
    """Of every element of a matrix the scale of its 128 x 128 block, in fp32. Blocks at the edges are partial."""
    return scales.float().repeat_interleave(128, 0).repeat_interleave(128, 1)[:shape[0], :shape[1]]


def quantise_fp8(weight, dtype):
    """[out, in] to F8_E4M3 codes and scales [out / 128, in / 128], rounded up, as DeepSeek-V3 and its successors have them."""
    rows, columns = (-(-length // 128) for length in weight.shape)
    padded = torch.zeros(rows * 128, columns * 128)
    padded[:weight.shape[0], :weight.shape[1]] = weight
    scales = padded.reshape(rows, 128, columns, 128).abs().amax((1, 3)) / torch.finfo(torch.float8_e4m3fn).max
    if dtype != torch.float32:  # powers of two
        scales = torch.exp2(torch.ceil(torch.log2(scales))).to(dtype)
    return (weight.float() / spread_scales(scales, weight.shape)).to(torch.float8_e4m3fn), scales


def store_fp8(family, tensors):
    """Replaces matrices on disk by codes and scales; returns what the checkpoint would be if it were dequantised to fp32."""
    dequantised = dict(tensors)
    for name in [n for n in tensors if re.search(family.fp8, n)]:
        codes, scales = quantise_fp8(tensors[name], getattr(torch, family.scales))
        tensors[name], tensors[name + "_scale_inv"] = codes, scales
        dequantised[name] = codes.float() * spread_scales(scales, codes.shape)
    return dequantised


def generate_family(name, folder):
    family = FAMILIES[name]
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + family.seed)
    cls = getattr(transformers, family.architecture)
    torch.manual_seed(family.seed)
    settings = getattr(transformers, family.settings) if family.settings else cls.config_class
    model = cls(settings(**family.config)).eval()
    fill_randomly(model, generator)
    convert(model, getattr(torch, family.dtype))
    with tempfile.TemporaryDirectory() as whole:
        model.save_pretrained(whole)
        tensors = load_file(pathlib.Path(whole) / "model.safetensors")
        config = json.loads((pathlib.Path(whole) / "config.json").read_text())
        if family.fp8:
            write_safetensors(pathlib.Path(whole) / "model.safetensors", store_fp8(family, tensors))
            config["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
                                             **family.quantisation}
        model = cls.from_pretrained(whole, dtype=torch.float32, experts_implementation="eager", attn_implementation="eager").eval()
    tensors = sparse_tensors(model, family, tensors)
    for key in [key for key in tensors if family.in_out and key.endswith(("gate_up_proj", "down_proj"))]:
        tensors[key] = tensors[key].transpose(1, 2).contiguous()
    if family.mxfp4:
        store_mxfp4(model, tensors)
        config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}
    write_model(folder, tensors, family.shards)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    write_safetensors(folder / "io.safetensors", record(model, family, generator))


def generate_paper(name, folder):
    config, tensors, recorded = papers.make(name, TOKENS)
    write_model(folder, tensors, 1)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    write_safetensors(folder / "io.safetensors", recorded)


def main():
    torch.set_num_threads(1)
    NllbMoeExperts.forward = run_nllb_experts
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    known = [*FAMILIES, *papers.PAPERS]
    wanted = sys.argv[1:] or [*known, "figures"]
    for name in wanted:
        if name == "figures":
            write_safetensors(HERE / "figures.safetensors", figures.make())
            continue
        if name not in known:
            sys.exit(f"no family named {name}; there are {', '.join(known)} and figures")
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        (generate_family if name in FAMILIES else generate_paper)(name, folder)
        print(name, sum(file.stat().st_size for file in folder.iterdir()) // 1024, "KiB", flush=True)


if __name__ == "__main__":
    main()
