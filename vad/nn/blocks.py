"""Layers made of layers, and the table by which an architecture's specs become modules."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from vad.nn.layers import (
    Abs,
    Conv,
    Dense,
    Dropout,
    Layer,
    LogCompress,
    Logit,
    Mean,
    Norm,
    Patches,
    Pool,
    Relu,
    Sigmoid,
    State,
)


class Sequence(Layer):
    """Layers one after another: B on A."""

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.stride = math.prod(layer.stride for layer in layers)

    def each(self) -> list[Layer]:
        """Its layers in order."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.each():
            x = layer(x)
        return x

    def initial_state(self, batch: int) -> State:
        return [tensor for layer in self.each() for tensor in layer.initial_state(batch)]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        after: State = []
        for layer in self.each():
            used = tensors(layer)
            x, new = layer.step(x, state[len(after) : len(after) + used])
            after += new
        return x, after

    def macs(self) -> int:
        """Multiply-adds per output of the whole sequence."""
        total, outputs = 0, 1
        for layer in reversed(self.each()):
            total += layer.macs() * outputs
            outputs *= layer.stride
        return total

    def receptive_field(self) -> int:
        """Inputs that one output depends on."""
        field = 1
        for layer in reversed(self.each()):
            inner = layer.receptive_field() if isinstance(layer, Sequence) else 0
            # n outputs take (n − 1)·stride inputs more than one output does.
            field = (field - 1) * layer.stride + (inner or layer.stride + layer.context)
        return field


class Mlpconv(Sequence):
    """A small multi-layer network in place of A's single one (Lin et al., 2014)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            Conv(channels_in, channels_out, kernel, stride),
            Relu(),
            Dense(channels_out, channels_out),
            Relu(),
        )


class Residual(Sequence):
    """x + W₁(relu(norm(conv(x)))): a layer that starts as almost nothing (He et al., 2015).

    Dilation spreads the kernel's taps over a longer past at the same cost (van den Oord et
    al., 2016).
    """

    def __init__(self, channels: int, kernel: int, dilation: int = 1, groups: int = 1) -> None:
        super().__init__(
            Conv(channels, channels, kernel, dilation=dilation, groups=groups, bias=False),
            Norm(channels),
            Relu(),
            Dense(channels, channels),
        )
        self._start_small()

    def _start_small(self) -> None:
        last = self.layers[-1]
        assert isinstance(last, Dense)
        last.weight.data.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = super().step(x, state)
        return x + y, state


class Bottleneck(Residual):
    """A residual layer whose convolution is narrower than what flows past it (He et al., 2015).

    The dilated convolution, which must remember its past, costs state and time by its width.
    """

    def __init__(self, channels: int, width: int, kernel: int, dilation: int = 1) -> None:
        Sequence.__init__(
            self,
            Conv(channels, width, 1, bias=False),
            Norm(width),
            Relu(),
            Conv(width, width, kernel, dilation=dilation, bias=False),
            Norm(width),
            Relu(),
            Dense(width, channels),
        )
        self._start_small()


def tensors(layer: Layer) -> int:
    """How many state tensors a layer keeps."""
    if isinstance(layer, Sequence):
        return sum(tensors(inner) for inner in layer.layers if isinstance(inner, Layer))
    return 1 if layer.context else 0


def to_probabilities(layers: list[Layer]) -> list[Layer]:
    """A network's layers, but so that the last gives probabilities, not their logits."""
    return layers[:-1] if isinstance(layers[-1], Logit) else [*layers, Sigmoid()]


LAYERS: dict[str, type[Layer]] = {
    "conv": Conv,
    "pool": Pool,
    "abs": Abs,
    "relu": Relu,
    "log": LogCompress,
    "norm": Norm,
    "sigmoid": Sigmoid,
    "mean": Mean,
    "logit": Logit,
    "dense": Dense,
    "dropout": Dropout,
    "mlpconv": Mlpconv,
    "residual": Residual,
    "bottleneck": Bottleneck,
    "patches": Patches,
}


def build(spec: dict[str, Any]) -> Layer:
    """The layer of one entry of an architecture: {"type": "conv", …its arguments}."""
    arguments = dict(spec)
    kind = LAYERS[arguments.pop("type")]
    return kind(**arguments)
