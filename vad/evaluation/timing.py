"""Figures of merit about segments and their edges: when speech was found, how long it was wrong.

Scores and labels are as in `vad.evaluation.metrics`; segments are (start, end) in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vad.evaluation.metrics import NAN, Labels, Scores
from vad.frames import FRAMES_PER_SECOND, HOP_MS
from vad.segments import union

Interval = tuple[float, float]

CLEAR_FRAMES = 300 // HOP_MS  # non-speech that must lie outside an edge for it to count
EARLIEST_FRAMES = -200 // HOP_MS
LATEST_FRAMES = 500 // HOP_MS
LAG_FRAMES = 100 // HOP_MS


@dataclass(frozen=True)
class DetectionError:
    """Seconds of false alarm and of missed speech, and of the reference's speech.

    Sums of two add up to the error over both.
    """

    false_alarm: float
    miss: float
    speech: float

    @property
    def rate(self) -> float:
        """(false alarm + miss) / speech: may exceed 1; NaN without speech."""
        return (self.false_alarm + self.miss) / self.speech if self.speech > 0 else NAN

    def __add__(self, other: DetectionError) -> DetectionError:
        return DetectionError(
            self.false_alarm + other.false_alarm,
            self.miss + other.miss,
            self.speech + other.speech,
        )


@dataclass(frozen=True)
class Recall:
    """How many utterances shorter than `shorter_than_s` (None: of any length) were found."""

    shorter_than_s: float | None
    utterances: int
    found: int


def runs(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Where `mask` holds: [runs, 2] first frame and the frame after the last."""
    edges = np.diff(mask.astype(np.int8), prepend=0, append=0)
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def speech_segments(scores: Scores, threshold: float = 0.5) -> list[Interval]:
    """Plain runs of scores of at least `threshold`: no padding, hysteresis or minimum."""
    found = runs(scores >= threshold)
    return [(first / FRAMES_PER_SECOND, last / FRAMES_PER_SECOND) for first, last in found]


def false_segments(scores: Scores, threshold: float = 0.5, minimum_ms: int = 250) -> int:
    """How many runs of at least `minimum_ms` reach `threshold` in audio without speech."""
    found = runs(scores >= threshold)
    return int(np.count_nonzero((found[:, 1] - found[:, 0]) * HOP_MS >= minimum_ms))


def edge_delays(
    scores: Scores,
    labels: Labels,
    edge: Literal["onset", "offset"],
    threshold: float = 0.5,
) -> NDArray[np.float64]:
    """How late `scores` cross `threshold` at the reference's onsets or offsets.

    A reference onset is a speech frame after at least 300 ms labelled non-speech; an offset is
    a frame that begins at least 300 ms labelled non-speech after a speech frame. Both need
    those 300 ms inside the file. Its delay is that of the *first* crossing from 200 ms before
    to 500 ms after it: upwards (a frame ≥ threshold after one below, or at the file's start)
    for an onset, downwards for an offset.

    Args:
        scores: [frames] scores.
        labels: [frames] int8.
        edge: which edges.
        threshold: what counts as speech.

    Returns:
        [edges] milliseconds, negative if early, NaN where there was no crossing.
    """
    found = runs(scores >= threshold)
    if edge == "onset":
        crossings = found[:, 0]
        edges = [t for t in runs(labels == 1)[:, 0] if _clear(labels, t - CLEAR_FRAMES, t)]
    else:
        crossings = found[:, 1][found[:, 1] < len(scores)]
        edges = [t for t in runs(labels == 1)[:, 1] if _clear(labels, t, t + CLEAR_FRAMES)]
    delays = np.full(len(edges), np.nan)
    for number, reference in enumerate(edges):
        late = crossings - reference
        late = late[(late >= EARLIEST_FRAMES) & (late <= LATEST_FRAMES)]
        if len(late):
            delays[number] = late[0] * HOP_MS
    return delays


def utterances(labels: Labels) -> NDArray[np.intp]:
    """Speech with pauses of under 300 ms bridged: [utterances, 2] first frame and the one after.

    Ignored frames are pauses of unknown kind: they neither bridge nor part more than others.
    """
    spoken = runs(labels == 1)
    if not len(spoken):
        return spoken
    parted = np.flatnonzero(spoken[1:, 0] - spoken[:-1, 1] >= CLEAR_FRAMES)
    return np.stack([spoken[np.append(0, parted + 1), 0], spoken[np.append(parted, -1), 1]], axis=1)


def utterance_hits(
    scores: Scores, labels: Labels, threshold: float = 0.5
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Each utterance's length in seconds, and whether any of it, or the 100 ms after, was found.

    The 100 ms are for detectors that lag. No minimum length is asked of what was found.
    """
    spans = utterances(labels)
    hit = [bool((scores[first : last + LAG_FRAMES] >= threshold).any()) for first, last in spans]
    return (spans[:, 1] - spans[:, 0]) / FRAMES_PER_SECOND, np.array(hit, dtype=bool)


def detection_error(
    reference: Iterable[Interval], hypothesis: Iterable[Interval], duration: float
) -> DetectionError:
    """The detection error of one file, without a collar, over [0, `duration`] seconds.

    `.rate` is the detection error rate of Bredin, "pyannote.metrics: a toolkit for
    reproducible evaluation, diagnostic, and error analysis of speaker diarization systems",
    Interspeech 2017. Overlapping segments count once.
    """
    spoken, found = _merged(reference, duration), _merged(hypothesis, duration)
    # Speech of the reference up to an instant is piecewise linear, so the overlap with a
    # segment is the difference at its two ends.
    speech = np.concatenate([[0.0], np.cumsum(spoken[:, 1] - spoken[:, 0])])
    total = float(speech[-1])
    overlap = 0.0
    if len(spoken) and len(found):
        passed = np.stack([speech[:-1], speech[1:]], axis=1).ravel()
        overlap = float(np.diff(np.interp(found, spoken.ravel(), passed), axis=1).sum())
    length = float((found[:, 1] - found[:, 0]).sum())
    return DetectionError(max(0.0, length - overlap), max(0.0, total - overlap), total)


def _clear(labels: Labels, first: int, last: int) -> bool:
    return first >= 0 and last <= len(labels) and not labels[first:last].any()


def _merged(segments: Iterable[Interval], duration: float) -> NDArray[np.float64]:
    """Sorted, disjoint, within the file: [segments, 2]."""
    within = ((max(0.0, start), min(end, duration)) for start, end in segments)
    merged = union((start, end) for start, end in within if start < end)
    return np.array(merged, dtype=np.float64).reshape(-1, 2)
