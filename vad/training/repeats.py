"""Batches heard more than once.

To mix scenes and to ask teachers about them takes a core several times as long as to learn from
them. Where cores are few, to hear a batch again half a minute later costs next to nothing, and
is a step that would else not be made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from vad.frames import HOP_SAMPLES

Batch = tuple[Tensor, Tensor, Tensor]

APART = 64  # batches made between two hearings of one; for each repeat as many wait, 3 MB apiece


def hearing(step: int, repeats: int) -> tuple[int, int]:
    """Which batch a step hears, and how often it was heard before."""
    newest, again = divmod(step, repeats + 1)
    # A run's first steps go back as far as they can, each to another place.
    return max(newest - again * APART, newest // (again + 1)), again


def oldest(step: int, repeats: int) -> int:
    """The first batch that this step, or any after it, hears."""
    newest = step // (repeats + 1)
    return max(newest - repeats * APART, newest // (repeats + 1))


def repeated(made: Iterable[Batch], steps: range, repeats: int) -> Iterator[Batch]:
    """The batch of each step.

    Args:
        made: all batches from the first step's `oldest` on; taken as they are needed.
    """
    coming = iter(made)
    waiting: dict[int, Batch] = {}
    taken = oldest(steps.start, repeats)
    for step in steps:
        while taken <= step // (repeats + 1):
            waiting[taken] = next(coming)
            taken += 1
        number, again = hearing(step, repeats)
        yield later(waiting[number], again)
        for number in [n for n in waiting if n < oldest(step + 1, repeats)]:
            del waiting[number]


def later(batch: Batch, frames: int) -> Batch:
    """The same scenes without their first frames: on another place of every coarser grid."""
    audio, labels, heard = batch
    return audio[:, frames * HOP_SAMPLES :], labels[:, frames:], heard[:, frames:]
