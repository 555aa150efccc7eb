"""An ONNX graph: the five operations that a network comes down to, and what is around them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import MissingExtra
from vad.nn.ops import LOGIT_EPS, Add, Affine, Convolution, Op, Pool, Unary


class Graph:
    """An ONNX graph that grows node by node; values go by their names.

    Attributes:
        onnx: the package of that name.
        nodes, constants, inputs, outputs: what it has so far.
    """

    def __init__(self) -> None:
        self.onnx = load_onnx()
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._made = 0

    def ops(self, ops: Iterable[Op], x: str) -> str:
        """Appends operations; returns the name of the last one's output."""
        for op in ops:
            x = self.op(op, x)
        return x

    def op(self, op: Op, x: str) -> str:
        match op:
            case Add():
                return self.node("Add", x, self.ops(op.branch, x))
            case Convolution():
                return self.convolution(op, x)
            case Pool():
                return self.node("MaxPool", x, kernel_shape=[op.stride], strides=[op.stride])
            case Affine():
                scale, offset = op.scale, op.offset
                by = scale if isinstance(scale, float) else scale[:, None]
                y = self.node("Mul", x, self.constant(np.asarray(by, np.float32)))
                return y if offset is None else self.node("Add", y, self.constant(offset[:, None]))
            case Unary():
                return self.unary(op, x)

    def unary(self, op: Unary, x: str) -> str:
        if op.function == "log1p":
            return self.node("Log", self.node("Add", x, self.number(1)))
        if op.function == "logit":
            p = self.node("Clip", x, self.number(LOGIT_EPS), self.number(1 - LOGIT_EPS))
            return self.node("Log", self.node("Div", p, self.node("Sub", self.number(1), p)))
        return self.node(op.function.capitalize(), x)

    def convolution(self, op: Convolution, x: str) -> str:
        past = self.with_past(op, x) if op.context else None
        pads = [op.context if past is None else 0, 0]
        values = [self.constant(each) for each in (op.weight, op.bias) if each is not None]
        return self.node(
            "Conv", past or x, *values, strides=[op.stride], dilations=[op.dilation],
            group=op.groups, pads=pads,
        )  # fmt: skip

    def with_past(self, op: Convolution, x: str) -> str | None:
        """`x` behind the inputs that the convolution had before, or None where it had none."""
        return None

    def branch(self, name: str, build: Callable[[], Iterable[tuple[str, int]]]) -> Any:
        """A graph for an `If`, which sees all values outside of it.

        Args:
            build: appends its nodes; returns its outputs, each with its number of dimensions.
        """
        outside, self.nodes = self.nodes, []
        try:
            helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
            outputs = [
                helper.make_tensor_value_info(value, kind, [None] * dimensions)
                for value, dimensions in build()
            ]
            return helper.make_graph(self.nodes, name, [], outputs)
        finally:
            self.nodes = outside

    def finish(self, name: str) -> Any:
        return self.onnx.helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, self.constants
        )

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Appends a node; returns the name of its only output."""
        output = output or f"{kind.lower()}_{self._made}"
        self.append(kind, inputs, [output], output, **attributes)
        return output

    def append(
        self, kind: str, inputs: Iterable[str], outputs: list[str], name: str, **attributes: Any
    ) -> None:
        """Appends a node with any number of outputs. Its name is what its errors are told by."""
        made = self.onnx.helper.make_node(kind, list(inputs), outputs, name=name, **attributes)
        self.nodes.append(made)
        self._made += 1

    def constant(self, values: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.array(values), name))
        return name

    def number(self, value: float) -> str:
        return self.constant(np.float32(value) * np.ones((), np.float32))

    def whole(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def put(
        self, where: list[Any], name: str, shape: tuple[str | int, ...], first: bool = False
    ) -> str:
        """Declares an input or output of float32."""
        kind = self.onnx.TensorProto.FLOAT
        info = self.onnx.helper.make_tensor_value_info(name, kind, shape)
        where.insert(0 if first else len(where), info)
        return name


def load_onnx() -> Any:
    """The package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        onnx = importlib.import_module("onnx")
        for part in ("checker", "helper", "numpy_helper"):
            importlib.import_module(f"onnx.{part}")
    except ImportError as error:
        raise MissingExtra("onnx", "onnx") from error
    return onnx
