"""Runs a module that `catena reference --torch` printed, on random weights, and writes what the compiled layer is compared with.

    torch_compare.py MODULE.py FOLDER SEED

FOLDER gets model.safetensors (the module's parameters; one tensor per iteration where the description says so), x.npy, y.npy,
experts.npy and, where the layer takes them, k.npy (odd seeds) or importance.npy. A backward pass shows that the module can be trained.
"""
import importlib.util
import inspect
import pathlib
import sys

import numpy
import torch
from safetensors.torch import save_file

TOKENS = 19


def load(path):
    spec = importlib.util.spec_from_file_location("printed", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return next(c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, torch.nn.Module))


def main():
    cls, folder = load(sys.argv[1]), pathlib.Path(sys.argv[2])
    torch.manual_seed(int(sys.argv[3]))
    layer = cls()
    for parameter in layer.parameters():
        if parameter.dim() < 3:
            parameter.data += 0.3 * torch.randn(parameter.shape)
    tensors = {}
    for key, (name, *_, rounded) in cls.tensors.items():
        value = getattr(layer, key).data.contiguous()
        if "{iteration}" in name:
            tensors |= {name.replace("{iteration}", str(i)): part.contiguous() for i, part in enumerate(value)}
        else:
            tensors[name] = value[0].contiguous() if key in ("router", "router_bias", "correction") else value
    save_file(tensors, folder / "model.safetensors")
    layer.load(str(folder))
    x = torch.randn(TOKENS, cls.hidden)
    given = {}
    if "k" in inspect.signature(layer.forward).parameters:
        k, importance = torch.randint(cls.k_min, cls.k + 1, (TOKENS,), dtype=torch.int32), torch.rand(TOKENS)
        given = {"k": k} if int(sys.argv[3]) % 2 else {"importance": importance}
        for name, value in given.items():
            numpy.save(folder / f"{name}.npy", value.numpy())
    y, routing = layer(x, **given)
    y.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters() if p.grad is not None)
    assert layer.down.grad is not None
    numpy.save(folder / "x.npy", x.numpy())
    numpy.save(folder / "y.npy", y.detach().numpy())
    numpy.save(folder / "experts.npy", torch.stack([experts for experts, *_ in routing]).to(torch.int32).numpy())


if __name__ == "__main__":
    main()
