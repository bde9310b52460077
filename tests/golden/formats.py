#!/usr/bin/env python3
"""Weight formats decoded by another hand: formats.safetensors, what codes are worth and what values round to.

    tests/golden/formats.py           writes the file again (the same bytes with the same version of numpy)

Needs numpy alone. Every code is decoded from its format's definition, in double precision, and a value is rounded by a search among
all codes: no bits are shifted as catena shifts them. PyTorch, where it is installed, is a third opinion about all of it.

Tensors of formats.safetensors:

    numbers.D               chosen numbers of dtype D: zeros, subnormals, the largest, all exponents, both signs
    numbers.D.values        F32 [n], what they are worth
    round                   F32 [n], values between the codes, on them, and half-way
    round.D                 the nearest code of dtype D, ties to even (U8: E4M3)
    codes                   F8_E4M3 [2, 300, 200], two matrices [out, in]; all 254 codes in each block of 128 x 128
    scales.D                dtype D [2, 3, 2], one for each block; the blocks at the edges are smaller
    values.D                F32 [2, 3, 2, 256], float32(code) * float32(scale) rounded once; of the two NaN codes: 0
"""
import json
import pathlib
import struct

import numpy as np

HERE = pathlib.Path(__file__).parent
MATRICES, ROWS, COLUMNS, BLOCK = 2, 300, 200, 128

# --- formats: bits of the exponent and of the fraction, bias; a finite magnitude's code is below `end` ------------------------------

SHAPES = {"BF16": (8, 7, 127, 0x7F80), "F16": (5, 10, 15, 0x7C00), "U8": (4, 3, 7, 0x7F)}
UNSIGNED = {"BF16": np.uint16, "F16": np.uint16, "U8": np.uint8}


def magnitudes(dtype):
    """The value of every finite magnitude, by its code."""
    exponent_bits, fraction_bits, bias, end = SHAPES[dtype]
    codes = np.arange(end)
    exponent, fraction = codes >> fraction_bits, codes & ((1 << fraction_bits) - 1)
    assert exponent.max() < 1 << exponent_bits
    significand = fraction + np.where(exponent > 0, 1 << fraction_bits, 0)
    return np.ldexp(significand.astype(np.float64), np.maximum(exponent, 1) - bias - fraction_bits)


def sign_of(dtype):
    exponent_bits, fraction_bits, _, _ = SHAPES[dtype]
    return 1 << (exponent_bits + fraction_bits)


def decode(dtype, codes):
    """Values of codes that are finite."""
    codes, sign = codes.astype(np.int64), sign_of(dtype)
    value = magnitudes(dtype)[codes & (sign - 1)]
    return np.where(codes & sign, -value, value)


def encode(dtype, values):
    """The nearest codes, ties to the even one; the largest number's of what is beyond it."""
    table, values = magnitudes(dtype), values.astype(np.float64)
    size = np.abs(values)
    above = np.minimum(np.searchsorted(table, size), len(table) - 1)  # the first that is not smaller
    below = np.maximum(above - 1, 0)
    up, down = table[above] - size, size - table[below]
    code = np.where((up < down) | ((up == down) & (above % 2 == 0)), above, below)
    code = np.where(table[above] == size, above, code)
    code = np.where(size >= table[-1], len(table) - 1, code)
    return (code | np.where(np.signbit(values), sign_of(dtype), 0)).astype(UNSIGNED[dtype])


def e8m0(codes):
    return np.ldexp(1.0, codes.astype(np.int64) - 127)


# --- what is written ---------------------------------------------------------------------------------------------------------


