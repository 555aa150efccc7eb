"""From a detector's scores on a set's files to the figures that the report shows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vad.evaluation.bootstrap import auc_difference
from vad.evaluation.curves import calibration, error_curve
from vad.evaluation.metrics import (
    NAN,
    Kind,
    Labels,
    Scores,
    average_precision,
    best_f1,
    best_shift,
    best_smoothing,
    equal_error_rate,
    error_rates,
    moved_earlier,
    roc_auc,
)
from vad.evaluation.results import (
    Comparison,
    CurveResult,
    FileResult,
    GroupResult,
    SetResult,
)
from vad.evaluation.sets import LabelledFile
from vad.evaluation.timing import (
    DetectionError,
    Recall,
    detection_error,
    edge_delays,
    speech_segments,
    utterance_hits,
)
from vad.frames import HOP_MS

THRESHOLD = 0.5
SHORT = (0.5, 1.0, None)  # seconds that an utterance is shorter than; None: any


@dataclass(frozen=True)
class Tally:
    """What one detector gave on one set under one condition, file by file.

    Attributes:
        draws: how often each file was heard, with other noise each time; its entries follow one
            another.
    """

    set: str
    condition: str
    model: str
    latency_ms: float = NAN
    draws: int = 1
    files: list[LabelledFile] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)
    errors: list[DetectionError] = field(default_factory=list)

    def add(self, file: LabelledFile, scores: Scores, labels: Labels, seconds: float) -> None:
        """Notes one file of `seconds`."""
        self.files.append(file)
        self.scores.append(scores)
        self.labels.append(labels)
        found = speech_segments(scores, THRESHOLD)
        self.errors.append(detection_error(file.speech, found, seconds))

    @property
    def minutes(self) -> float:
        """Of the files, however often they were heard."""
        return sum(map(len, self.labels)) * HOP_MS / 60_000 / self.draws

    def by_file(self, parts: Sequence[NDArray[Kind]]) -> list[NDArray[Kind]]:
        """What belongs to each file in one, of `parts` that stand in the order of `files`."""
        return [np.concatenate(parts[i : i + self.draws]) for i in range(0, len(parts), self.draws)]


def pooled(tallies: Sequence[Tally], name: str) -> Tally:
    """Several sets as one; all of one condition and model."""
    first = tallies[0]
    together = Tally(name, first.condition, first.model, first.latency_ms, first.draws)
    for each in tallies:
        together.files.extend(each.files)
        together.scores.extend(each.scores)
        together.labels.extend(each.labels)
        together.errors.extend(each.errors)
    return together


def set_result(tally: Tally) -> SetResult:
    """All figures of one row."""
    scores, labels = np.concatenate(tally.scores), np.concatenate(tally.labels)
    shifted, f1 = best_shift(tally.scores, tally.labels), best_f1(scores, labels)
    smoothed = best_smoothing(tally.scores, tally.labels, shifted.shift_ms)
    rates = error_rates(scores, labels, THRESHOLD)
    onset_ms, onsets, onsets_found = _delays(tally, "onset")
    offset_ms, offsets, offsets_found = _delays(tally, "offset")
    return SetResult(
        set=tally.set,
        condition=tally.condition,
        model=tally.model,
        files=len(tally.files) // tally.draws,
        minutes=tally.minutes,
        speech_ratio=float((labels == 1).sum() / max(1, (labels >= 0).sum())),
        auc=roc_auc(scores, labels),
        auc_shifted=shifted.auc,
        shift_ms=shifted.shift_ms,
        auc_smoothed=smoothed.auc,
        average_ms=smoothed.average_ms,
        average_precision=average_precision(scores, labels),
        f1=f1.f1,
        f1_threshold=f1.threshold,
        eer=equal_error_rate(scores, labels),
        false_alarm=rates.false_alarm,
        miss=rates.miss,
        detection_error=sum(tally.errors, DetectionError(0, 0, 0)).rate,
        calibration_error=calibration(scores, labels).error,
        latency_ms=tally.latency_ms,
        onset_ms=onset_ms,
        onsets=onsets,
        onsets_found=onsets_found,
        offset_ms=offset_ms,
        offsets=offsets,
        offsets_found=offsets_found,
        recalls=recalls(tally),
    )


def file_results(tally: Tally) -> Iterator[FileResult]:
    """One row a file."""
    every = zip(
        tally.files[:: tally.draws],
        tally.by_file(tally.scores),
        tally.by_file(tally.labels),
        strict=True,
    )
    for file, scores, labels in every:
        found = scores >= THRESHOLD
        yield FileResult(
            set=tally.set,
            condition=tally.condition,
            model=tally.model,
            file=file.name,
            seconds=len(labels) * HOP_MS / 1000,
            auc=roc_auc(scores, labels),
            false_alarm_s=int((found & (labels == 0)).sum()) * HOP_MS / 1000,
            miss_s=int((~found & (labels == 1)).sum()) * HOP_MS / 1000,
        )


def curve_result(tally: Tally) -> CurveResult:
    """What the ROC and DET plots show."""
    scores, labels = np.concatenate(tally.scores), np.concatenate(tally.labels)
    rates = error_rates(scores, labels, THRESHOLD)
    curve = error_curve(scores, labels)
    return CurveResult(
        tally.set, tally.condition, tally.model, curve, rates.false_alarm, rates.miss
    )


def group_results(
    tallies: Sequence[Tally], groups: Mapping[str, Collection[str]]
) -> list[GroupResult]:
    """Calibration by group: noisy conditions, sets that `groups` names, and the clean rest."""
    name_of = {each: name for name, sets in groups.items() for each in sets}
    members: dict[tuple[str, str], list[Tally]] = {}
    for tally in tallies:
        group = name_of.get(tally.set, "clean") if tally.condition == "clean" else "noisy"
        members.setdefault((group, tally.model), []).append(tally)
    found = []
    for (group, model), those in members.items():
        together = pooled(those, group)
        scores, labels = np.concatenate(together.scores), np.concatenate(together.labels)
        rates = error_rates(scores, labels, THRESHOLD)
        found.append(
            GroupResult(
                group=group,
                model=model,
                sets=tuple(dict.fromkeys(each.set for each in those)),
                minutes=together.minutes,
                false_alarm=rates.false_alarm,
                miss=rates.miss,
                calibration=calibration(scores, labels),
            )
        )
    order = list(dict.fromkeys(["clean", "noisy", *(row.group for row in found)]))
    return sorted(found, key=lambda row: order.index(row.group))


def recalls(tally: Tally) -> tuple[Recall, ...]:
    """How many utterances shorter than each of `SHORT` were found."""
    every = [
        utterance_hits(scores, labels, THRESHOLD)
        for scores, labels in zip(tally.scores, tally.labels, strict=True)
    ]
    seconds, hit = (np.concatenate(part) for part in zip(*every, strict=True))
    rows = []
    for limit in SHORT:
        among = seconds < (np.inf if limit is None else limit)
        rows.append(Recall(limit, int(among.sum()), int(hit[among].sum())))
    return tuple(rows)


def compare(
    first: Tally, second: Tally, shifts_ms: tuple[int, int], *, draws: int, seed: int
) -> Comparison:
    """Two detectors on the same files, their scores moved earlier by their shifts."""
    moved = [
        tally.by_file([moved_earlier(scores, shift // HOP_MS) for scores in tally.scores])
        for tally, shift in zip((first, second), shifts_ms, strict=True)
    ]
    labels = first.by_file(first.labels)
    difference = auc_difference(moved[0], moved[1], labels, draws=draws, seed=seed)
    return Comparison(
        set=first.set,
        condition=first.condition,
        first=first.model,
        second=second.model,
        difference=difference.value,
        low=difference.low,
        high=difference.high,
    )


def _delays(tally: Tally, edge: Literal["onset", "offset"]) -> tuple[float, int, int]:
    """Median of those found, how many there are, how many were found."""
    delays = np.concatenate(
        [
            edge_delays(scores, labels, edge, THRESHOLD)
            for scores, labels in zip(tally.scores, tally.labels, strict=True)
        ]
    )
    found = delays[~np.isnan(delays)]
    return (float(np.median(found)) if len(found) else NAN), len(delays), len(found)
