#!/usr/bin/env python3
"""Makes the files beside it: PyTorch checkpoints for tests of compiler/pytorch/checkpoint.c and of `catena import`. Run by hand with
PyTorch 2.15 and NumPy 2:

    tests/data/torch/make.py tests/data/torch

plain.pt, plain.pkl   a state dict with every dtype and kind of view, and its data.pkl alone
tiny.pkl              the data.pkl of two fp32 tensors of 12 elements, for the fuzzer (tests/fuzz_torch.c)
remoe_*/              a ReMoE of two layers as Megatron-LM saves it (https://github.com/thu-ml/ReMoE, megatron/training/checkpointing.py,
                      generate_state_dict), with each class of experts of megatron/core/transformer/moe/experts.py: SequentialMLP in
                      fp32, GroupedMLP in bf16 as views of one buffer and in pickle protocol 4, TEGroupedMLP in fp16; its data.pkl
LAYER.layer_in.npy    rows before the norm of a sparse layer; LAYER.layer_out.npy: after the residual. Weights are rounded to values
                      that fp16 and bf16 both hold, so all three checkpoints compute the same
"""
import argparse
import collections
import enum
import io
import pathlib
import random
import sys
import types
import zipfile

import numpy
import torch

LAYERS, HIDDEN, EXPERTS, WIDTH, TOKENS, EPS = 2, 24, 5, 20, 9, 1e-5


class Fake:
    """Classes that the checkpoints of Megatron mention and that a reader does not have."""

    def __init__(self):
        for name in ("megatron", "megatron.core", "megatron.core.enums", "megatron.core.rerun"):
            sys.modules[name] = types.ModuleType(name)
        self.Backend = enum.Enum("Backend", {"flash": 1, "auto": 5}, module="megatron.core.enums", qualname="Backend")
        sys.modules["megatron.core.enums"].Backend = self.Backend
        self.State = type("State", (), {"__module__": "megatron.core.rerun", "__qualname__": "State"})
        sys.modules["megatron.core.rerun"].State = self.State


def weights(generator):
    """name -> fp32 tensor, in SequentialMLP's layout."""
    out = collections.OrderedDict()

    def draw(name, *shape, scale):
        # 8 bits of mantissa, exponents that fp16 has: fp32, fp16 and bf16 hold the same value
        value = (torch.randn(*shape, generator=generator) * scale).bfloat16().float()
        out[name] = torch.where(value.abs() < 2.0**-14, torch.zeros(()), value)

    for layer in range(LAYERS):
        prefix = "decoder.layers.%d." % layer
        draw(prefix + "pre_mlp_layernorm.weight", HIDDEN, scale=0.2)
        out[prefix + "pre_mlp_layernorm.weight"] = (out[prefix + "pre_mlp_layernorm.weight"] + 1).bfloat16().float()
        draw(prefix + "mlp.router.weight", EXPERTS, HIDDEN, scale=0.3)
        for e in range(EXPERTS):
            draw(prefix + "mlp.experts.local_experts.%d.linear_fc1.weight" % e, 2 * WIDTH, HIDDEN, scale=0.3)
            draw(prefix + "mlp.experts.local_experts.%d.linear_fc2.weight" % e, HIDDEN, WIDTH, scale=0.3)
    return out


def forward(tensors, layer, h):
    """out = h + sum over e of relu(W x)_e E_e(x), x = RMSNorm(h), in double precision."""
    prefix = "decoder.layers.%d." % layer
    get = lambda name: tensors[prefix + name].double()
    h = h.double()
    x = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + EPS) * get("pre_mlp_layernorm.weight")
    p = torch.relu(x @ get("mlp.router.weight").T)
    out = h.clone()
    for e in range(EXPERTS):
        both = x @ get("mlp.experts.local_experts.%d.linear_fc1.weight" % e).T
        inner = torch.nn.functional.silu(both[:, :WIDTH]) * both[:, WIDTH:]
        out += p[:, e : e + 1] * (inner @ get("mlp.experts.local_experts.%d.linear_fc2.weight" % e).T)
    return out.float()


