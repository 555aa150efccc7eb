"""A network behind the inputs and outputs of silero-vad's ONNX file.

    input [batch, 512], state [2, batch, n], sr   → output [batch, 1], stateN [2, batch, size]

The interface is that of silero-vad 5 and 6 (https://github.com/snakers4/silero-vad): 32 ms of
audio, 512 samples at 16 kHz or 256 at 8 kHz, give one probability. Callers put the last 64 or 32
samples of the chunk before in front; here they are ignored, since `state` has what is needed:

    [begun, blocks, 79 samples at 8 kHz, what waits for a step at 16 kHz, each layer's past, …]

512 samples are no whole number of steps of 320, so that one or two steps end in a chunk; `output`
is the largest of their frames' probabilities: whether there was speech, not how much. (Means of
so few frames dip in pauses that silero does not hear.) How many steps end may differ from row to
row of a batch. All then go through as many as the most, and the others keep the state from before
the last.

        row 0     waiting [· · ·] + chunk → two steps      state after both
        row 1     waiting [     ] + chunk → one step       state after the first

State starts as zeros, of any n. Zeros of another size are a start, too: clients allocate silero's
own 2 · 128. Anything else must be the `stateN` of the call before; a client that carries only so
many numbers on would run a network without a past, and hear nothing. It gets an error.
"""

from __future__ import annotations

import math

import numpy as np

from vad.audio.resample import coefficients
from vad.errors import ParameterError
from vad.frames import SAMPLE_RATE
from vad.nn.onnx.graph import Graph
from vad.nn.ops import Convolution, folded, outputs_of_each, to_probabilities
from vad.nn.weights import Model

CHUNK = 512  # samples at 16 kHz: 32 ms
CONTEXT = 64  # of the chunk before, which callers may put in front
NARROW = 8000  # Hz: the other rate that callers may have
STATE = 256  # numbers that a client of silero's own file carries on for each row


def silero(model: Model) -> Graph:
    """See above.

    Raises:
        ParameterError: the network's steps are longer than a chunk.
    """
    shape = model.architecture
    if shape.step_samples > CHUNK:
        raise ParameterError(
            "interface", f"silero's chunks of {CHUNK} samples hold no step of {shape.step_samples}"
        )
    ops = folded(to_probabilities(shape.ops(model.weights)))
    graph = _Silero(shape.step_samples, outputs_of_each(ops))
    graph.inputs_of_silero()
    graph.output(graph.ops(ops, graph.steps(graph.at_16_khz())))
    return graph


