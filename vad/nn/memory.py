"""Where the past of streams is kept for a `vad.nn.plan.Plan`, in two ways.

`Line`: one stream's, in order of time; for a piece of any length.

    past of a convolution [x−4 x−3 x−2 x−1] + piece [x0 x1 x2 …] → the last rows: the new past

`Rings`: that of many streams, each in a slot of its own, for one step of some of them. A
convolution's rows lie in a ring; a step writes its rows and reads those in its windows, and
the rest stays where it is.

    slot 7 of a ring   [x5 x6 | x0 x1 x2 x3 x4]    written at step 7 mod 7, read every dilation
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from vad.nn.plan import Kept, Plan

# Steps for which rings have room beyond the past. So many may be taken and then given up, as
# if they had not been, for they overwrite nothing that the first of them needs.
AHEAD = 5


class Past:
    """What a stream needs of the sound it has had.

    Attributes:
        audio: [context] last samples.
        rows: of each convolution behind the first, [context, channels].
    """

    def __init__(self, audio: Tensor, rows: list[Tensor]) -> None:
        self.audio, self.rows = audio, rows

    @classmethod
    def silent(cls, plan: Plan, device: torch.device) -> Past:
        """Before a stream's start: zeros."""
        rows = [torch.zeros(kept.context, kept.channels, device=device) for kept in plan.kept]
        return cls(torch.zeros(plan.context, device=device), rows)