def grouped(tensors):
    """GroupedMLP: weight1 and weight2 are views [E][H][2F] and [E][F][H] under two-dimensional shapes. As Megatron's contiguous
    parameter buffer makes it, all tensors lie in one storage."""
    out = collections.OrderedDict()
    for layer in range(LAYERS):
        prefix = "decoder.layers.%d." % layer
        for name in ("pre_mlp_layernorm.weight", "mlp.router.weight"):
            out[prefix + name] = tensors[prefix + name]
        experts = prefix + "mlp.experts.local_experts.%d.linear_fc%d.weight"
        first = torch.stack([tensors[experts % (e, 1)].T for e in range(EXPERTS)])
        second = torch.stack([tensors[experts % (e, 2)].T for e in range(EXPERTS)])
        out[prefix + "mlp.experts.weight1"] = first.reshape(HIDDEN, -1)
        out[prefix + "mlp.experts.weight2"] = second.reshape(-1, HIDDEN)
    buffer = torch.cat([tensor.reshape(-1) for tensor in out.values()]).bfloat16()
    offset = 0
    for name, tensor in out.items():
        out[name] = buffer[offset : offset + tensor.numel()].view(tensor.shape)
        offset += tensor.numel()
    return out


def grouped_te(tensors):
    """TEGroupedMLP: linear_fc1.weightE, no dot before the number."""
    out = collections.OrderedDict()
    for name, tensor in tensors.items():
        start, found, rest = name.partition("local_experts.")
        if found:
            expert, matrix, _ = rest.split(".")
            name = "%s%s.weight%s" % (start, matrix, expert)
            out[name.rsplit(".", 1)[0] + "._extra_state"] = io.BytesIO()
        out[name] = tensor.half()
    return out


def arguments(fake, dtype, **changes):
    values = dict(
        num_layers=LAYERS, hidden_size=HIDDEN, ffn_hidden_size=WIDTH, moe_ffn_hidden_size=WIDTH, num_attention_heads=4,
        num_experts=EXPERTS, moe_router_topk=1, moe_granularity=1, moe_relu_routing=True, moe_relu_l1_reg_coeff_init=1e-8,
        moe_relu_l1_reg_coeff_multiplier=1.2, moe_layer_freq=1, moe_shared_expert_intermediate_size=None, swiglu=True,
        squared_relu=False, normalization="RMSNorm", norm_epsilon=EPS, apply_layernorm_1p=False, add_bias_linear=False,
        apply_residual_connection_post_layernorm=False, moe_grouped_gemm=False, moe_input_jitter_eps=None,
        moe_expert_capacity_factor=None, tensor_model_parallel_size=1, pipeline_model_parallel_size=1,
        expert_model_parallel_size=1, params_dtype=dtype, bf16=dtype is torch.bfloat16, ckpt_format="torch",
        attention_backend=fake.Backend.auto, data_path=["1.0", "pile_text_document"], lr=5e-4, seed=1234,
        consumed_train_samples=30720000, eod_mask_loss=None, big=2**100, negative=-(2**40), rank=0)
    values.update(changes)
    return argparse.Namespace(**values)


def checkpoint(fake, args, model):
    random.seed(1)
    numpy.random.seed(1)
    state = fake.State()
    state.mode, state.itself = "disabled", state  # a cycle
    first = next(iter(model.values()))
    return {
        "args": args,
        "checkpoint_version": 3.0,
        "iteration": 100,
        "model": model,
        "optimizer": {"optimizer": {"param_groups": [{"lr": 5e-4, "step": 100, "betas": (0.9, 0.999)}]},
                      "state": {0: {"exp_avg": torch.zeros(first.shape)}, (1, "x"): frozenset((1, 2)), None: {3, 4}}},
        "opt_param_scheduler": {"max_lr": 5e-4, "lr_decay_style": "cosine", "num_steps": 51200},
        "rerun_state_machine": state,
        "rng_state": [{"random_rng_state": random.getstate(), "np_rng_state": numpy.random.get_state(),
                       "torch_rng_state": torch.Generator().manual_seed(1).get_state()[:100].clone()}],
        "num_floating_point_operations_so_far": 1.5e18,
        "content": bytes(range(256)),
    }


