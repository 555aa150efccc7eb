"""A network's operations compiled for speed, into few large products.

Everything is rows [time · batch, channels], all streams of a moment together, so that each
convolution is one matrix product:

    windows [rows, kernel · channels] · weights [kernel · channels, channels_out] → rows

What differs between one long piece of a file and a step of many live streams is only where
the windows come from: that is a `Context`'s affair (see `vad.inference.state`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vad.inference.arrays import Array, Arrays, Function
from vad.nn.ops import Add, Affine, Convolution, Op, Pool, Unary


@dataclass(frozen=True)
class Window:
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
        """State rows that it needs beside those of the step."""
        return (self.kernel - 1) * self.dilation + 1 - self.stride

    @property
    def outputs(self) -> int:
        return self.inputs // self.stride


class Context(Protocol):
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


Call = Callable[[Array, Context], Array]


class Plan:
    """A network's operations, ready to run.

    Args:
        ops: from samples to probabilities, with what can be folded folded.
        step_samples: of one step.
        arrays: what they work with.

    Attributes:
        context: samples of the past that must precede the audio.
        window: of each convolution behind the first, in order.

    Raises:
        ValueError: the first operation is no convolution of one channel.
    """

    def __init__(self, ops: Sequence[Op], step_samples: int, arrays: Arrays) -> None:
        first, *rest = ops
        if not isinstance(first, Convolution) or first.channels_in != 1:
            raise ValueError("the first operation must be a convolution of the samples")
        self.arrays = arrays
        self.context = first.context
        self.windows: list[Window] = []
        self._stride, self._dilation = first.stride, first.dilation
        self._taps = first.weight.shape[2]
        self._first = self._product(first)
        self._calls = self._compiled(rest, step_samples // first.stride, fresh=True)

    def run(self, audio: Array, context: Context) -> Array:
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
        for call in self._calls:
            x = call(x, context)
        # [steps · batch, frames of a step] → [batch, frames in order of time]
        return x.reshape(-1, batch, x.shape[1]).swapaxes(0, 1).reshape(batch, -1)

    def _compiled(self, ops: Sequence[Op], inputs: int, fresh: bool) -> list[Call]:
        """One call for each operation.

        Args:
            inputs: rows that a stream brings the first of them in each step of the network.
            fresh: whether it may overwrite them; what an operation has made, the next one may.
        """
        calls: list[Call] = []
        for op in ops:
            calls.append(self._call(op, inputs, fresh or bool(calls)))
            if isinstance(op, Convolution | Pool):
                inputs //= op.stride
        return calls

    def _call(self, op: Op, inputs: int, fresh: bool) -> Call:
        match op:
            case Convolution():
                return self._convolution(op, inputs)
            case Pool():
                return self._pool(op.stride)
            case Affine():
                return self._affine(op)
            case Unary():
                function = getattr(self.arrays, op.function)
                return lambda x, context: function(x, x if fresh else None)
            case Add():
                return self._add(self._compiled(op.branch, inputs, fresh=False))

    def _convolution(self, conv: Convolution, inputs: int) -> Call:
        kernel = conv.weight.shape[2]
        product = self._product(conv) if conv.groups == 1 else self._grouped(conv)
        if kernel == 1 and conv.stride == 1:
            return lambda x, context: product(x)
        index, width = len(self.windows), kernel * conv.channels_in
        self.windows.append(Window(conv.channels_in, kernel, conv.stride, conv.dilation, inputs))
        return lambda x, context: product(context.windows(index, x).reshape(-1, width))

    def _product(self, conv: Convolution) -> Function:
        # [kernel · channels_in, channels_out]
        weight = self._put(conv.weight.transpose(2, 1, 0).reshape(-1, len(conv.weight)))
        return self.arrays.product(weight, self._bias(conv))

    def _grouped(self, conv: Convolution) -> Function:
        """A product for each group; with one channel a group, a sum over the kernel is faster."""
        out, inner, kernel = conv.weight.shape
        groups, bias = conv.groups, self._bias(conv)
        by_tap = self._put(conv.weight[:, 0].T)
        by_group = conv.weight.reshape(groups, out // groups, inner, kernel).transpose(0, 3, 2, 1)
        products = self._put(by_group.reshape(groups, kernel * inner, out // groups))

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

    def _pool(self, size: int) -> Call:
        peak = self.arrays.peak

        def call(x: Array, context: Context) -> Array:
            channels = x.shape[1]
            return peak(x.reshape(-1, size, context.batch * channels), 1).reshape(-1, channels)

        return call

    def _affine(self, op: Affine) -> Call:
        """One that could not be folded, as behind a sum."""
        scale = op.scale if isinstance(op.scale, float) else self._put(op.scale)
        offset = None if op.offset is None else self._put(op.offset)

        def call(x: Array, context: Context) -> Array:
            y = x * scale
            if offset is not None:
                y += offset
            return y

        return call

    def _add(self, branch: Sequence[Call]) -> Call:
        def call(x: Array, context: Context) -> Array:
            y = x
            for each in branch:
                y = each(y, context)
            return x + y

        return call

    def _bias(self, conv: Convolution) -> Array | None:
        return None if conv.bias is None else self._put(conv.bias)

    def _put(self, weights: Array) -> Array:
        return self.arrays.put(np.ascontiguousarray(weights, np.float32))
