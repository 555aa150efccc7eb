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

import torch
from torch import Tensor

from vad.nn.blocks import Residual, Sequence
from vad.nn.layers import Abs, Conv, Dropout, Layer, LogCompress, Norm, Pool, Relu
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

    def windows(self, index: int, x: Tensor) -> Tensor:
        """What convolution `index` looks at for its next outputs, given its next inputs.

        Args:
            x: [time · batch, channels].

        Returns:
            [outputs · batch, kernel, channels], the kernel's oldest row first.
        """


Op = Callable[[Tensor, Memory], Tensor]


class Plan:
    """A network's list of operations.

    Args:
        network: with its norms folded.

    Attributes:
        context: samples of the past that must precede the audio.
        kept: of each convolution behind the first, in order.

    Raises:
        ValueError: a layer that has no fast form.
    """

    def __init__(self, network: Network) -> None:
        first, *rest = _flat(network.body)
        if type(first) is not Conv or first.channels_in != 1:
            raise ValueError("the first layer must be a convolution of the samples")
        self.context = first.context
        self.kept: list[Kept] = []
        self._stride, self._dilation = first.stride, first.dilation
        self._per_step = network.step_samples // first.stride
        self._filters = _gemm_weight(first)
        self._bias = first.bias
        self._ops = self._compiled(rest, self._per_step)

    def run(self, audio: Tensor, memory: Memory) -> Tensor:
        """Probabilities [batch, frames] of the next steps of each stream.

        Args:
            audio: [batch, context + n · step_samples].
        """
        x = _product(self._audio_windows(audio), self._filters, self._bias)
        for op in self._ops:
            x = op(x, memory)
        batch = memory.batch
        # [steps · batch, frames of a step] → [batch, frames in order of time]
        return x.sigmoid_().view(-1, batch, x.shape[1]).transpose(0, 1).reshape(batch, -1)

    def _audio_windows(self, audio: Tensor) -> Tensor:
        """[positions · batch, taps], read where they lie."""
        batch, taps = len(audio), len(self._filters)
        positions = (audio.shape[1] - self.context) // self._stride
        row, one = audio.stride()
        return audio.as_strided(
            (positions, batch, taps),
            (self._stride * one, row, self._dilation * one),
            audio.storage_offset(),
        ).reshape(positions * batch, taps)

    def _compiled(self, layers: list[Layer], inputs: int) -> list[Op]:
        ops: list[Op] = []
        for layer in layers:
            # What an operation has made may be overwritten; what comes in from outside may not.
            in_place = _IN_PLACE.get(type(layer)) if ops else None
            ops += [in_place] if in_place else self._op(layer, inputs)
            inputs //= layer.stride
        return ops

    def _op(self, layer: Layer, inputs: int) -> list[Op]:
        if isinstance(layer, Residual) and type(layer).forward is Residual.forward:
            return [_Skip(self._compiled(_flat(layer, inside=True), inputs))]
        if isinstance(layer, Conv):
            return [self._convolution(layer, inputs)]
        if isinstance(layer, Dropout):
            return []
        if isinstance(layer, Pool):
            return [_pool(layer.stride)]
        if isinstance(layer, Norm):
            return [_norm(layer)]
        if isinstance(layer, LogCompress):
            return [_log(layer)]
        if isinstance(layer, Relu):
            return [lambda x, memory: x.relu()]
        if isinstance(layer, Abs):
            return [lambda x, memory: x.abs()]
        raise ValueError(f"{type(layer).__name__} has no fast form")

    def _convolution(self, conv: Conv, inputs: int) -> Op:
        index = None
        kernel = conv.weight.shape[2]
        if kernel > 1:
            index = len(self.kept)
            self.kept.append(Kept(conv.channels_in, kernel, conv.stride, conv.dilation, inputs))
        return _convolution(conv, index) if conv.groups == 1 else _grouped(conv, index)


_IN_PLACE: dict[type[Layer], Op] = {
    Relu: lambda x, memory: x.relu_(),
    Abs: lambda x, memory: x.abs_(),
}


class _Skip:
    """x + what its operations make of x."""

    def __init__(self, ops: list[Op]) -> None:
        self._ops = ops

    def __call__(self, x: Tensor, memory: Memory) -> Tensor:
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


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.mm(x, weight) if bias is None else torch.addmm(bias, x, weight)


def _gemm_weight(conv: Conv) -> Tensor:
    """[kernel · channels_in, channels_out]"""
    return conv.filters().permute(2, 1, 0).flatten(0, 1).contiguous()


def _convolution(conv: Conv, index: int | None) -> Op:
    weight, bias = _gemm_weight(conv), conv.bias

    def op(x: Tensor, memory: Memory) -> Tensor:
        if index is not None:
            x = memory.windows(index, x).reshape(-1, len(weight))
        return _product(x, weight, bias)

    return op


def _grouped(conv: Conv, index: int | None) -> Op:
    """As many products as groups; with one channel a group, a sum over the kernel is faster."""
    out, inner, kernel = conv.weight.shape
    groups, bias = conv.groups, conv.bias
    by_group = conv.weight.view(groups, out // groups, inner, kernel)
    products = by_group.permute(0, 3, 2, 1).flatten(1, 2).contiguous()
    by_tap = conv.weight[:, 0].t().contiguous()

    def op(x: Tensor, memory: Memory) -> Tensor:
        windows = x[:, None] if index is None else memory.windows(index, x)
        if inner == 1 and out == groups:
            y = (windows * by_tap).sum(1)
        else:
            cut = windows.reshape(-1, kernel, groups, inner).permute(2, 0, 1, 3).flatten(2)
            y = torch.bmm(cut, products).transpose(0, 1).flatten(1)
        return y if bias is None else y + bias

    return op


def _pool(size: int) -> Op:
    def op(x: Tensor, memory: Memory) -> Tensor:
        return x.view(-1, size, memory.batch * x.shape[1]).amax(1).view(-1, x.shape[1])

    return op


def _norm(layer: Norm) -> Op:
    """One that could not be folded, as after a sum."""
    norm = layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    offset = norm.bias - norm.running_mean * gain
    return lambda x, memory: torch.addcmul(offset, x, gain)


def _log(layer: LogCompress) -> Op:
    """log(1 + x) where the layer says log1p: eight times as fast, and wrong by 1e-7 at most."""
    gain, scale = layer.gain, 1 / layer.scale
    return lambda x, memory: x.abs().mul_(gain).add_(1).log_().mul_(scale)