def save_megatron(folder, state, **options):
    file = folder / "iter_0000100" / "mp_rank_00" / "model_optim_rng.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, file, **options)
    (folder / "latest_checkpointed_iteration.txt").write_text("100")
    with zipfile.ZipFile(file) as archive:
        folder.with_suffix(".pkl").write_bytes(archive.read("model_optim_rng/data.pkl"))


def plain():
    """Row r, column c of a [3, 4] tensor is 4 r + c, whatever its dtype and strides."""
    values = torch.arange(12).reshape(3, 4)
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
             torch.uint8, torch.uint16, torch.float8_e4m3fn)
    out = collections.OrderedDict((str(kind).partition(".")[2], values.to(kind)) for kind in kinds)
    out["bool"] = values % 2 == 1
    buffer = torch.arange(100, dtype=torch.float32)
    out["transposed"] = values.float().T.contiguous().T
    out["shared_a"] = buffer[0:12].view(3, 4)
    out["shared_b"] = buffer[88:100].view(3, 4)
    wide = torch.zeros(3, 2, 8)
    wide[:, 1, ::2] = values.float()
    out["strided"] = wide[:, 1, ::2]
    out["expanded"] = torch.tensor([[7.0]]).expand(3, 4)
    out["scalar"] = torch.tensor(2.5)
    out["empty"] = torch.zeros(0, 4)
    out["parameter"] = torch.nn.Parameter(values.float())
    out["attributed"] = torch.nn.Parameter(values.float())
    out["attributed"].sequence_parallel = True
    out["nested"] = {"inner": {"weight": values.float(), 7: values.float(), ("skipped",): values.float()}, "none": None}
    return out


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    generator = torch.Generator().manual_seed(20241220)
    torch.save(plain(), folder / "plain.pt")
    with zipfile.ZipFile(folder / "plain.pt") as archive:
        (folder / "plain.pkl").write_bytes(archive.read("plain/data.pkl"))

    archive = io.BytesIO()
    torch.save({"model": {"a": torch.zeros(3, 4), "b": torch.zeros(4, 3).T}, "args": argparse.Namespace(x=1)}, archive)
    with zipfile.ZipFile(archive) as file:
        (folder / "tiny.pkl").write_bytes(file.read("archive/data.pkl"))

    fake, tensors = Fake(), weights(generator)
    scalar = {"moe_relu_l1_reg_coeff": torch.tensor(1e-8)}
    save_megatron(folder / "remoe_sequential", checkpoint(fake, arguments(fake, torch.float32), {**scalar, **tensors}))
    args = arguments(fake, torch.bfloat16, moe_grouped_gemm=True, moe_use_legacy_grouped_gemm=True)
    save_megatron(folder / "remoe_grouped", checkpoint(fake, args, {**scalar, **grouped(tensors)}), pickle_protocol=4)
    args = arguments(fake, torch.float16, moe_grouped_gemm=True, moe_layer_freq=[1, 1])
    save_megatron(folder / "remoe_te_grouped", checkpoint(fake, args, {**scalar, **grouped_te(tensors)}))
    for layer in range(LAYERS):
        rows = torch.randn(TOKENS, HIDDEN, generator=generator)
        numpy.save(folder / ("%d.layer_in.npy" % layer), rows.numpy())
        numpy.save(folder / ("%d.layer_out.npy" % layer), forward(tensors, layer, rows).numpy())


main()
