"""Networks as data: what an architecture is, and the five operations that it comes down to.

An architecture is a list of layers, kept in `config.json` beside the weights. A layer says which
tensors it has, and gives them back as operations:

    Convolution   y_n = W · (x_n …) + b, causal, with stride, dilation and groups
    Pool          the maximum of each block
    Affine        scale · x + offset, channel by channel
    Unary         one function of each value: abs, relu, log1p, sigmoid, logit
    Add           x + what a branch of operations makes of x

Whoever runs a network runs these: the engine, the ONNX export and, for training, the torch
modules; and its cost, receptive field and latency are counted from them. So a new layer is
written here alone. Tensors may be numpy's or torch's, for only what both have is done with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vad.frames import FRAMES_PER_SECOND, HOP_MS, HOP_SAMPLES, SAMPLE_RATE, frame_count

Array = Any  # of numpy or torch
Tensors = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Convolution:
    """Output n sees inputs up to n · stride + stride − 1, and `context` before these.

        kernel 5, stride 1, dilation 1     past [· · · ·] x0        → y0
        kernel 5, stride 2                 past [· · ·] x0 x1       → y0

    Attributes:
        weight: [channels_out, channels_in / groups, kernel].
        bias: [channels_out].
    """

    weight: Array
    bias: Array | None = None
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    @property
    def channels_in(self) -> int:
        return int(self.weight.shape[1]) * self.groups

    @property
    def context(self) -> int:
        """Past inputs that an output depends on beside its own `stride`."""
        return (int(self.weight.shape[2]) - 1) * self.dilation + 1 - self.stride


@dataclass(frozen=True)
class Pool:
    """Whether a feature was there in a block of `stride` inputs, not where."""

    stride: int


@dataclass(frozen=True, eq=False)
class Affine:
    """`scale` and `offset` are [channels], or [1] for all alike; no offset is 0."""

    scale: Array
    offset: Array | None = None


@dataclass(frozen=True)
class Unary:
    """`log1p` is of what is not negative; `logit` of probabilities, within ±13.8."""

    function: Literal["abs", "relu", "log1p", "sigmoid", "logit"]


@dataclass(frozen=True, eq=False)
class Add:
    branch: tuple[Op, ...]


Op = Convolution | Pool | Affine | Unary | Add

LOGIT_EPS = 1e-6


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
class Layer:
    """One entry of an architecture. Its fields are the arguments in `config.json`."""

    type: ClassVar[str]

    def parameters(self) -> dict[str, Parameter]:
        """What is learned, by name."""
        return {}

    def statistics(self) -> dict[str, tuple[int, ...]]:
        """What is measured while learning: shapes by name."""
        return {}

    def constants(self) -> dict[str, NDArray[np.float32]]:
        """What `ops` needs beside what the weights hold."""
        return {}

    def ops(self, tensors: Tensors) -> list[Op]:
        """The operations that it comes down to.

        Args:
            tensors: its parameters, statistics and constants.
        """
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """As in `config.json`; arguments that are their default are left out."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        defaults = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        return {"type": self.type} | {
            name: value for name, value in own.items() if (name, value) not in defaults.items()
        }