class _Silero(Graph):
    """Args:
    step: samples that the network takes at once.
    convolutions: each with its outputs for one step.
    """

    def __init__(self, step: int, convolutions: list[tuple[Convolution, int]]) -> None:
        super().__init__()
        self.step = step
        self.block = math.gcd(step, CHUNK)  # what waits is a number of blocks
        self.waiting = step - self.block
        table, up, down = coefficients(NARROW, SAMPLE_RATE)
        assert up == 2 * down
        # [outputs for each input, 1, taps]; the first lacks the last tap.
        self.kernel = np.trim_zeros(table[:, 1], "b").size
        self.doubling = np.ascontiguousarray(table[: self.kernel, :2].T)[:, None]
        self.past_8_khz = self.kernel - 1
        # By identity: convolutions of equal shape have states of their own.
        self.stateful = {id(conv): n * conv.stride for conv, n in convolutions if conv.context}
        self.shapes = [(c.channels_in, c.context) for c, _ in convolutions if c.context]
        parts = [1, 1, self.past_8_khz, self.waiting, *(a * b for a, b in self.shapes)]
        self.parts = [*parts, sum(parts) % 2]  # an even number, of which stateN's halves are made
        self.size = sum(self.parts)
        self.pasts: list[str] = []
        self.next_pasts: list[str] = []

    def inputs_of_silero(self) -> None:
        self.put(self.inputs, "input", ("batch", "samples"))
        self.put(self.inputs, "state", (2, "batch", "n"))
        helper, kind = self.onnx.helper, self.onnx.TensorProto.INT64
        self.inputs.append(helper.make_tensor_value_info("sr", kind, []))
        self.split(self.checked_state())

    def checked_state(self) -> str:
        """[batch, size], of what came in as `state`."""
        rows = self.node("Transpose", "state", perm=[1, 0, 2])
        flat = self.node("Reshape", rows, self.node("Concat", self.batch(), self.whole(-1), axis=0))
        width = self.node("Shape", flat, start=1)
        whole = self.node("Equal", width, self.whole(self.size))
        head = self.node("Slice", flat, self.whole(0), self.whole(STATE), self.whole(1))
        # Also of no numbers at all; and what is not a number is not zero, either.
        loudness = self.node("ReduceSum", self.node("Abs", head), keepdims=0)
        carried = self.node("Not", self.node("Equal", loudness, self.number(0)))
        cut = self.node("And", self.node("Not", whole), carried)
        size = self.guarded(self.size, cut, "state_must_be_the_whole_stateN_of_the_call_before")
        missing = self.node("Sub", size, width)
        return self.node("Pad", flat, self.node("Concat", self.whole(0, 0, 0), missing, axis=0))

    def batch(self) -> str:
        """[1] with the number of rows of `input`, of which `state` must have as many."""
        heard = self.node("Shape", "input", start=0, end=1)
        kept = self.node("Shape", "state", start=1, end=2)
        differ = self.node("Not", self.node("Equal", heard, kept))
        nothing = self.guarded(0, differ, "input_and_state_must_have_the_same_batch")
        none = self.node("Equal", heard, self.whole(0))
        more = self.guarded(0, none, "input_must_have_a_batch_of_1_or_more")
        return self.node("Add", heard, self.node("Add", nothing, more))

    def guarded(self, value: int, wrong: str, name: str) -> str:
        """[1] with `value`; if `wrong`, running the graph fails with an error that has `name`.

        ONNX has no operator that raises. Looking up what is outside of a list does, in every
        runtime that checks its bounds.
        """
        place = self.node("Cast", wrong, to=self.onnx.TensorProto.INT64)
        return self.node("Gather", self.whole(value), place, output=name)

    def split(self, state: str) -> None:
        names = ["begun", "blocks", "past_8_khz", "waiting"]
        names += [f"past_{i}" for i in range(len(self.shapes))]
        rest = ["even"] * self.parts[-1]
        sizes = self.whole(*self.parts[: len(names) + len(rest)])
        self.append("Split", [state, sizes], names + rest, "split", axis=1)
        self.pasts = names[4:]

    def at_16_khz(self) -> str:
        """[batch, 512] of either rate; `audio_8_khz` has what the next chunk of 8 kHz needs."""
        rates = self.node("Reshape", "sr", self.whole(-1))
        several = self.node("Not", self.node("Equal", self.node("Size", "sr"), self.whole(1)))
        place = self.guarded(0, several, "sr_must_be_one_number")
        rate = self.node("Squeeze", self.node("Gather", rates, place), self.whole(0))
        narrow = self.node("Equal", rate, self.constant(np.array(NARROW, np.int64)))
        outputs = ["audio", "next_past_8_khz"]
        self.append(
            "If",
            [narrow],
            outputs,
            "rate",
            then_branch=self.branch("from_8_khz", self.from_8_khz),
            else_branch=self.branch("from_16_khz", lambda: self.from_16_khz(rate)),
        )
        return outputs[0]

    def from_8_khz(self) -> list[tuple[str, int]]:
        """As `vad.audio.Resampler`, 5 ms late."""
        chunk = self.chunk(2, "input_must_have_256_or_288_samples_at_8_kHz")
        joined = self.node("Concat", "past_8_khz", chunk, axis=1)
        signal = self.node("Unsqueeze", joined, self.whole(1))
        pairs = self.node("Conv", signal, self.constant(self.doubling))
        audio = self.node(
            "Reshape", self.node("Transpose", pairs, perm=[0, 2, 1]), self.whole(0, -1)
        )
        return [(audio, 2), (self.last(joined, self.past_8_khz, 1), 2)]

    def from_16_khz(self, rate: str) -> list[tuple[str, int]]:
        other = self.node("Equal", rate, self.constant(np.array(SAMPLE_RATE, np.int64)))
        zero = self.guarded(0, self.node("Not", other), "sr_must_be_8000_or_16000")
        chunk = self.chunk(1, "input_must_have_512_or_576_samples_at_16_kHz")
        # Its value is not needed, but a node whose value is not used would not run.
        nothing = self.node("Cast", zero, to=self.onnx.TensorProto.FLOAT)
        return [(self.node("Add", chunk, nothing), 2), (self.node("Identity", "past_8_khz"), 2)]

    def chunk(self, divisor: int, name: str) -> str:
        """What is new in `input`, whose samples are a `divisor`-th of those at 16 kHz."""
        new, context = CHUNK // divisor, CONTEXT // divisor
        samples = self.node("Shape", "input", start=1)
        fits = (self.node("Equal", samples, self.whole(n)) for n in (new, new + context))
        start = self.guarded(-new, self.node("Not", self.node("Or", *fits)), name)
        return self.node("Slice", "input", start, self.whole(np.iinfo(np.int64).max), self.whole(1))

    def last(self, x: str, count: int, axis: int, before: int = 0) -> str:
        """The last `count` of a dimension, but for so many behind these."""
        end = -before if before else np.iinfo(np.int64).max
        bounds = (-count - before, int(end), axis)
        return self.node("Slice", x, *(self.whole(bound) for bound in bounds))

    def steps(self, audio: str) -> str:
        """[batch, 1, steps · step samples]: what waited and what came, each row from its start."""
        buffer = self.node("Concat", "waiting", audio, axis=1)
        blocks = self.node("Cast", "blocks", to=self.onnx.TensorProto.INT64)  # [batch, 1]
        total, each = CHUNK // self.block, self.step // self.block
        held = self.node("Add", blocks, self.whole(total))
        self.count = self.node("Div", held, self.whole(each))  # steps that end, of each row
        left = self.node("Sub", held, self.node("Mul", self.count, self.whole(each)))
        self.most = self.node("ReduceMax", self.count, keepdims=0)
        ended = self.node("Equal", self.count, self.most)
        self.ended = self.node("Unsqueeze", ended, self.whole(2))
        first = self.node("Sub", self.whole(self.waiting // self.block), blocks)
        length = self.node("Mul", self.most, self.constant(np.array(each, np.int64)))
        zero, one = (self.constant(np.array(value, np.int64)) for value in (0, 1))
        places = self.node("Add", first, self.node("Range", zero, length, one))
        # A row with fewer steps than another has no samples for the last one.
        places = self.node("Min", places, self.whole((self.waiting + CHUNK) // self.block - 1))
        cut = self.node("Reshape", buffer, self.whole(0, -1, self.block))
        index = self.node("Unsqueeze", places, self.whole(2))
        found = self.node("GatherND", cut, index, batch_dims=1)
        kind = self.onnx.TensorProto.FLOAT
        begun = self.node("Add", self.node("Mul", "blocks", self.number(0)), self.number(1))
        self.next_parts = [
            begun,
            self.node("Cast", left, to=kind),
            "next_past_8_khz",
            self.last(buffer, self.waiting, 1),
        ]
        return self.node("Reshape", found, self.whole(0, 1, -1))

    def with_past(self, op: Convolution, x: str) -> str:
        """`x` behind its state. The next state is of those steps that end in each row."""
        number = len(self.next_pasts)
        channels, context = self.shapes[number]
        past = self.node("Reshape", self.pasts[number], self.whole(0, channels, context))
        joined = self.node("Concat", past, x, axis=2)
        after = self.last(joined, context, 2)
        before = self.last(joined, context, 2, before=self.stateful[id(op)])
        kept = self.node("Where", self.ended, after, before)
        self.next_pasts.append(self.node("Reshape", kept, self.whole(0, -1)))
        return joined

    def output(self, frames: str) -> None:
        """The largest of the frames [batch, frames of a step, steps] of the steps that end."""
        kind = self.onnx.TensorProto.FLOAT
        largest = self.node("ReduceMax", frames, axes=[1], keepdims=0)
        zero, one = (self.constant(np.array(value, np.int64)) for value in (0, 1))
        numbers = self.node("Range", zero, self.most, one)
        ends = self.node("Cast", self.node("Less", numbers, self.count), to=kind)
        name = self.put(self.outputs, "output", ("batch", 1))
        self.node("ReduceMax", self.node("Mul", largest, ends), axes=[1], output=name)
        parts = [*self.next_parts, *self.next_pasts]
        parts += ["even"] * self.parts[-1]
        flat = self.node("Concat", *parts, axis=1)
        rows = self.node("Reshape", flat, self.whole(0, 2, -1))
        name = self.put(self.outputs, "stateN", (2, "batch", self.size // 2))
        self.node("Transpose", rows, perm=[1, 0, 2], output=name)
