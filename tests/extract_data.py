#!/usr/bin/env python3
"""Makes tests/data from full models and their recorded activations. Run by hand, once; needs nothing but Python.

    tests/extract_data.py SOURCE tests/data

SOURCE holds models/coe (a small Chain-of-Experts language model: model.safetensors, activations.safetensors) and
golden/{mixtral,olmoe,qwen3_moe} (random models of transformers: model.safetensors, io.safetensors).
For each, DATA/NAME_small/ receives model.safetensors with the tensors of the sparse layers alone (of coe only layer 0: the
test copy is described by coe_small_layer.json, the full model by coe_small.json) and the recorded inputs and outputs as
LAYER.KIND.npy: hidden_in/hidden_out, or layer_in/layer_out (with norm and residual) and block_in/block_out (without).
"""
import json
import pathlib
import struct
import sys

SPARSE = (".mlp.", ".block_sparse_moe.", ".post_attention_layernorm.")


def read_safetensors(path):
    """Yields (name, header entry, bytes) of each tensor."""
    data = path.read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_bytes])
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield name, entry, data[8 + header_bytes + begin : 8 + header_bytes + end]


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, entry, data in tensors:
        header[name] = {"dtype": entry["dtype"], "shape": entry["shape"], "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors))


def write_npy(path, shape, data):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }" % "".join("%d, " % size for size in shape)
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data)


def extract(folder, recorded, out, layers):
    out.mkdir(parents=True, exist_ok=True)
    wanted = tuple("model.layers.%d." % layer for layer in layers)
    tensors = [t for t in read_safetensors(folder / "model.safetensors") if t[0].startswith(wanted) and any(s in t[0] for s in SPARSE)]
    write_safetensors(out / "model.safetensors", sorted(tensors, key=lambda t: t[0]))
    for name, entry, data in read_safetensors(folder / recorded):
        _, layer, kind = name.split(".")
        if int(layer) in layers and kind != "attention":
            assert entry["dtype"] == "F32"
            write_npy(out / ("%s.%s.npy" % (layer, kind)), entry["shape"], data)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, out = map(pathlib.Path, sys.argv[1:])
    extract(source / "models/coe", "activations.safetensors", out / "coe_small", [0])
    for name in ("mixtral", "olmoe", "qwen3_moe"):
        extract(source / "golden" / name, "io.safetensors", out / (name + "_small"), [0, 1])


main()
