"""Networks as data: an architecture is a list of layers, kept in `config.json` beside the weights.

A layer is a record of its arguments. It names the tensors that it has, and gives them back as the
operations of `vad.nn.ops`; so a new layer is written here alone, and the engine, the ONNX export,
the torch modules and what a network costs follow from it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vad.frames import FRAMES_PER_SECOND, HOP_MS, HOP_SAMPLES, SAMPLE_RATE, frame_count
from vad.nn.ops import (
    Add,
    Affine,
    Array,
    Convolution,
    Op,
    Pool,
    Unary,
    multiply_adds,
    receptive_field,
    stride,
)

Tensors = Mapping[str, Array]


@dataclass(frozen=True)
class Parameter:
    """A tensor that is learned.

    Attributes:
        init: what it starts as: zeros; `he`, normal by its fan-in (He et al., 2015); or `mel`,
            windowed cosines on a mel scale.
        gain: times which.
    """

    shape: tuple[int, ...]
    init: Literal["zeros", "he", "mel"] = "zeros"
    gain: float = 1.0


@dataclass(frozen=True)
class Layer(ABC):
    """One entry of an architecture. Its fields are the arguments in `config.json`."""

    type: ClassVar[str]

    def parameters(self) -> dict[str, Parameter]:
        """What is learned, by name."""
        return {}

    def statistics(self) -> dict[str, tuple[int, ...]]:
        """What is measured while learning: shapes by name."""
        return {}

    def constants(self) -> dict[str, NDArray[np.float32]]:
        """Tensors that follow from its arguments, by name."""
        return {}

    @abstractmethod
    def ops(self, tensors: Tensors) -> list[Op]:
        """What it comes down to, given its parameters, statistics and constants."""

    def to_dict(self) -> dict[str, Any]:
        """The entry of `config.json` that describes this layer; defaults are left out."""
        own = {field: getattr(self, field.name) for field in fields(self)}
        told = {field.name: value for field, value in own.items() if value != field.default}
        return {"type": self.type, **told}


@dataclass(frozen=True)
class Conv(Layer):
    """Convolutional layer: the same neurons at every time.

    Attributes:
        groups: channels are divided into so many parts that see only themselves; as many as
            there are channels make a depthwise convolution.
        unit_norm: filters are divided by their L2 norm, so that the response to white noise
            has the noise's own level and a floor in dBFS means something.
        init, gain: what the filters start as; see `Parameter`. `mel` is for the first layer.
    """

    type = "conv"
    channels_in: int
    channels_out: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    bias: bool = True
    unit_norm: bool = False
    init: Literal["he", "mel"] = "he"
    gain: float = 1.0

    def __post_init__(self) -> None:
        if (self.kernel - 1) * self.dilation + 1 < self.stride:
            raise ValueError(f"stride {self.stride} skips inputs of a kernel of {self.kernel}")
        if self.channels_in % self.groups or self.channels_out % self.groups:
            channels = f"{self.channels_in} and {self.channels_out}"
            raise ValueError(f"{self.groups} groups do not divide {channels} channels")

    def parameters(self) -> dict[str, Parameter]:
        shape = (self.channels_out, self.channels_in // self.groups, self.kernel)
        found = {"weight": Parameter(shape, self.init, self.gain)}
        return found | ({"bias": Parameter((self.channels_out,))} if self.bias else {})

    def ops(self, tensors: Tensors) -> list[Op]:
        weight = tensors["weight"]
        if self.unit_norm:
            norms = (weight**2).sum((1, 2), keepdims=True) ** 0.5
            weight = weight / norms.clip(1e-8)
        bias = tensors["bias"] if self.bias else None
        return [Convolution(weight, bias, self.stride, self.dilation, self.groups)]


def dense(channels_in: int, channels_out: int, gain: float = 1.0) -> Conv:
    """Fully connected layer F over the channels of one time step."""
    return Conv(channels_in, channels_out, kernel=1, gain=gain)


@dataclass(frozen=True)
class Patches(Layer):
    """2-D convolution: the same neurons at every time and every pitch.

    Channels are maps × bands, the bands of a filterbank in order of pitch; each output looks at
    a patch of `kernel` bands by `taps` times.

        bands 5, kernel 3, stride 2     [0 0 1 2 3 4 0]  → patches around 0, 2, 4
    """

    type = "patches"
    maps_in: int
    maps_out: int
    bands: int
    kernel: int
    taps: int
    stride: int = 1

    def parameters(self) -> dict[str, Parameter]:
        shape = (self.maps_out, self.maps_in, self.kernel, self.taps)
        return {"weight": Parameter(shape, "he"), "bias": Parameter((self.maps_out,))}

    def constants(self) -> dict[str, NDArray[np.float32]]:
        """[kernel, bands_out · bands]: where each row of a patch lies around each output."""
        out = np.arange(0, self.bands, self.stride)
        places = np.arange(self.kernel)[:, None] + out - self.kernel // 2
        there = places[:, :, None] == np.arange(self.bands)
        return {"places": there.reshape(self.kernel, -1).astype(np.float32)}

    def ops(self, tensors: Tensors) -> list[Op]:
        # A plain convolution, whose weights repeat the patch at every pitch.
        spread = tensors["weight"].swapaxes(2, 3) @ tensors["places"]
        spread = spread.reshape(self.maps_out, self.maps_in, self.taps, -1, self.bands)
        by_map = spread.swapaxes(1, 3).swapaxes(2, 3).swapaxes(3, 4)  # [out, band, in, band, taps]
        weight = by_map.reshape(-1, self.maps_in * self.bands, self.taps)
        bands_out = by_map.shape[1]
        bias = tensors["bias"][[m for m in range(self.maps_out) for _ in range(bands_out)]]
        return [Convolution(weight, bias)]


@dataclass(frozen=True)
class MaxPool(Layer):
    """Max-pooling: whether a feature was there in a block of `size`, not where."""

    type = "pool"
    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"blocks of {self.size} hold nothing")

    def ops(self, tensors: Tensors) -> list[Op]:
        return [Pool(self.size)]


@dataclass(frozen=True)
class Activation(Layer):
    """A function of each value: full-wave and half-wave rectifiers, logits ↔ probabilities."""

    function: Literal["abs", "relu", "sigmoid", "logit"]

    def ops(self, tensors: Tensors) -> list[Op]:
        return [Unary(self.function)]

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.function}


@dataclass(frozen=True)
class LogCompress(Layer):
    """log(1 + |x| / floor) / scale: loudness above a floor; silence is exactly zero.

    Attributes:
        floor_dbfs: sound far below is not heard at all. People don't label what they can't
            hear, so a network that hears it learns to contradict them.
        scale: brings the usual 40 dB above the floor to about one.
    """

    type = "log"
    floor_dbfs: float
    scale: float = 4.0

    def ops(self, tensors: Tensors) -> list[Op]:
        gain = 10 ** (-self.floor_dbfs / 20)
        return [Unary("abs"), Affine(gain), Unary("log1p"), Affine(1 / self.scale)]


@dataclass(frozen=True)
class Norm(Layer):
    """Batch normalisation: per channel, over batch and time (Ioffe and Szegedy, 2015)."""

    type = "norm"
    channels: int
    EPS: ClassVar[float] = 1e-5

    def parameters(self) -> dict[str, Parameter]:
        return {name: Parameter((self.channels,)) for name in ("norm.weight", "norm.bias")}

    def statistics(self) -> dict[str, tuple[int, ...]]:
        each = dict.fromkeys(("norm.running_mean", "norm.running_var"), (self.channels,))
        return {**each, "norm.num_batches_tracked": ()}

    def ops(self, tensors: Tensors) -> list[Op]:
        scale = tensors["norm.weight"] / (tensors["norm.running_var"] + self.EPS) ** 0.5
        return [Affine(scale, tensors["norm.bias"] - tensors["norm.running_mean"] * scale)]


@dataclass(frozen=True)
class Mean(Layer):
    """The mean of each frame and the `length` − 1 before it; a step's frames are its channels.

        two frames a step, length 3     [a b] [c d] [e f]  → [(c + d + e) / 3, (d + e + f) / 3]

    While training it lets through what comes: each frame is to learn from its own label.
    """

    type = "mean"
    channels: int
    length: int

    def constants(self) -> dict[str, NDArray[np.float32]]:
        kernel = -(-(self.length - 1) // self.channels) + 1
        times = np.arange(kernel * self.channels).reshape(kernel, self.channels).T
        age = times[:, -1, None, None] - times  # [out, in, kernel], in frames
        among = (age >= 0) & (age < self.length)
        return {"weight": (among / self.length).astype(np.float32)}

    def ops(self, tensors: Tensors) -> list[Op]:
        return [Convolution(tensors["weight"])]


@dataclass(frozen=True)
class Dropout(Layer):
    """Zeroes whole channels at random while training (Srivastava et al., 2014)."""

    type = "dropout"
    p: float

    def ops(self, tensors: Tensors) -> list[Op]:
        return []


@dataclass(frozen=True)
class Block(Layer):
    """Layers one after another: B on A. Tensors of layer i are called `layers.i.…`.

    Attributes:
        residual: whether what comes in is added to what comes out (He et al., 2015).
    """

    residual: ClassVar[bool] = False

    @property
    @abstractmethod
    def layers(self) -> tuple[Layer, ...]:
        """One after another."""

    def parameters(self) -> dict[str, Parameter]:
        return self._named(lambda layer: layer.parameters())

    def statistics(self) -> dict[str, tuple[int, ...]]:
        return self._named(lambda layer: layer.statistics())

    def constants(self) -> dict[str, NDArray[np.float32]]:
        return self._named(lambda layer: layer.constants())

    def _named(self, of: Callable[[Layer], dict[str, Any]]) -> dict[str, Any]:
        each = enumerate(map(of, self.layers))
        return {f"layers.{i}.{name}": value for i, one in each for name, value in one.items()}

    def ops(self, tensors: Tensors) -> list[Op]:
        found: list[Op] = []
        for i, layer in enumerate(self.layers):
            start = f"layers.{i}."
            own = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
            found += layer.ops(own)
        return [Add(tuple(found))] if self.residual else found


@dataclass(frozen=True)
class Mlpconv(Block):
    """A small multi-layer network in place of A's single one (Lin et al., 2014)."""

    type = "mlpconv"
    channels_in: int
    channels_out: int
    kernel: int
    stride: int = 1

    @property
    def layers(self) -> tuple[Layer, ...]:
        conv = Conv(self.channels_in, self.channels_out, self.kernel, self.stride)
        relu = Activation("relu")
        return (conv, relu, dense(self.channels_out, self.channels_out), relu)


