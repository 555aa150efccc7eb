"""What a threshold does, and what a probability is worth: error curves and calibration.

Scores and labels are as in `vad.evaluation.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vad.evaluation.metrics import NAN, Labels, Scores, tally

CURVE_POINTS = 200
BINS = 15


@dataclass(frozen=True)
class ErrorCurve:
    """False-alarm and miss rates over falling thresholds, from (0, 1) to (1, 0).

    1 − miss over false alarm is the ROC curve; on normal deviates the two are the DET curve
    (Martin et al., "The DET curve in assessment of detection task performance", 1997).
    """

    false_alarm: tuple[float, ...]
    miss: tuple[float, ...]


@dataclass(frozen=True)
class Bin:
    """Scores of one range: their mean, how much of it was speech, how many frames."""

    score: float
    speech: float
    frames: int


@dataclass(frozen=True)
class Calibration:
    """Whether a score of 0.7 is speech seven times in ten.

    Attributes:
        error: the expected calibration error, the mean distance of score and share of speech
            over the bins, weighted by frames; NaN without frames.
        bins: those that hold frames, scores ascending.
    """

    error: float
    bins: tuple[Bin, ...]


def error_curve(scores: Scores, labels: Labels, points: int = CURVE_POINTS) -> ErrorCurve:
    """The curve at about `points` thresholds at most; empty unless both classes are there.

    The thresholds kept lie evenly in rank among speech and among non-speech frames, and evenly
    in the logarithm at the rare ends, so that both plots keep their shape.
    """
    _, speech, other = tally(scores, labels)
    if not speech.sum() or not other.sum():
        return ErrorCurve((), ())
    miss = 1 - np.concatenate([[0.0], np.cumsum(speech[::-1])]) / speech.sum()
    alarm = np.concatenate([[0.0], np.cumsum(other[::-1])]) / other.sum()
    miss = np.clip(miss, 0, 1)
    rare = np.geomspace(1e-4, 0.1, points // 6)
    wanted = np.concatenate([rare, np.linspace(0.1, 1, points // 3)])
    index = np.unique(
        np.concatenate(
            [
                [0, len(miss) - 1],
                np.searchsorted(alarm, wanted, side="left"),
                np.searchsorted(-miss, -wanted, side="left"),
            ]
        ).clip(0, len(miss) - 1)
    )
    return ErrorCurve(tuple(alarm[index].tolist()), tuple(miss[index].tolist()))


def calibration(scores: Scores, labels: Labels, bins: int = BINS) -> Calibration:
    """Over equally wide bins of the score.

    Naeini, Cooper & Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI 2015, for the probability of speech.

    Args:
        scores: probabilities in 0 to 1.
        labels: as everywhere here.
        bins: number of bins.
    """
    used = labels >= 0
    values = scores[used].astype(np.float64)
    if not len(values):
        return Calibration(NAN, ())
    index = np.minimum((values * bins).astype(int), bins - 1)
    frames = np.bincount(index, minlength=bins)
    confidence = np.bincount(index, weights=values, minlength=bins)
    speech = np.bincount(index, weights=labels[used] == 1, minlength=bins)
    error = float(np.abs(confidence - speech).sum() / len(values))
    filled = np.flatnonzero(frames)
    return Calibration(
        error,
        tuple(
            Bin(float(confidence[n] / frames[n]), float(speech[n] / frames[n]), int(frames[n]))
            for n in filled
        ),
    )
