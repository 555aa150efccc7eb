"""The five operations that every layer comes down to, and what can be told from them alone.

    Convolution   y_n = W · (x_n …) + b, causal, with stride, dilation and groups
    Pool          the maximum of each block
    Affine        scale · x + offset, channel by channel
    Unary         one function of each value
    Add           x + what a branch of operations makes of x

Who runs a network runs these: the engine, an ONNX runtime, and torch while it learns. Tensors are
numpy's or torch's; only what both can do is done with them here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Array = Any  # of numpy or torch

LOGIT_EPS = 1e-6


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
    context = 0


@dataclass(frozen=True, eq=False)
class Affine:
    """`scale` is [channels], or a number; `offset` is [channels], and none is 0."""

    scale: Array | float
    offset: Array | None = None


@dataclass(frozen=True)
class Unary:
    """`log1p` is of what is not negative; `logit` of probabilities, within ±13.8."""

    function: Literal["abs", "relu", "log1p", "sigmoid", "logit"]


@dataclass(frozen=True, eq=False)
class Add:
    branch: tuple[Op, ...]


Op = Convolution | Pool | Affine | Unary | Add


def to_probabilities(ops: Sequence[Op]) -> list[Op]:
    """Operations whose last gives probabilities, of those that give logits."""
    return list(ops[:-1]) if ops[-1] == Unary("logit") else [*ops, Unary("sigmoid")]


def folded(ops: Iterable[Op]) -> list[Op]:
    """Fewer operations that give the same: scales and offsets become part of convolutions.

    An `Affine` goes into the convolution before it; a positive number alone goes there through
    maxima and rectifiers, too, and also into the convolution behind it.
    """
    found: list[Op] = []
    for op in ops:
        match op:
            case Add():
                op = Add(tuple(folded(op.branch)))
            case Affine():
                place = len(found) - 1
                while place >= 0 and _is_gain(op) and _passes_gain(found[place]):
                    place -= 1
                before = found[place] if place >= 0 else None
                if isinstance(before, Convolution):
                    found[place] = _with_affine(before, op)
                    continue
            case Convolution() if found and isinstance(gain := found[-1], Affine):
                if _is_gain(gain):
                    found.pop()
                    op = replace(op, weight=op.weight * gain.scale)
        found.append(op)
    return found


def _is_gain(op: Affine) -> bool:
    return isinstance(op.scale, float) and op.scale > 0 and op.offset is None


def _passes_gain(op: Op) -> bool:
    return isinstance(op, Pool) or op in (Unary("abs"), Unary("relu"))


def _with_affine(conv: Convolution, op: Affine) -> Convolution:
    bias = None if conv.bias is None else conv.bias * op.scale
    if op.offset is not None:
        bias = op.offset if bias is None else bias + op.offset
    scale = op.scale if isinstance(op.scale, float) else op.scale[:, None, None]
    return replace(conv, weight=conv.weight * scale, bias=bias)


def stride(ops: Iterable[Op]) -> int:
    """Inputs for each output."""
    return math.prod(op.stride for op in ops if isinstance(op, Convolution | Pool))


def receptive_field(ops: Sequence[Op], outputs: int = 1) -> int:
    """Inputs that so many outputs in a row depend on."""
    for op in reversed(ops):
        if isinstance(op, Add):
            outputs = max(outputs, receptive_field(op.branch, outputs))
        elif isinstance(op, Convolution | Pool):
            outputs = outputs * op.stride + op.context
    return outputs


def multiply_adds(ops: Sequence[Op], outputs: int = 1) -> int:
    """How many multiply-adds the convolutions take for so many outputs."""
    each = outputs_of_each(ops, outputs)
    return sum(math.prod(conv.weight.shape) * own for conv, own in each)


def outputs_of_each(ops: Sequence[Op], outputs: int = 1) -> list[tuple[Convolution, int]]:
    """The convolutions in order, each with its outputs for so many of the last operation's."""
    found: list[tuple[Convolution, int]] = []
    for op in reversed(ops):
        if isinstance(op, Add):
            found = outputs_of_each(op.branch, outputs) + found
        elif isinstance(op, Convolution):
            found.insert(0, (op, outputs))
        if isinstance(op, Convolution | Pool):
            outputs *= op.stride
    return found
