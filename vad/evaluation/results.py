"""What an evaluation found, as plain records; seconds, milliseconds and shares as named."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vad.evaluation.curves import Calibration, ErrorCurve
from vad.evaluation.timing import Recall


@dataclass(frozen=True)
class SetResult:
    """One model on one labelled set under one condition, pooled over its files.

    Rates, F1 and delays are at a threshold of 0.5, but for `f1`, which is at `f1_threshold`.

    Attributes:
        condition: "clean" or the signal-to-noise ratio, e.g. "10 dB"; figures are over all draws
            of its noise.
        speech_ratio: share of the labelled frames that are speech.
        auc_shifted: the AUC at `shift_ms`, the constant shift that suits the model best;
            positive means that its scores lag.
        auc_smoothed: the AUC after the moving average of `average_ms` that suits the model best,
            at the shift that suits that best.
        detection_error: (false alarm + miss) / speech in seconds, of plain runs.
        latency_ms: the model's algorithmic latency, which its scores' own delays don't show; NaN
            where it hears the whole file first.
        onset_ms, offset_ms: median delays over those found within -200…+500 ms.
        onsets, offsets: edges of the reference with 300 ms of non-speech outside.
        onsets_found, offsets_found: those that the model crossed 0.5 at.
        recalls: of short utterances, and of all.
    """

    set: str
    condition: str
    model: str
    files: int
    minutes: float
    speech_ratio: float
    auc: float
    auc_shifted: float
    shift_ms: int
    auc_smoothed: float
    average_ms: int
    average_precision: float
    f1: float
    f1_threshold: float
    eer: float
    false_alarm: float
    miss: float
    detection_error: float
    calibration_error: float
    latency_ms: float
    onset_ms: float
    onsets: int
    onsets_found: int
    offset_ms: float
    offsets: int
    offsets_found: int
    recalls: tuple[Recall, ...]


@dataclass(frozen=True)
class FileResult:
    """One model on one labelled file: where it was wrong at 0.5."""

    set: str
    condition: str
    model: str
    file: str
    seconds: float
    auc: float
    false_alarm_s: float
    miss_s: float

    @property
    def error(self) -> float:
        """Share of the file that was wrong."""
        return (self.false_alarm_s + self.miss_s) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class NoiseClipResult:
    """One model on one clip without speech."""

    clip: str
    seconds: float
    segments: int
    speech_s: float


@dataclass(frozen=True)
class NoiseResult:
    """One model on one set without speech.

    Attributes:
        clips: what it gave on each; `segments` are plain runs of at least 250 ms above 0.5.
    """

    set: str
    model: str
    clips: tuple[NoiseClipResult, ...]

    @property
    def hours(self) -> float:
        return sum(clip.seconds for clip in self.clips) / 3600

    @property
    def segments(self) -> int:
        return sum(clip.segments for clip in self.clips)

    @property
    def segments_per_hour(self) -> float:
        return self.segments / self.hours if self.hours else math.nan

    @property
    def speech_ratio(self) -> float:
        """Share of the frames taken for speech."""
        speech = sum(clip.speech_s for clip in self.clips)
        return speech / (self.hours * 3600) if self.hours else math.nan


@dataclass(frozen=True)
class Comparison:
    """AUC at best shift of the first model minus the second's: the 95 % bootstrap over files."""

    set: str
    condition: str
    first: str
    second: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Mean:
    """An unweighted mean over rows on which a figure is defined.

    Attributes:
        over: which rows: "clean", each labelled set; "clean, small pooled", with the small sets
            as one; "all conditions, small pooled", the noisy ones counting as the clean ones do.
        sets: how many rows.
    """

    model: str
    over: str
    sets: int
    auc: float
    auc_shifted: float
    auc_smoothed: float
    f1: float
    eer: float
    false_alarm: float
    miss: float


@dataclass(frozen=True)
class CurveResult:
    """One model's errors over all thresholds on one set under one condition, and at 0.5."""

    set: str
    condition: str
    model: str
    curve: ErrorCurve
    false_alarm: float
    miss: float


@dataclass(frozen=True)
class GroupResult:
    """One model's calibration, and its errors at 0.5, over the frames of a group of conditions.

    Attributes:
        group: "clean", "noisy", or a name that the caller gave to some sets.
        sets: the sets in it.
    """

    group: str
    model: str
    sets: tuple[str, ...]
    minutes: float
    false_alarm: float
    miss: float
    calibration: Calibration