@dataclass(frozen=True)
class Residual(Block):
    """x + W₁(relu(norm(conv(x)))): a layer that starts as almost nothing.

    Dilation spreads the kernel's taps over a longer past at the same cost (van den Oord et
    al., 2016).
    """

    type = "residual"
    residual = True
    channels: int
    kernel: int
    dilation: int = 1
    groups: int = 1

    @property
    def layers(self) -> tuple[Layer, ...]:
        n = self.channels
        conv = Conv(n, n, self.kernel, 1, self.dilation, self.groups, bias=False)
        return (conv, Norm(n), Activation("relu"), dense(n, n, gain=0.3))


@dataclass(frozen=True)
class Bottleneck(Block):
    """A residual layer whose convolution is narrower than what flows past it (He et al., 2015).

    The dilated convolution, which must remember its past, costs state and time by its width.
    """

    type = "bottleneck"
    residual = True
    channels: int
    width: int
    kernel: int
    dilation: int = 1

    @property
    def layers(self) -> tuple[Layer, ...]:
        n, relu = self.width, Activation("relu")
        narrow = Conv(self.channels, n, 1, bias=False)
        conv = Conv(n, n, self.kernel, dilation=self.dilation, bias=False)
        return (narrow, Norm(n), relu, conv, Norm(n), relu, dense(n, self.channels, gain=0.3))