def chosen_numbers(dtype):
    """Codes with every exponent, with fractions at the ends and in the middle, of both signs."""
    _, fraction_bits, _, end = SHAPES[dtype]
    ones = (1 << fraction_bits) - 1
    fractions = {0, 1, 2, 3, ones // 3, ones // 3 * 2, ones // 2, ones // 2 + 1, ones - 1, ones}
    codes = np.array(sorted(e << fraction_bits | f for e in range(end >> fraction_bits) for f in fractions))
    return np.concatenate([codes, codes | sign_of(dtype)]).astype(UNSIGNED[dtype])


def chosen_floats():
    bits = np.array(sorted(e << 23 | f for e in range(0, 255, 3) for f in (0, 1, 0x2AAAAA, 0x400000, 0x7FFFFF)) + [0x7F7FFFFF])
    return np.concatenate([bits, bits | 1 << 31]).astype(np.uint32)


def between(dtype, codes):
    """Values on the codes, half-way to the next ones, and next to half-way, as far as they are fp32 numbers."""
    table = magnitudes(dtype)
    half = (table[codes] + table[codes + 1]) / 2
    values = np.concatenate([table[codes], half]).astype(np.float32)
    near = [np.nextafter(half.astype(np.float32), np.float32(bound)) for bound in (0, np.inf)]
    return np.concatenate([values] + near)


def values_to_round(generator):
    """Those beyond a dtype's largest number are of no use to it: encode() gives them the largest."""
    codes = np.concatenate([np.arange(16), generator.integers(0, SHAPES["F16"][3] - 1, 300)])
    fp16 = between("F16", codes)
    e4m3 = between("U8", np.arange(SHAPES["U8"][3] - 1))
    bf16 = between("BF16", generator.integers(0, SHAPES["BF16"][3] - 1, 600))
    values = np.concatenate([fp16, e4m3, bf16])
    return np.concatenate([values, -values]).astype(np.float32)


def matrix_codes(generator):
    """Each block begins with all finite codes, shuffled, as far as they fit; a last block of 44 x 72 holds them all too."""
    finite = np.array([c for c in range(256) if c & 0x7F != 0x7F], dtype=np.uint8)
    codes = np.empty((MATRICES, ROWS, COLUMNS), dtype=np.uint8)
    for m in range(MATRICES):
        for r in range(0, ROWS, BLOCK):
            for c in range(0, COLUMNS, BLOCK):
                block = codes[m, r : r + BLOCK, c : c + BLOCK]
                drawn = np.concatenate([finite, generator.choice(finite, block.size - len(finite))])
                block[:] = generator.permutation(drawn).reshape(block.shape)
                assert len(np.unique(block)) == 254
    return codes


def block_scales(generator):
    """What is stored and what it is worth: scales of usual size, one with products that are subnormal or vanish, one with the largest ones."""
    shape = (MATRICES, (ROWS + BLOCK - 1) // BLOCK, (COLUMNS + BLOCK - 1) // BLOCK)
    scales = (0.01 * generator.standard_normal(shape)).astype(np.float32)
    scales[0, 0, 1], scales[1, 2, 0], scales[1, 1, 1] = np.float32(2.0**-131 * 1.3), np.float32(255), np.float32(1 / 3)
    brain = encode("BF16", scales)
    exponents = generator.integers(110, 130, shape).astype(np.uint8)
    exponents[0, 0, 1], exponents[1, 2, 0] = 0, 134
    return {"F32": (scales, scales), "BF16": (brain, decode("BF16", brain)), "F8_E8M0": (exponents, e8m0(exponents))}


def values_of_codes(scales):
    """The product of two fp32 numbers is exact in double precision, so that it is rounded once."""
    codes = np.arange(256)
    finite = (codes & 0x7F) != 0x7F
    table = np.where(finite, decode("U8", np.where(finite, codes, 0)), 0)
    return (scales.astype(np.float64)[..., None] * table).astype(np.float32)


def make():
    """Tensors by name, each a dtype and an array."""
    generator = np.random.Generator(np.random.PCG64(12))
    floats = chosen_floats().view(np.float32)
    tensors = {"numbers.F32": ("F32", floats), "numbers.F32.values": ("F32", floats)}
    for dtype in ("BF16", "F16"):
        codes = chosen_numbers(dtype)
        tensors[f"numbers.{dtype}"] = (dtype, codes)
        tensors[f"numbers.{dtype}.values"] = ("F32", decode(dtype, codes).astype(np.float32))
    values = values_to_round(generator)
    tensors["round"] = ("F32", values)
    for dtype in SHAPES:
        tensors[f"round.{dtype}"] = (dtype, encode(dtype, values))
    tensors["codes"] = ("F8_E4M3", matrix_codes(generator))
    for dtype, (stored, scales) in block_scales(generator).items():
        tensors[f"scales.{dtype}"] = (dtype, stored)
        tensors[f"values.{dtype}"] = ("F32", values_of_codes(scales))
    return tensors


def check_with_torch(tensors):
    """PyTorch's own conversions say the same."""
    import torch

    kinds = {"BF16": torch.bfloat16, "F16": torch.float16, "F8_E4M3": torch.float8_e4m3fn, "F8_E8M0": torch.float8_e8m0fnu}

    def to_float(dtype, array):
        return torch.from_numpy(array.copy()).view(kinds[dtype]).float().numpy()

    def same(a, b):
        return np.array_equal(a.view(np.uint32), b.view(np.uint32))

    for dtype in ("BF16", "F16"):
        assert same(to_float(dtype, tensors[f"numbers.{dtype}"][1]), tensors[f"numbers.{dtype}.values"][1]), dtype
    values = tensors["round"][1]
    for name, dtype in (("BF16", "BF16"), ("F16", "F16"), ("U8", "F8_E4M3")):
        inside = np.abs(values) <= magnitudes(name)[-1]
        rounded = torch.from_numpy(values[inside]).to(kinds[dtype]).view(torch.uint8 if name == "U8" else torch.int16).numpy()
        assert np.array_equal(rounded.view(UNSIGNED[name]), tensors[f"round.{name}"][1][inside]), dtype
    codes = np.arange(256, dtype=np.uint8)
    for dtype in ("F32", "BF16", "F8_E8M0"):
        stored = tensors[f"scales.{dtype}"][1]
        scales = stored if dtype == "F32" else to_float(dtype, stored)
        products = (torch.from_numpy(to_float("F8_E4M3", codes)) * torch.from_numpy(scales)[..., None]).numpy()
        finite = (codes & 0x7F) != 0x7F
        assert same(products[..., finite].copy(), tensors[f"values.{dtype}"][1][..., finite].copy()), dtype
    print("formats.py: PyTorch agrees")


def write(path, tensors):
    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    tensors = make()
    write(HERE / "formats.safetensors", tensors)
    try:
        check_with_torch(tensors)
    except ImportError:
        print("formats.py: without PyTorch's opinion")
