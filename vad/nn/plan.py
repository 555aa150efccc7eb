"""A network compiled for speed: the same numbers as `Network.step`, in few large products.

The layers work on [batch, channels, time]. Here everything is rows [time · batch, channels],
all streams of a moment together, so that each convolution is one matrix product:

    windows [rows, kernel · channels] · weights [kernel · channels, channels_out] → rows

What differs between one long piece of a file and a step of many live streams is only where
the windows come from: that is a `Memory`'s affair (see `vad.nn.memory`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from vad.nn.arrays import Array, Arrays
from vad.nn.blocks import Residual, Sequence, to_probabilities
from vad.nn.layers import (
    Abs,
    Conv,
    Dropout,
    Layer,
    LogCompress,
    Mean,
    Norm,
    Patches,
    Pool,
    Relu,
    Sigmoid,
)
from vad.nn.network import Network


@dataclass(frozen=True)
class Kept:
    """What one convolution looks at.

    Attributes:
        inputs: rows that a stream brings it in each step of the network.
    """

    channels: int
    kernel: int
    stride: int
    dilation: int
    inputs: int

    @property
    def context(self) -> int:
        """Past rows that it needs beside those of the step."""
        return (self.kernel - 1) * self.dilation + 1 - self.stride

    @property
    def outputs(self) -> int:
        return self.inputs // self.stride


class Memory(Protocol):
    """The past of one or several streams.

    Attributes:
        batch: how many streams.
    """

    batch: int

    def windows(self, index: int, x: Array) -> Array:
        """What convolution `index` looks at for its next outputs, given its next inputs.

        Args:
            x: [time · batch, channels].

        Returns:
            [outputs · batch, kernel, channels], the kernel's oldest row first.
        """


Op = Callable[[Array, Memory], Array]


class Plan:
    """A network's list of operations.

    Args:
        network: with its norms folded.
        arrays: what they work with.

    Attributes:
        context: samples of the past that must precede the audio.
        kept: of each convolution behind the first, in order.

    Raises:
        ValueError: a layer that has no fast form.
    """

    def __init__(self, network: Network, arrays: Arrays) -> None:
        first, *rest = to_probabilities(_flat(network.body))
        if type(first) is not Conv or first.channels_in != 1:
            raise ValueError("the first layer must be a convolution of the samples")
        self.arrays = arrays
        self.context = first.context
        self.kept: list[Kept] = []
        self._stride, self._dilation = first.stride, first.dilation
        self._taps = first.weight.shape[2]
        self._first = self._product(first)
        self._ops = self._compiled(rest, network.step_samples // first.stride)

    def run(self, audio: Array, memory: Memory) -> Array:
        """Probabilities [batch, frames] of the next steps of each stream.

        Args:
            audio: [batch, context + n · step_samples], contiguous.
        """
        batch, length = audio.shape
        positions = (length - self.context) // self._stride
        x = self.arrays.windows(
            audio, (positions, batch, self._taps), (self._stride, length, self._dilation)
        )
        x = self._first(x.reshape(positions * batch, self._taps))
        for op in self._ops:
            x = op(x, memory)
        # [steps · batch, frames of a step] → [batch, frames in order of time]
        return x.reshape(-1, batch, x.shape[1]).swapaxes(0, 1).reshape(batch, -1)

    def _compiled(self, layers: list[Layer], inputs: int) -> list[Op]:
        ops: list[Op] = []
        for layer in layers:
            # What an operation has made may be overwritten; what comes from outside may not.
            ops += self._op(layer, inputs, fresh=bool(ops))
            inputs //= layer.stride
        return ops

    def _op(self, layer: Layer, inputs: int, fresh: bool) -> list[Op]:
        arrays = self.arrays
        if isinstance(layer, Residual) and type(layer).forward is Residual.forward:
            return [_Skip(self._compiled(_flat(layer, inside=True), inputs))]
        if isinstance(layer, Conv):
            return [self._convolution(layer, inputs)]
        if isinstance(layer, Patches | Mean):
            return [self._convolution(layer.as_conv(), inputs)]
        if isinstance(layer, Dropout):
            return []
        if isinstance(layer, Pool):
            return [self._pool(layer.stride)]
        if isinstance(layer, Norm):
            return [self._norm(layer)]
        if isinstance(layer, LogCompress):
            gain, scale = layer.gain, 1 / layer.scale
            return [lambda x, memory: arrays.log1p(x, gain, scale)]
        if isinstance(layer, Relu):
            return [lambda x, memory: arrays.relu(x, x if fresh else None)]
        if isinstance(layer, Sigmoid):
            return [lambda x, memory: arrays.sigmoid(x)]
        if isinstance(layer, Abs):
            return [lambda x, memory: arrays.abs(x, x if fresh else None)]
        raise ValueError(f"{type(layer).__name__} has no fast form")

    def _convolution(self, conv: Conv, inputs: int) -> Op:
        kernel = conv.weight.shape[2]
        product = self._product(conv) if conv.groups == 1 else self._grouped(conv)
        if kernel == 1:
            return lambda x, memory: product(x)
        index, width = len(self.kept), kernel * conv.channels_in
        self.kept.append(Kept(conv.channels_in, kernel, conv.stride, conv.dilation, inputs))
        return lambda x, memory: product(memory.windows(index, x).reshape(-1, width))

    def _product(self, conv: Conv) -> Callable[[Array], Array]:
        # [kernel · channels_in, channels_out]
        weight = self._weights(conv.filters().permute(2, 1, 0).flatten(0, 1))
        bias, product = self._bias(conv), self.arrays.product
        return lambda x: product(x, weight, bias)

    def _grouped(self, conv: Conv) -> Callable[[Array], Array]:
        """A product for each group; with one channel a group, a sum over the kernel is faster."""
        out, inner, kernel = conv.weight.shape
        groups, bias = conv.groups, self._bias(conv)
        by_tap = self._weights(conv.weight[:, 0].t())
        by_group = conv.weight.view(groups, out // groups, inner, kernel)
        products = self._weights(by_group.permute(0, 3, 2, 1).flatten(1, 2))

        def apply(x: Array) -> Array:
            windows = x.reshape(-1, kernel, groups * inner)
            if inner == 1 and out == groups:
                y = (windows * by_tap).sum(1)
            else:
                cut = windows.reshape(-1, kernel, groups, inner).swapaxes(1, 2).swapaxes(0, 1)
                y = cut.reshape(groups, -1, kernel * inner) @ products
                y = y.swapaxes(0, 1).reshape(-1, out)
            if bias is not None:
                y += bias
            return y

        return apply

    def _pool(self, size: int) -> Op:
        peak = self.arrays.peak

        def op(x: Array, memory: Memory) -> Array:
            channels = x.shape[1]
            return peak(x.reshape(-1, size, memory.batch * channels), 1).reshape(-1, channels)

        return op

    def _norm(self, layer: Norm) -> Op:
        """One that could not be folded, as after a sum."""
        norm = layer.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        scale, offset = self._weights(gain), self._weights(norm.bias - norm.running_mean * gain)

        def op(x: Array, memory: Memory) -> Array:
            y = x * scale
            y += offset
            return y

        return op

    def _bias(self, conv: Conv) -> Array | None:
        return None if conv.bias is None else self._weights(conv.bias)

    def _weights(self, weights: Tensor) -> Array:
        return self.arrays.put(weights.detach().cpu().contiguous().numpy())


class _Skip:
    """x + what its operations make of x."""

    def __init__(self, ops: list[Op]) -> None:
        self._ops = ops

    def __call__(self, x: Array, memory: Memory) -> Array:
        y = x
        for op in self._ops:
            y = op(y, memory)
        return x + y


def _flat(sequence: Sequence, inside: bool = False) -> list[Layer]:
    """The layers of a sequence, those of plain sequences in it among them."""
    if not inside and type(sequence).forward is not Sequence.forward:
        raise ValueError(f"{type(sequence).__name__} has no fast form")
    found: list[Layer] = []
    for layer in sequence.layers:
        assert isinstance(layer, Layer)
        plain = isinstance(layer, Sequence) and type(layer).forward is Sequence.forward
        found += _flat(layer) if plain and isinstance(layer, Sequence) else [layer]
    return found
