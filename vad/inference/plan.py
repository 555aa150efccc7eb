"""A network's operations compiled for speed, into few large products.

Everything is rows [time · batch, channels], all streams of a moment together, so that each
convolution is one matrix product:

    windows [rows, kernel · channels] · weights [kernel · channels, channels_out] → rows

What differs between one long piece of a file and a step of many live streams is only where
the windows come from: that is a `Context`'s affair (see `vad.inference.state`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


@dataclass(frozen=True, slots=True)
class Products:
    """A convolution that is ready to run.

    Attributes:
        apply: to rows of windows.
        index: of its window; None where each row is a window of its own.
        width: of a row of windows.
    """

    apply: Function
    index: int | None
    width: int


@dataclass(frozen=True, slots=True)
class Branch:
    """An `Add` that is ready to run."""

    ops: tuple[Ready, ...]


Ready = Products | Pool | Affine | Unary | Branch  # with weights where they are computed with


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
        self._ready = [*self._prepared(rest, step_samples // first.stride)]

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
        x = self._through(self._ready, x, context, fresh=True)
        # [steps · batch, frames of a step] → [batch, frames in order of time]
        return x.reshape(-1, batch, x.shape[1]).swapaxes(0, 1).reshape(batch, -1)

    def _through(self, ops: Sequence[Ready], x: Array, context: Context, fresh: bool) -> Array:
        """What operations make of rows.

        Args:
            fresh: whether the first may overwrite them; what one has made, the next may.
        """
        for op in ops:  # by `match` it takes a tenth longer
            if isinstance(op, Products):
                if op.index is not None:
                    x = context.windows(op.index, x).reshape(-1, op.width)
                x = op.apply(x)
            elif isinstance(op, Unary):
                x = getattr(self.arrays, op.function)(x, x if fresh else None)
            elif isinstance(op, Branch):
                x = x + self._through(op.ops, x, context, fresh=False)
            elif isinstance(op, Affine):  # one that could not be folded, as behind a sum
                x = x * op.scale
                if op.offset is not None:
                    x += op.offset
            else:
                channels = x.shape[1]
                rows = x.reshape(-1, op.stride, context.batch * channels)
                x = self.arrays.peak(rows, 1).reshape(-1, channels)
            fresh = True
        return x

    def _prepared(self, ops: Iterable[Op], inputs: int) -> Iterator[Ready]:
        """Operations that are ready to run.

        Args:
            inputs: rows that a stream brings the first of them in each step of the network.
        """
        for op in ops:
            match op:
                case Convolution():
                    yield self._convolution(op, inputs)
                case Affine():
                    scale = op.scale if isinstance(op.scale, float) else self._put(op.scale)
                    yield Affine(scale, None if op.offset is None else self._put(op.offset))
                case Add():
                    yield Branch(tuple(self._prepared(op.branch, inputs)))
                case _:
                    yield op
            if isinstance(op, Convolution | Pool):
                inputs //= op.stride

    def _convolution(self, conv: Convolution, inputs: int) -> Products:
        kernel = conv.weight.shape[2]
        product = self._product(conv) if conv.groups == 1 else self._grouped(conv)
        if kernel == 1 and conv.stride == 1:
            return Products(product, None, conv.channels_in)
        self.windows.append(Window(conv.channels_in, kernel, conv.stride, conv.dilation, inputs))
        return Products(product, len(self.windows) - 1, kernel * conv.channels_in)

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

    def _bias(self, conv: Convolution) -> Array | None:
        return None if conv.bias is None else self._put(conv.bias)

    def _put(self, weights: Array) -> Array:
        return self.arrays.put(np.ascontiguousarray(weights, np.float32))
