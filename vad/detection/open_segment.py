"""The segment that a `vad.detection.segmenter.Segmenter` has in hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vad.detection.probabilities import RunningSum


@dataclass(slots=True)
class OpenSegment:
    """A segment that has started and not yet ended.

    Its mean probability needs the running sum at its two padded ends only. Where an end lies
    may be known long before the stream gets there or long after; the sum is noted as soon as
    both are known, so that no probability has to be kept.
    """

    segment_id: int
    onset: int  # frame of the first speech, before padding
    start_ms: int
    first: int  # frame in which the padded segment starts
    sum_to_first: float
    silence: int = 0  # frame at which the last silence began
    end_ms: int = 0  # the padded end, should that silence last
    last: int = -1  # frame before which that end lies
    sum_to_last: float = math.nan
    cut: int = 0  # the least probable frame of the second half so far
    cut_probability: float = math.inf
    sum_to_cut: float = math.nan

    def reached(self, running: RunningSum) -> None:
        """Notes the sum where the stream has just reached an end of the padded segment."""
        if self.first == running.frames:
            self.sum_to_first = running.total
        if self.last == running.frames:
            self.sum_to_last = running.total