@dataclass(frozen=True)
class Body(Block):
    """All layers of a network."""

    inside: tuple[Layer, ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.inside


_RECORDS = (
    Conv, Patches, MaxPool, LogCompress, Norm, Mean, Dropout, Mlpconv, Residual, Bottleneck,
)  # fmt: skip
# What makes the layer of each type in `config.json`.
LAYERS: dict[str, Callable[..., Layer]] = {
    **{record.type: record for record in _RECORDS},
    **{name: partial(Activation, name) for name in ("abs", "relu", "sigmoid", "logit")},
    "dense": dense,
}


@dataclass(frozen=True)
class Architecture:
    """A network's shape: samples at 16 kHz in, one logit every 10 ms out.

        samples  0      320     640     960             steps of two frames (20 ms)
        output       [0 1]   [2 3]   [4 5]   …          each step ends with these
        frame     [-3 -2] [-1 0]  [1 2]   …             delay 3: what they speak of

    Attributes:
        name: how it is called.
        layers: from samples to logits.
        delay: frames by which outputs lag behind the frame they speak of, so that the net may
            hear what follows it.

    Raises:
        ValueError: steps that are no whole frames, or a negative delay.
    """

    name: str
    layers: tuple[Layer, ...]
    delay: int

    def __post_init__(self) -> None:
        if self.step_samples < 1 or self.step_samples % HOP_SAMPLES:
            raise ValueError(f"a stride of {self.step_samples} is no multiple of {HOP_SAMPLES}")
        if self.delay < 0:
            raise ValueError(f"a delay of {self.delay} frames would be before they are heard")

    @property
    def body(self) -> Body:
        """All layers of the network, as one block."""
        return Body(self.layers)

    @cached_property
    def step_samples(self) -> int:
        """Samples from one output of the last layer to the next."""
        return stride(self._blank)

    @property
    def step_frames(self) -> int:
        """Frames that one step yields."""
        return self.step_samples // HOP_SAMPLES

    @property
    def lookahead_ms(self) -> int:
        """How far past its own end a frame's probability listens, at most."""
        return (self.delay + self.step_frames - 1) * HOP_MS

    @property
    def latency_ms(self) -> int:
        """Longest time from a frame's end to its probability: all of it is look-ahead."""
        return self.lookahead_ms

    def known_at_ms(self, frame: int) -> int:
        """How much audio must have arrived before a frame's probability comes out."""
        steps = -(-(frame + 1 + self.delay) // self.step_frames)
        return steps * self.step_frames * HOP_MS

    def steps(self, samples: int) -> int:
        """Steps after which every frame of `samples` has its output."""
        frames = frame_count(samples, SAMPLE_RATE)
        return -(-(frames + self.delay) // self.step_frames) if frames else 0

    @cached_property
    def receptive_field(self) -> int:
        """Samples that one step's outputs depend on."""
        return receptive_field(self._blank)

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(each.shape) for each in self.body.parameters().values())

    @property
    def macs_per_second(self) -> int:
        """Multiply-adds of the convolutions for one second of audio."""
        return multiply_adds(self._blank) * FRAMES_PER_SECOND // self.step_frames

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor that the weights hold, by name."""
        learned = {name: each.shape for name, each in self.body.parameters().items()}
        found = learned | self.body.statistics()
        return {f"body.{name}": shape for name, shape in found.items()}

    def ops(self, weights: Tensors) -> list[Op]:
        """The operations that lead from samples to logits, given tensors of these `shapes`."""
        own = {name.removeprefix("body."): tensor for name, tensor in weights.items()}
        return self.body.ops(own | self.body.constants())

    @property
    def _blank(self) -> list[Op]:
        return self.ops({name: np.zeros(shape, np.float32) for name, shape in self.shapes.items()})

    def to_dict(self) -> dict[str, Any]:
        layers = [layer.to_dict() for layer in self.layers]
        return {"name": self.name, "layers": layers, "delay": self.delay}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Architecture:
        layers = []
        for entry in data["layers"]:
            arguments = dict(entry)
            layers.append(LAYERS[arguments.pop("type")](**arguments))
        return cls(str(data["name"]), tuple(layers), int(data["delay"]))
