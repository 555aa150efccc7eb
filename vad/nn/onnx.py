"""A network as ONNX, for runtimes without torch: `vad export`.

The graph is written from the network's operations, folded as the engine folds them; exporters that
trace torch modules give four times the nodes or need another compiler. Two graphs, one arithmetic:

    offline     audio [batch, samples]                    → probabilities [batch, frames]
    streaming   audio [batch, n · step_samples], state_…  → probabilities, next_state_…

The first `delay_frames` probabilities of a stream speak of time before its start, and its first
states are zeros.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import MissingExtra, ParameterError
from vad.frames import HOP_MS, HOP_SAMPLES, SAMPLE_RATE
from vad.nn.ops import (
    LOGIT_EPS,
    Add,
    Affine,
    Convolution,
    Op,
    Pool,
    Unary,
    folded,
    to_probabilities,
)
from vad.nn.spec import Architecture

if TYPE_CHECKING:
    from vad.nn.weights import Model

OPSET, IR_VERSION = 17, 8  # read by every ONNX Runtime since 1.12
LICENCE = "MIT"


def export(model: Model, path: str | os.PathLike[str], *, streaming: bool = False) -> None:
    """Writes a model as ONNX, whole or not at all.

    Args:
        model: what `vad.nn.weights.load` gives.
        path: the file, made or replaced.
        streaming: the step with its states as inputs and outputs, not the whole-file graph.

    Raises:
        MissingExtra: onnx is not installed.
        ParameterError: no such folder to write into.
    """
    path = Path(path)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ParameterError("path", f"{path} is a folder, or lies in none")
    data = to_onnx(model, streaming=streaming)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def to_onnx(model: Model, *, streaming: bool = False) -> bytes:
    """The bytes of the ONNX file; see `export`."""
    onnx = _onnx()
    graph = _Graph(onnx, streaming)
    x = graph.input_audio(model.architecture)
    x = graph.ops(folded(to_probabilities(model.architecture.ops(model.weights))), x)
    graph.output_probabilities(model.architecture, x)
    found = onnx.helper.make_model(
        graph.finish("convad-step" if streaming else "convad"),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="convad",
    )
    onnx.helper.set_model_props(found, metadata(model, streaming=streaming))
    onnx.checker.check_model(found, full_check=True)
    data: bytes = found.SerializeToString()
    return data


def metadata(model: Model, *, streaming: bool) -> dict[str, str]:
    """What the file says of itself; all values are text."""
    shape = model.architecture
    return {
        "name": model.name,
        "sha256": model.sha256,
        "licence": str(model.about.get("licence", LICENCE)),
        "form": "streaming" if streaming else "offline",
        "sample_rate": str(SAMPLE_RATE),
        "hop_ms": str(HOP_MS),
        "delay_frames": str(shape.delay if streaming else 0),
        "lookahead_ms": str(shape.lookahead_ms),
        "step_samples": str(shape.step_samples),
        "step_frames": str(shape.step_frames),
        "architecture": json.dumps(shape.to_dict(), separators=(",", ":")),
    }


class _Graph:
    """An ONNX graph that grows node by node; values go by their names.

    Args:
        streaming: convolutions take their past from a state input, not from zeros.
    """

    def __init__(self, onnx: Any, streaming: bool) -> None:
        self.onnx, self.streaming = onnx, streaming
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

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
        pads = [0, 0]
        if op.context and self.streaming:
            x = self.with_past(op, x)
        else:
            pads = [op.context, 0]
        values = [self.constant(each) for each in (op.weight, op.bias) if each is not None]
        return self.node(
            "Conv", x, *values, strides=[op.stride], dilations=[op.dilation], group=op.groups,
            pads=pads,
        )  # fmt: skip

    def with_past(self, op: Convolution, x: str) -> str:
        """`x` with the convolution's state in front; what comes last is its next state."""
        number = len(self.inputs) - 1  # the audio came first
        state, after = f"state_{number}", f"next_state_{number}"
        shape = ("batch", op.channels_in, op.context)
        joined = self.node("Concat", self.put(self.inputs, state, shape), x, axis=2)
        bounds = (-op.context, np.iinfo(np.int64).max, 2)
        last = (self.constant(np.array([bound], np.int64)) for bound in bounds)
        self.node("Slice", joined, *last, output=self.put(self.outputs, after, shape))
        return joined

    def input_audio(self, shape: Architecture) -> str:
        """[batch, 1, samples]; offline the look-ahead past the end is filled with zeros."""
        audio = self.put(self.inputs, "audio", ("batch", "samples"))
        if not self.streaming:
            # As Architecture.steps: ceil((frames + delay) / step_frames) steps, in whole numbers.
            samples = self.node("Shape", audio, start=1)
            beyond = (shape.delay + shape.step_frames) * HOP_SAMPLES - 1
            reached = self.node("Add", samples, self.whole(beyond))
            steps = self.node("Div", reached, self.whole(shape.step_samples))
            total = self.node("Mul", steps, self.whole(shape.step_samples))
            missing = self.node("Sub", total, samples)
            pads = self.node("Concat", self.whole(0, 0, 0), missing, axis=0)
            audio = self.node("Pad", audio, pads)
        return self.node("Unsqueeze", audio, self.whole(1))

    def output_probabilities(self, shape: Architecture, found: str) -> None:
        """[batch, step_frames, steps] → [batch, frames in time order], of this audio alone."""
        ordered = self.node("Transpose", found, perm=[0, 2, 1])
        name = self.put(self.outputs, "probabilities", ("batch", "frames"), first=True)
        if self.streaming:
            self.node("Reshape", ordered, self.whole(0, -1), output=name)
            return
        frames = self.node("Reshape", ordered, self.whole(0, -1))
        samples = self.node("Shape", "audio", start=1)
        count = self.node(
            "Div", self.node("Add", samples, self.whole(HOP_SAMPLES - 1)), self.whole(HOP_SAMPLES)
        )
        end = self.node("Add", count, self.whole(shape.delay))
        self.node("Slice", frames, self.whole(shape.delay), end, self.whole(1), output=name)

    def finish(self, name: str) -> Any:
        return self.onnx.helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, self.constants
        )

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Appends a node; returns the name of its only output."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        made = self.onnx.helper.make_node(kind, inputs, [output], name=output, **attributes)
        self.nodes.append(made)
        return output

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


def _onnx() -> Any:
    try:
        onnx = importlib.import_module("onnx")
        for part in ("checker", "helper", "numpy_helper"):
            importlib.import_module(f"onnx.{part}")
    except ImportError as error:
        raise MissingExtra("onnx", "onnx") from error
    return onnx
