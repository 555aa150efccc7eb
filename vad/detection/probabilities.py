"""Means over spans of a stream of probabilities, without keeping the probabilities.

The mean over frames [a, b) needs the running sum before a and before b only.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vad.errors import ParameterError
from vad.frames import HOP_MS

Values = Sequence[float] | NDArray[np.floating]


class RunningSum:
    """The sum of all values so far, and what it was before each of the last frames."""

    KEPT = 1024  # frames; the longest pad, 10 s, reaches back 1000

    def __init__(self) -> None:
        self.frames = 0
        self.total = 0.0
        self._ring = array("d", bytes(8 * self.KEPT))

    def add(self, value: float) -> None:
        self.frames += 1
        self.total += value
        self._ring[self.frames % self.KEPT] = self.total

    def add_all(self, values: NDArray[np.float64]) -> None:
        """The same as `add` of each, to the last digit."""
        sums = np.add.accumulate(np.concatenate([[self.total], values]))[-self.KEPT :]
        self.frames += len(values)
        places = np.arange(self.frames - len(sums) + 1, self.frames + 1) % self.KEPT
        np.frombuffer(self._ring)[places] = sums
        self.total = float(sums[-1])

    def before(self, frame: int) -> float:
        """Sum of all values before `frame`, one of the last `KEPT`; NaN if it is still to come."""
        return self._ring[frame % self.KEPT] if frame <= self.frames else math.nan


def past_frame(end_ms: int) -> int:
    """The frame after the last one that begins before `end_ms`."""
    return -(-end_ms // HOP_MS)


def unit(value: float) -> float:
    """`value` within 0 to 1, which the difference of two rounded sums can miss by a trifle."""
    return min(1.0, max(0.0, value))


def as_probabilities(values: Values) -> NDArray[np.float64]:
    """[frames] float64, checked.

    Raises:
        ParameterError: not one-dimensional, or a value outside 0 to 1.
    """
    checked = np.asarray(values, dtype=np.float64)
    if checked.ndim != 1:
        raise ParameterError("probabilities", f"must be [frames], not of shape {checked.shape}")
    if len(checked) < 32:  # a live step's two: numpy's own minimum would cost more than all else
        within = all(0 <= value <= 1 for value in checked.tolist())
    else:
        within = checked.min() >= 0 and checked.max() <= 1
    if not within:  # as NaN is not
        raise ParameterError("probabilities", "must lie between 0 and 1")
    return checked


def check_end(name: str, end_ms: int, frames: int) -> None:
    """Raises ParameterError of `name` unless audio of `frames` frames can end at `end_ms`."""
    if not max(0, frames - 1) * HOP_MS <= end_ms <= frames * HOP_MS:
        raise ParameterError(
            name,
            f"{end_ms} lies outside the last of {frames} frames of {HOP_MS} ms: "
            "push every frame of the audio first",
        )
