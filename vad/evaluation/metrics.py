"""Frame-wise figures of merit, as pure functions of scores and labels.

Scores are [frames] floats, higher meaning speech; labels are [frames] int8: 1 speech,
0 non-speech, -1 ignored. A figure that its input does not define (an AUC without non-speech,
say) is NaN, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vad.errors import ParameterError
from vad.frames import HOP_MS

Scores = NDArray[np.float32]
Labels = NDArray[np.int8]
Counts = NDArray[np.float64]

Kind = TypeVar("Kind", bound=np.generic)

NAN = float("nan")

# Odd, so that the mean lies around its frame.
_SMOOTHING_FRAMES = (1, 5, 9, 15, 21, 29, 37, 45, 53, 59)


@dataclass(frozen=True)
class Shifted:
    """The AUC at the constant time shift that suits the scores best.

    Attributes:
        auc: area under the ROC curve at that shift.
        shift_ms: how much earlier the scores had to be moved; positive means they lag.
    """

    auc: float
    shift_ms: int


@dataclass(frozen=True)
class Smoothed:
    """The AUC after the moving average that suits the scores best.

    Attributes:
        auc: area under the ROC curve with it.
        average_ms: its length; 10 means none.
        shift_ms: how much earlier the averaged scores had to be moved.
    """

    auc: float
    average_ms: int
    shift_ms: int


@dataclass(frozen=True)
class BestF1:
    """The highest F1 over all thresholds, and the threshold (score ≥ it is speech)."""

    f1: float
    threshold: float


@dataclass(frozen=True)
class ErrorRates:
    """False alarms over non-speech frames, misses over speech frames."""

    false_alarm: float
    miss: float


def roc_auc(scores: Scores, labels: Labels) -> float:
    """Area under the ROC curve: P(a speech frame outscores a non-speech frame), ties half.

    The Mann-Whitney form of Hanley & McNeil, "The meaning and use of the area under a receiver
    operating characteristic (ROC) curve", Radiology 143 (1982).
    """
    _, speech, other = tally(scores, labels)
    return auc_of_counts(speech, other)


def auc_of_counts(speech: Counts, other: Counts) -> float:
    """The AUC of histograms over ascending distinct scores; the counts may be weights.

    Args:
        speech: [values] weight of speech frames at each score.
        other: [values] weight of non-speech frames at each score.
    """
    pairs = float(speech.sum() * other.sum())
    if pairs <= 0:
        return NAN
    below = np.cumsum(other) - other
    return float(speech @ (below + other / 2)) / pairs


def best_shift(scores: Sequence[Scores], labels: Sequence[Labels], limit_ms: int = 200) -> Shifted:
    """The best AUC over constant shifts of ± `limit_ms` in steps of 10 ms, pooled over files.

    It takes away what a detector's look-ahead or lag and a set's habits of padding do to the
    AUC, and so compares what detectors know. Frames that a shift leaves without a score take
    the file's nearest one. Of equal shifts the smallest wins.

    Args:
        scores, labels: one array a file, of the same lengths.
        limit_ms: largest shift tried.
    """
    _check_files(scores, labels)
    pooled = _pooled(labels, np.int8)
    reach = limit_ms // HOP_MS
    best = Shifted(roc_auc(_pooled(scores, np.float32), pooled), 0)
    for frames in sorted(range(-reach, reach + 1), key=abs):
        moved = _pooled([moved_earlier(file, frames) for file in scores], np.float32)
        auc = roc_auc(moved, pooled)
        if auc > best.auc:
            best = Shifted(auc, frames * HOP_MS)
    return best


def moved_earlier(scores: Scores, frames: int) -> Scores:
    """`scores` moved `frames` earlier (later if negative), the ends repeated, same length."""
    if not len(scores):
        return scores
    index = np.clip(np.arange(len(scores)) + frames, 0, len(scores) - 1)
    return scores[index]


def average_precision(scores: Scores, labels: Labels) -> float:
    """Precision at each threshold weighted by the gain in recall, without interpolation.

    Manning, Raghavan & Schütze, "Introduction to Information Retrieval" (2008), section 8.4;
    tied scores make one step.
    """
    _, hits, alarms = _at_thresholds(scores, labels)
    if not len(hits) or hits[-1] == 0:
        return NAN
    gained = np.diff(hits, prepend=0.0) / hits[-1]
    return float(gained @ (hits / (hits + alarms)))


def best_f1(scores: Scores, labels: Labels) -> BestF1:
    """The highest harmonic mean of precision and recall; among equals the highest threshold.

    van Rijsbergen, "Information Retrieval" (1979), chapter 7.
    """
    thresholds, hits, alarms = _at_thresholds(scores, labels)
    if not len(hits) or hits[-1] == 0:
        return BestF1(NAN, NAN)
    f1 = 2 * hits / (hits + alarms + hits[-1])
    best = int(np.argmax(f1))
    return BestF1(float(f1[best]), float(thresholds[best]))


def equal_error_rate(scores: Scores, labels: Labels) -> float:
    """Where false-alarm and miss rate are equal, the ROC taken as straight between its points.

    Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
    """
    _, hits, alarms = _at_thresholds(scores, labels)
    if not len(hits) or hits[-1] == 0 or alarms[-1] == 0:
        return NAN
    miss = np.concatenate([[1.0], 1 - hits / hits[-1]])
    false_alarm = np.concatenate([[0.0], alarms / alarms[-1]])
    gap = miss - false_alarm  # falls from 1 to -1
    after = int(np.argmax(gap <= 0))
    part = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(miss[after - 1] + part * (miss[after] - miss[after - 1]))


def error_rates(scores: Scores, labels: Labels, threshold: float = 0.5) -> ErrorRates:
    """False-alarm and miss rate where a score of at least `threshold` is speech."""
    found = scores >= threshold
    speech, other = labels == 1, labels == 0
    return ErrorRates(
        false_alarm=float(found[other].mean()) if other.any() else NAN,
        miss=float((~found[speech]).mean()) if speech.any() else NAN,
    )


def best_smoothing(
    scores: Sequence[Scores], labels: Sequence[Labels], shift_ms: int, limit_ms: int = 600
) -> Smoothed:
    """The best AUC over moving averages of up to `limit_ms`, each at the shift that suits it.

    Labels that bridge short pauses, as those of meetings do, ask for scores that bridge them
    too; this grants each detector the bridging that suits it best.

    Args:
        scores, labels: one array a file, of the same lengths.
        shift_ms: what suits the scores as they are (`best_shift`), where the search begins: a
            symmetric mean hardly moves it, so lengths are compared there.
        limit_ms: longest average tried.
    """
    _check_files(scores, labels)
    pooled, shift = _pooled(labels, np.int8), shift_ms // HOP_MS
    longest = limit_ms // HOP_MS
    tried = [frames for frames in _SMOOTHING_FRAMES if frames <= longest]

    def at(frames: int) -> list[Scores]:
        return [moving_average(file, frames) for file in scores]

    def auc(frames: int) -> float:
        moved = [moved_earlier(file, shift) for file in at(frames)]
        return roc_auc(_pooled(moved, np.float32), pooled)

    aucs = [auc(frames) for frames in tried]
    if np.isnan(aucs).any():
        return Smoothed(NAN, 0, shift_ms)
    best = tried[int(np.argmax(aucs))]
    if best == 1:
        return Smoothed(max(aucs), HOP_MS, shift_ms)
    found = best_shift(at(best), labels)
    return Smoothed(found.auc, best * HOP_MS, found.shift_ms)


def moving_average(scores: Scores, frames: int) -> Scores:
    """The mean over `frames` (odd) around each frame; near the ends, over those that exist.

    Raises:
        ParameterError: `frames` is even or below one.
    """
    if frames < 1 or frames % 2 == 0:
        raise ParameterError("frames", f"must be an odd number above zero, not {frames}")
    half = frames // 2
    sums = np.concatenate([[0.0], np.cumsum(scores, dtype=np.float64)])
    centre = np.arange(len(scores))
    first = np.maximum(centre - half, 0)
    last = np.minimum(centre + half + 1, len(scores))
    return np.asarray((sums[last] - sums[first]) / (last - first), dtype=np.float32)


def tally(scores: Scores, labels: Labels) -> tuple[Scores, Counts, Counts]:
    """Distinct scores, ascending, with the number of speech and of other frames at each."""
    if scores.shape != labels.shape:
        raise ParameterError("labels", f"have shape {labels.shape}, the scores {scores.shape}")
    used = labels >= 0
    values, index = np.unique(scores[used], return_inverse=True)
    speech = (labels[used] == 1).astype(np.float64)
    hits = np.bincount(index, weights=speech, minlength=len(values))
    other = np.bincount(index, weights=1 - speech, minlength=len(values))
    return values, hits.astype(np.float64), other.astype(np.float64)


def _at_thresholds(scores: Scores, labels: Labels) -> tuple[Scores, Counts, Counts]:
    """For each distinct score as threshold, descending: hits and false alarms in frames."""
    values, speech, other = tally(scores, labels)
    return values[::-1], np.cumsum(speech[::-1]), np.cumsum(other[::-1])


def _pooled(files: Sequence[NDArray[Kind]], kind: type[Kind]) -> NDArray[Kind]:
    return np.concatenate(files) if files else np.zeros(0, kind)


def _check_files(scores: Sequence[Scores], labels: Sequence[Labels]) -> None:
    if len(scores) != len(labels):
        raise ParameterError("labels", f"{len(labels)} files, but scores of {len(scores)}")