class Line:
    """The memory of one stream, for one piece.

    Attributes:
        after: the rows after the piece.
    """

    batch = 1

    def __init__(self, plan: Plan, rows: list[Tensor]) -> None:
        self._kept, self._rows = plan.kept, rows
        self.after = list(rows)

    def windows(self, index: int, x: Tensor) -> Tensor:
        kept = self._kept[index]
        joined = torch.cat([self._rows[index], x])
        last = joined[len(joined) - kept.context :]
        # A view of a short piece is no larger than what it shows.
        self.after[index] = last.clone() if len(x) > kept.inputs else last
        row = kept.channels
        return joined.as_strided(
            (len(x) // kept.stride, kept.kernel, row), (kept.stride * row, kept.dilation * row, 1)
        )


class Rings:
    """Slots for the pasts of many streams. For one thread at a time.

    Args:
        plan: whose convolutions they are for.
        device: where.
        slots: room for so many at first; it doubles when there are more.
    """

    def __init__(self, plan: Plan, device: torch.device, slots: int = 64) -> None:
        self._kept, self._device = plan.kept, device
        self._lengths = [kept.context + AHEAD * kept.inputs for kept in plan.kept]
        self._groups = _groups(plan.kept, self._lengths, device)
        self.slots = 0
        self._audio = torch.zeros(0, plan.context, device=device)
        self._at = torch.zeros(0, dtype=torch.int64, device=device)
        self._rings = [torch.zeros(0, kept.channels, device=device) for kept in plan.kept]
        self._grow(slots)

    @property
    def slot_bytes(self) -> int:
        """What one stream takes."""
        return sum(t.nbytes for t in (self._audio, self._at, *self._rings)) // self.slots

    def put(self, slot: int, past: Past) -> None:
        """Fill a slot."""
        while slot >= self.slots:
            self._grow(2 * self.slots)
        self._audio[slot], self._at[slot] = past.audio, 0
        for ring, length, rows in zip(self._rings, self._lengths, past.rows, strict=True):
            ring[slot * length : slot * length + len(rows)] = rows

    def take(self, slot: int) -> Past:
        """A copy of what a slot holds."""
        at, rows = int(self._at[slot]), []
        for ring, length, kept in zip(self._rings, self._lengths, self._kept, strict=True):
            order = torch.arange(kept.context, device=self._device) + at * kept.inputs
            rows.append(ring.index_select(0, order % length + slot * length))
        return Past(self._audio[slot].clone(), rows)

    def audio(self, slots: Tensor) -> Tensor:
        """The last samples [batch, context] of some streams."""
        return self._audio.index_select(0, slots)

    def step(self, slots: Tensor, ahead: int) -> Step:
        """The memory of some streams for the step that is `ahead` of where they are."""
        at = self._at.index_select(0, slots) + ahead
        reads: dict[int, Tensor] = {}
        writes: dict[int, Tensor] = {}
        for group in self._groups:
            group.look_up(at, slots, reads, writes)
        return Step(self._rings, self._kept, reads, writes, len(slots))

    def move(self, slots: Tensor, steps: Tensor | int, audio: Tensor) -> None:
        """Take steps as done; `audio` is what the first convolution has of them for the next."""
        self._at[slots] += steps
        self._audio[slots] = audio

    def _grow(self, slots: int) -> None:
        self._audio = _longer(self._audio, slots)
        self._at = _longer(self._at, slots)
        rings = zip(self._rings, self._lengths, strict=True)
        self._rings = [_longer(ring, slots * length) for ring, length in rings]
        self.slots = slots


class Step:
    """One step of some of the streams in rings."""

    def __init__(
        self,
        rings: list[Tensor],
        kept: list[Kept],
        reads: dict[int, Tensor],
        writes: dict[int, Tensor],
        batch: int,
    ) -> None:
        self._rings, self._kept = rings, kept
        self._reads, self._writes = reads, writes
        self.batch = batch

    def windows(self, index: int, x: Tensor) -> Tensor:
        ring, kept = self._rings[index], self._kept[index]
        ring.index_copy_(0, self._writes[index], x)
        rows = ring.index_select(0, self._reads[index])
        return rows.view(-1, kept.kernel, kept.channels)


class _Group:
    """Convolutions whose steps have the same shape, looked up together.

    A table has a row for each position in a ring, and in it the rows that a step there reads,
    [outputs · kernel], or writes, [inputs].
    """

    def __init__(
        self, members: list[int], kept: list[Kept], lengths: list[int], device: torch.device
    ) -> None:
        self._members = members
        own = [lengths[i] for i in members]
        shape = kept[members[0]]
        self._outputs, self._inputs = shape.outputs, shape.inputs
        self._lengths = torch.tensor(own, device=device)[:, None]
        self._starts = torch.tensor([sum(own[:i]) for i in range(len(own))], device=device)[:, None]
        tables = [_tables(kept[i], lengths[i]) for i in members]
        self._reads = torch.cat([reads for reads, _ in tables]).to(device)
        self._writes = torch.cat([writes for _, writes in tables]).to(device)

    def look_up(
        self, at: Tensor, slots: Tensor, reads: dict[int, Tensor], writes: dict[int, Tensor]
    ) -> None:
        rows = (at * self._inputs % self._lengths + self._starts).flatten()
        base = (slots * self._lengths)[:, :, None]
        shape = (len(self._members), len(slots), -1)
        read = self._reads.index_select(0, rows).view(shape).add_(base)
        write = self._writes.index_select(0, rows).view(shape).add_(base)
        # Rows are in order of time first: [batch, outputs, kernel] → [outputs, batch, kernel].
        read = read.view(*shape[:2], self._outputs, -1).transpose(1, 2).flatten(1)
        write = write.transpose(1, 2).flatten(1)
        for member, own_reads, own_writes in zip(self._members, read, write, strict=True):
            reads[member], writes[member] = own_reads, own_writes


def _tables(kept: Kept, length: int) -> tuple[Tensor, Tensor]:
    """Rows read [length, outputs · kernel] and written [length, inputs] at each position."""
    position = torch.arange(length)[:, None]
    outputs = torch.arange(kept.outputs)[:, None] * kept.stride
    taps = (outputs + torch.arange(kept.kernel) * kept.dilation).flatten()
    return (position + taps) % length, (
        position + kept.context + torch.arange(kept.inputs)
    ) % length


def _groups(kept: list[Kept], lengths: list[int], device: torch.device) -> list[_Group]:
    shapes: defaultdict[tuple[int, int, int], list[int]] = defaultdict(list)
    for i, each in enumerate(kept):
        shapes[each.inputs, each.outputs, each.kernel].append(i)
    return [_Group(members, kept, lengths, device) for members in shapes.values()]


def _longer(tensor: Tensor, rows: int) -> Tensor:
    grown = tensor.new_zeros((rows, *tensor.shape[1:]))
    grown[: len(tensor)] = tensor
    return grown
