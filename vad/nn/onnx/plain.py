"""A network's own graphs, for whole files and for one step of a stream."""

from __future__ import annotations

import numpy as np

from vad.frames import HOP_SAMPLES
from vad.nn.onnx.graph import Graph
from vad.nn.ops import Convolution, folded, to_probabilities
from vad.nn.spec import Architecture
from vad.nn.weights import Model


def plain(model: Model, *, streaming: bool) -> Graph:
    """`audio` → `probabilities`, with the layers' states as inputs and outputs when streaming."""
    graph = _Plain(streaming)
    x = graph.input_audio(model.architecture)
    x = graph.ops(folded(to_probabilities(model.architecture.ops(model.weights))), x)
    graph.output_probabilities(model.architecture, x)
    return graph


class _Plain(Graph):
    """Args:
    streaming: convolutions take their past from a state input, not from zeros.
    """

    def __init__(self, streaming: bool) -> None:
        super().__init__()
        self.streaming = streaming

    def with_past(self, op: Convolution, x: str) -> str | None:
        """`x` with the convolution's state in front; what comes last is its next state."""
        if not self.streaming:
            return None
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