@dataclass(frozen=True)
class Conv(Layer):
    """Convolutional layer: the same neurons at every time.

    Attributes:
        groups: channels are divided into so many parts that see only themselves; as many as
            there are channels make a depthwise convolution.
        unit_norm: filters are divided by their L2 norm, so that the response to white noise
            has the noise's own level and a floor in dBFS means something.
        init: `mel` starts the filters as windowed cosines on a mel scale (first layer only).
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

    def __post_init__(self) -> None:
        if (self.kernel - 1) * self.dilation + 1 < self.stride:
            raise ValueError(f"stride {self.stride} skips inputs of a kernel of {self.kernel}")
        if self.channels_in % self.groups or self.channels_out % self.groups:
            raise ValueError(
                f"{self.groups} groups do not divide {self.channels_in} and {self.channels_out}"
            )

    def parameters(self) -> dict[str, Parameter]:
        shape = (self.channels_out, self.channels_in // self.groups, self.kernel)
        found = {"weight": Parameter(shape, self.init)}
        return found | ({"bias": Parameter((self.channels_out,))} if self.bias else {})

    def ops(self, tensors: Tensors) -> list[Op]:
        weight = tensors["weight"]
        if self.unit_norm:
            norms = (weight**2).sum((1, 2), keepdims=True) ** 0.5
            weight = weight / norms.clip(1e-8)
        bias = tensors["bias"] if self.bias else None
        return [Convolution(weight, bias, self.stride, self.dilation, self.groups)]


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer F over the channels of one time step.

    Attributes:
        gain: of the weights it starts with.
    """

    type = "dense"
    channels_in: int
    channels_out: int
    gain: float = 1.0

    def parameters(self) -> dict[str, Parameter]:
        weight = Parameter((self.channels_out, self.channels_in, 1), "he", self.gain)
        return {"weight": weight, "bias": Parameter((self.channels_out,))}

    def ops(self, tensors: Tensors) -> list[Op]:
        return [Convolution(tensors["weight"], tensors["bias"])]


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
        bands_out = -(-self.bands // self.stride)
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
class Abs(Layer):
    """Full-wave rectifier."""

    type = "abs"

    def ops(self, tensors: Tensors) -> list[Op]:
        return [Unary("abs")]


@dataclass(frozen=True)
class Relu(Layer):
    """Half-wave rectifier."""

    type = "relu"

    def ops(self, tensors: Tensors) -> list[Op]:
        return [Unary("relu")]


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

    def constants(self) -> dict[str, NDArray[np.float32]]:
        gain = np.array([10 ** (-self.floor_dbfs / 20)], np.float32)
        return {"gain": gain, "unit": np.array([1 / self.scale], np.float32)}

    def ops(self, tensors: Tensors) -> list[Op]:
        gain, unit = Affine(tensors["gain"]), Affine(tensors["unit"])
        return [Unary("abs"), gain, Unary("log1p"), unit]


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
class Sigmoid(Layer):
    """Probabilities of logits."""

    type = "sigmoid"

    def ops(self, tensors: Tensors) -> list[Op]:
        return [Unary("sigmoid")]


@dataclass(frozen=True)
class Logit(Layer):
    """Logits of probabilities."""

    type = "logit"

    def ops(self, tensors: Tensors) -> list[Op]:
        return [Unary("logit")]


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

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        raise NotImplementedError

    def parameters(self) -> dict[str, Parameter]:
        return _named(layer.parameters() for layer in self.layers)

    def statistics(self) -> dict[str, tuple[int, ...]]:
        return _named(layer.statistics() for layer in self.layers)

    def constants(self) -> dict[str, NDArray[np.float32]]:
        return _named(layer.constants() for layer in self.layers)

    def ops(self, tensors: Tensors) -> list[Op]:
        found: list[Op] = []
        for i, layer in enumerate(self.layers):
            start = f"layers.{i}."
            own = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
            found += layer.ops(own)
        return [Add(tuple(found))] if self.residual else found


def _named(each: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {f"layers.{i}.{name}": own for i, one in enumerate(each) for name, own in one.items()}


@dataclass(frozen=True)
class Mlpconv(Block):
    """A small multi-layer network in place of A's single one (Lin et al., 2014)."""

    type = "mlpconv"
    channels_in: int
    channels_out: int
    kernel: int
    stride: int = 1

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return (
            Conv(self.channels_in, self.channels_out, self.kernel, self.stride),
            Relu(),
            Dense(self.channels_out, self.channels_out),
            Relu(),
        )


# A residual layer starts as almost nothing.
_SMALL = 0.3


@dataclass(frozen=True)
class Residual(Block):
    """x + W₁(relu(norm(conv(x)))).

    Dilation spreads the kernel's taps over a longer past at the same cost (van den Oord et
    al., 2016).
    """

    type = "residual"
    residual = True
    channels: int
    kernel: int
    dilation: int = 1
    groups: int = 1

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return (
            Conv(
                self.channels,
                self.channels,
                self.kernel,
                dilation=self.dilation,
                groups=self.groups,
                bias=False,
            ),
            Norm(self.channels),
            Relu(),
            Dense(self.channels, self.channels, _SMALL),
        )


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

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return (
            Conv(self.channels, self.width, 1, bias=False),
            Norm(self.width),
            Relu(),
            Conv(self.width, self.width, self.kernel, dilation=self.dilation, bias=False),
            Norm(self.width),
            Relu(),
            Dense(self.width, self.channels, _SMALL),
        )


LAYERS: dict[str, type[Layer]] = {
    layer.type: layer
    for layer in (
        Conv, Dense, Patches, MaxPool, Abs, Relu, LogCompress, Norm, Sigmoid, Logit, Mean, Dropout,
        Mlpconv, Residual, Bottleneck,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Body(Block):
    """A whole network's layers."""

    inside: tuple[Layer, ...]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return self.inside


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
        if self.step_samples % HOP_SAMPLES:
            raise ValueError(f"a stride of {self.step_samples} is no multiple of {HOP_SAMPLES}")
        if self.delay < 0:
            raise ValueError(f"a delay of {self.delay} frames would be before they are heard")

    @cached_property
    def body(self) -> Body:
        """Its layers as one."""
        return Body(self.layers)

    @cached_property
    def step_samples(self) -> int:
        """Samples from one output of the last layer to the next."""
        return math.prod(_strides(self._blank))

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
        return _field(self._blank, 1)

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(each.shape) for each in self.body.parameters().values())

    @property
    def macs_per_second(self) -> int:
        """Multiply-adds of the convolutions for one second of audio."""
        return _macs(self._blank, 1) * FRAMES_PER_SECOND // self.step_frames

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors that its weights hold."""
        learned = {name: each.shape for name, each in self.body.parameters().items()}
        found = learned | self.body.statistics()
        return {f"body.{name}": shape for name, shape in found.items()}

    def ops(self, weights: Tensors) -> list[Op]:
        """From samples to logits.

        Args:
            weights: as `shapes` says.
        """
        return self.body.ops(
            {name.removeprefix("body."): tensor for name, tensor in weights.items()}
            | self.body.constants()
        )

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


def to_probabilities(ops: Sequence[Op]) -> list[Op]:
    """The same operations, but so that the last gives probabilities, not their logits."""
    if ops and ops[-1] == Unary("logit"):
        return list(ops[:-1])
    return [*ops, Unary("sigmoid")]


def folded(ops: Iterable[Op]) -> list[Op]:
    """Fewer operations that give the same: scales and offsets go into the convolutions.

    An `Affine` behind a convolution becomes part of it, through functions that a positive scale
    passes; a scale in front of one becomes part of that.
    """
    found: list[Op] = []
    for op in ops:
        if isinstance(op, Add):
            op = Add(tuple(folded(op.branch)))
        elif isinstance(op, Affine) and (place := _convolution_behind(op, found)) is not None:
            before = found[place]
            assert isinstance(before, Convolution)
            found[place] = _scaled(before, op)
            continue
        elif isinstance(op, Convolution) and found and _is_scale(found[-1]):
            scale = found.pop()
            assert isinstance(scale, Affine)
            op = _of_scaled(op, scale)
        found.append(op)
    return found


def _convolution_behind(op: Affine, found: list[Op]) -> int | None:
    """The place of the convolution that a scale or offset can become part of."""
    passes = op.offset is None and bool((op.scale > 0).all())
    for place in range(len(found) - 1, -1, -1):
        before = found[place]
        if isinstance(before, Convolution):
            return place
        if not passes or not (isinstance(before, Pool) or before in (Unary("abs"), Unary("relu"))):
            return None
    return None


def _scaled(conv: Convolution, op: Affine) -> Convolution:
    bias = conv.bias if op.offset is None else op.offset
    if conv.bias is not None:
        scaled = conv.bias * op.scale
        bias = scaled if op.offset is None else scaled + op.offset
    weight = conv.weight * op.scale[:, None, None]
    return Convolution(weight, bias, conv.stride, conv.dilation, conv.groups)


def _is_scale(op: Op) -> bool:
    return isinstance(op, Affine) and op.offset is None and op.scale.shape == (1,)


def _of_scaled(conv: Convolution, op: Affine) -> Convolution:
    return Convolution(conv.weight * op.scale, conv.bias, conv.stride, conv.dilation, conv.groups)


def _strides(ops: Iterable[Op]) -> list[int]:
    return [op.stride for op in ops if isinstance(op, Convolution | Pool)]


def _field(ops: Sequence[Op], field: int) -> int:
    """Inputs that `field` outputs in a row depend on."""
    for op in reversed(ops):
        if isinstance(op, Add):
            field = max(field, _field(op.branch, field))
        elif isinstance(op, Convolution | Pool):
            # n outputs take (n − 1) · stride inputs more than one output does.
            context = op.context if isinstance(op, Convolution) else 0
            field = field * op.stride + context
    return field


def _macs(ops: Sequence[Op], outputs: int) -> int:
    """Multiply-adds for so many outputs."""
    total = 0
    for op in reversed(ops):
        if isinstance(op, Add):
            total += _macs(op.branch, outputs)
        elif isinstance(op, Convolution | Pool):
            if isinstance(op, Convolution):
                total += math.prod(op.weight.shape) * outputs
            outputs *= op.stride
    return total
