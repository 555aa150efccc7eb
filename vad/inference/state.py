"""Where the context of convolutions comes from when a `vad.inference.plan.Plan` runs.

`SignalContext`: one signal's, in order of time; for a piece of any length.

    past of a convolution [x−4 x−3 x−2 x−1] + piece [x0 x1 x2 …] → the last rows: the new past

`RingBuffers`: that of many signals, each in a slot of its own, for one step of some of them. A
convolution's rows lie in a ring; a step writes its rows and reads those in its windows, and
the rest stays where it is.

    slot 7 of a ring   [x5 x6 | x0 x1 x2 x3 x4]    written at step 7 mod 7, read every dilation
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vad.inference.arrays import Array, Arrays
from vad.inference.plan import Plan, Window

# Steps for which rings have room beyond the past. So many may be taken and then given up, as
# if they had not been, for they overwrite nothing that the first of them needs.
MAX_BATCH_STEPS = 5


Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class State:
    """What a signal needs of the sound it has had. Its arrays are never written to.

    Attributes:
        audio: [context] last samples.
        rows: of each convolution behind the first, [context, channels].
    """

    audio: Array
    rows: list[Array]

    @classmethod
    def initial(cls, plan: Plan) -> State:
        """Before a signal's start: zeros."""
        zeros = plan.arrays.zeros
        return cls(
            zeros(plan.context), [zeros(window.context, window.channels) for window in plan.windows]
        )


class SignalContext:
    """The context of one signal, for one piece.

    Attributes:
        after: the rows after the piece.
    """

    batch = 1

    def __init__(self, plan: Plan, rows: list[Array]) -> None:
        self._arrays, self._windows, self._rows = plan.arrays, plan.windows, rows
        self.after = list(rows)

    def windows(self, index: int, x: Array) -> Array:
        window = self._windows[index]
        joined = self._arrays.concatenate((self._rows[index], x))
        last = joined[len(x) :]  # as many as before
        # A view of a short piece is hardly larger than what it shows.
        self.after[index] = self._arrays.copy(last) if len(x) > window.inputs else last
        row = window.channels
        return self._arrays.windows(
            joined,
            (len(x) // window.stride, window.kernel, row),
            (window.stride * row, window.dilation * row, 1),
        )


class RingBuffers:
    """Slots for the states of many signals. For one thread at a time.

    Args:
        plan: whose convolutions they are for.
        slots: room for so many at first, None for what suits the arrays; it doubles when there
            are more.

    Attributes:
        free: slots that were allocated and given back; any thread may append to it at any time.
    """

    def __init__(self, plan: Plan, slots: int | None = None) -> None:
        self._arrays, self._windows = plan.arrays, plan.windows
        self._lengths = [
            window.context + MAX_BATCH_STEPS * window.inputs for window in plan.windows
        ]
        self._groups = _groups(plan.windows, self._lengths)
        self.slots = slots = slots or plan.arrays.slots
        self.free: list[int] = []
        self._allocated = 0  # no slot from here on ever was
        self._at = np.zeros(slots, np.int64)
        self._audio = self._arrays.zeros(slots, plan.context)
        self._buffers = [
            self._arrays.zeros(slots * length, window.channels)
            for window, length in zip(plan.windows, self._lengths, strict=True)
        ]

    @property
    def slot_bytes(self) -> int:
        """What one signal takes."""
        arrays = (self._at, self._audio, *self._buffers)
        return sum(int(array.nbytes) for array in arrays) // self.slots

    def allocate(self, state: State) -> int:
        """Fill a slot that is nobody's, and give its number."""
        slot = self.free.pop() if self.free else self._allocated
        try:
            self.write(slot, state)
        except BaseException:
            if slot < self._allocated:
                self.free.append(slot)
            raise
        self._allocated = max(self._allocated, slot + 1)
        return slot

    def write(self, slot: int, state: State) -> None:
        """Fill a slot."""
        while slot >= self.slots:
            self._grow()
        self._audio[slot], self._at[slot] = state.audio, 0
        for ring, length, rows in zip(self._buffers, self._lengths, state.rows, strict=True):
            ring[slot * length : slot * length + len(rows)] = rows

    def read(self, slot: int) -> State:
        """A copy of what a slot holds."""
        at, rows = int(self._at[slot]), []
        for ring, length, window in zip(self._buffers, self._lengths, self._windows, strict=True):
            order = (at * window.inputs + np.arange(window.context)) % length + slot * length
            rows.append(self._arrays.take(ring, self._arrays.put(order)))
        return State(self._arrays.copy(self._audio[slot]), rows)

    def audio(self, slots: Index) -> Array:
        """The last samples [batch, context] of some signals."""
        return self._arrays.take(self._audio, self._arrays.put(slots))

    def context(self, slots: Index, ahead: int) -> BatchContext:
        """The context of some signals for the step that is `ahead` of where they are."""
        at = self._at.take(slots) + ahead
        rows: dict[int, tuple[Array, Array]] = {}
        for group in self._groups:
            for member, reads, writes in group.look_up(at, slots):
                rows[member] = self._arrays.put(reads), self._arrays.put(writes)
        return BatchContext(self._arrays, self._buffers, self._windows, rows, len(slots))

    def advance(self, slots: Index, steps: int, audio: Array) -> None:
        """Take steps as done; `audio` is what the first convolution has of them for the next."""
        self._audio[self._arrays.put(slots)] = audio
        self._at[slots] += steps

    def _grow(self) -> None:
        audio, *rings = (self._doubled(array) for array in (self._audio, *self._buffers))
        at = np.concatenate([self._at, np.zeros_like(self._at)])
        # All or nothing: there may not be memory for each of them.
        self._audio, self._buffers, self._at, self.slots = audio, rings, at, 2 * self.slots

    def _doubled(self, array: Array) -> Array:
        twice = self._arrays.zeros(2 * len(array), *array.shape[1:])
        twice[: len(array)] = array  # the rest stays untouched, and so takes no memory yet
        return twice


class BatchContext:
    """The context of some of the signals in ring buffers, for one step."""

    def __init__(
        self,
        arrays: Arrays,
        rings: list[Array],
        windows: list[Window],
        rows: dict[int, tuple[Array, Array]],
        batch: int,
    ) -> None:
        self._arrays, self._buffers, self._windows, self._rows = arrays, rings, windows, rows
        self.batch = batch

    def windows(self, index: int, x: Array) -> Array:
        ring, window = self._buffers[index], self._windows[index]
        reads, writes = self._rows[index]
        ring[writes] = x
        return self._arrays.take(ring, reads).reshape(-1, window.kernel, window.channels)


class _Group:
    """Convolutions whose steps have the same shape, looked up together.

    A table has a row for each position in a ring, and in it the rows that a step there reads,
    [outputs · kernel], or writes, [inputs].
    """

    def __init__(self, members: list[int], windows: list[Window], lengths: list[int]) -> None:
        self._members = members
        own = [lengths[i] for i in members]
        self._shape = windows[members[0]]
        self._lengths = np.array(own)[:, None]
        self._starts = np.cumsum([0, *own[:-1]])[:, None]
        tables = [_tables(windows[i], lengths[i]) for i in members]
        self._reads = np.concatenate([reads for reads, _ in tables])
        self._writes = np.concatenate([writes for _, writes in tables])

    def look_up(self, at: Index, slots: Index) -> Iterator[tuple[int, Index, Index]]:
        """Gives each convolution's rows: those read, [outputs · batch · kernel], and written."""
        rows = (at * self._shape.inputs % self._lengths + self._starts).ravel()
        base = (slots * self._lengths)[:, :, None]
        shape = (*base.shape[:2], -1)
        reads, writes = (
            table.take(rows, 0).reshape(shape) for table in (self._reads, self._writes)
        )
        reads += base
        writes += base
        # Time comes first: [batch, outputs, kernel] → [outputs, batch, kernel].
        outputs = self._shape.outputs
        for member, read, write in zip(self._members, reads, writes, strict=True):
            by_time = read.reshape(len(slots), outputs, -1).swapaxes(0, 1)
            yield member, by_time.reshape(-1), write.T.reshape(-1)


def _tables(window: Window, length: int) -> tuple[Index, Index]:
    """Rows read [length, outputs · kernel] and written [length, inputs] at each position."""
    position = np.arange(length)[:, None]
    outputs = np.arange(window.outputs)[:, None] * window.stride
    taps = (outputs + np.arange(window.kernel) * window.dilation).ravel()
    inputs = window.context + np.arange(window.inputs)
    return (position + taps) % length, (position + inputs) % length


def _groups(windows: list[Window], lengths: list[int]) -> list[_Group]:
    shapes: defaultdict[tuple[int, int, int], list[int]] = defaultdict(list)
    for i, each in enumerate(windows):
        shapes[each.inputs, each.outputs, each.kernel].append(i)
    return [_Group(members, windows, lengths) for members in shapes.values()]
