"""The tables of a report: text in cells, before it is known where they are shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vad.evaluation.results import (
    Comparison,
    FileResult,
    GroupResult,
    Mean,
    NoiseClipResult,
    NoiseResult,
    SetResult,
)

LABELS = ("set", "condition", "model")


@dataclass(frozen=True)
class Table:
    """Text in cells; the first `labels` columns name the row, the rest are figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int
    note: str = ""


def frames_table(rows: Sequence[SetResult]) -> Table:
    cells = [
        (
            *_named(row),
            f"{row.minutes:.1f}",
            f"{100 * row.speech_ratio:.0f} %",
            _share(row.auc, 4),
            _share(row.auc_shifted, 4),
            f"{row.shift_ms:+d}",
            _share(row.auc_smoothed, 4),
            f"{row.average_ms}",
            _share(row.average_precision),
            _share(row.f1),
            _share(row.eer),
        )
        for row in rows
    ]
    figures = ("min", "speech", "AUC", "@shift", "ms", "smoothed", "ms", "AP", "F1", "EER")
    note = (
        "@shift: AUC with the scores so many ms earlier; smoothed: after the moving average of so "
        "many ms, up to 600, that suits the model best; F1: the best"
    )
    return Table("Labelled sets, at any threshold", (*LABELS, *figures), tuple(cells), 3, note)


def threshold_table(rows: Sequence[SetResult]) -> Table:
    cells = [
        (
            *_named(row),
            _share(row.false_alarm),
            _share(row.miss),
            _share(row.detection_error),
            _share(row.calibration_error),
        )
        for row in rows
    ]
    columns = (*LABELS, "FA", "miss", "DetER", "ECE")
    note = "FA: share of non-speech frames; ECE: expected calibration error"
    return Table("Labelled sets, at 0.5", columns, tuple(cells), 3, note)


def delays_table(rows: Sequence[SetResult]) -> Table:
    cells = [
        (
            *_named(row),
            _delay(row.onset_ms, row.onsets_found, row.onsets),
            _delay(row.offset_ms, row.offsets_found, row.offsets),
            "whole file" if math.isnan(row.latency_ms) else f"{row.latency_ms:.0f} ms",
            _ms(row.onset_ms + row.latency_ms),
            _ms(row.offset_ms + row.latency_ms),
        )
        for row in rows
        if row.onsets or row.offsets
    ]
    columns = (*LABELS, "onset", "offset", "latency", "onset heard", "offset heard")
    note = (
        "median delays at 0.5 (found of all); latency: algorithmic, from a frame's end to its "
        "score; heard: with it, as a listener to a stream sees them"
    )
    return Table("Delays", columns, tuple(cells), 3, note)


def utterances_table(rows: Sequence[SetResult]) -> Table:
    shown = [row for row in rows if any(each.utterances for each in row.recalls)]
    limits = [each.shorter_than_s for each in shown[0].recalls] if shown else []
    cells = [
        (
            *_named(row),
            *(f"{each.found}/{each.utterances}" for each in row.recalls),
            str(row.recalls[-1].utterances - row.recalls[-1].found),
        )
        for row in shown
    ]
    figures = ["all" if limit is None else f"< {limit:g} s" for limit in limits]
    columns = (*LABELS, *figures, "missed")
    note = "utterances of which anything was found at 0.5; pauses under 300 ms do not part them"
    return Table("Utterances found", columns, tuple(cells), 3, note)


def conditions_table(
    title: str, rows: Sequence[SetResult], show: Callable[[SetResult], str]
) -> Table:
    """A column for each condition; sets of one condition alone are left out."""
    conditions = list(dict.fromkeys(row.condition for row in rows))
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        found.setdefault((row.set, row.model), {})[row.condition] = show(row)
    cells = [
        (*key, *(shown.get(condition, "-") for condition in conditions))
        for key, shown in found.items()
        if len(shown) > 1
    ]
    return Table(title, ("set", "model", *conditions), tuple(cells), 2)


def condition_tables(rows: Sequence[SetResult]) -> list[Table]:
    """How each figure falls with the noise."""
    return [
        conditions_table("AUC@shift by condition", rows, lambda row: _share(row.auc_shifted, 4)),
        conditions_table(
            "FA / miss at 0.5 by condition",
            rows,
            lambda row: f"{_share(row.false_alarm)} / {_share(row.miss)}",
        ),
    ]


def groups_table(rows: Sequence[GroupResult]) -> Table:
    cells = [
        (
            row.group,
            row.model,
            f"{row.minutes:.1f}",
            _share(row.false_alarm),
            _share(row.miss),
            _share(row.calibration.error),
        )
        for row in rows
    ]
    columns = ("group", "model", "min", "FA", "miss", "ECE")
    members = dict.fromkeys((row.group, row.sets) for row in rows)
    note = "; ".join(f"{group}: {', '.join(sets)}" for group, sets in members)
    return Table("Calibration, and errors at 0.5, by group", columns, tuple(cells), 2, note)


def means_table(rows: Sequence[Mean]) -> Table:
    names = ("auc", "auc_shifted", "auc_smoothed", "f1", "eer", "false_alarm", "miss")
    cells = [
        (row.over, row.model, str(row.sets), *(_share(getattr(row, name), 4) for name in names))
        for row in rows
        if row.sets > 1
    ]
    figures = ("AUC", "@shift", "smoothed", "F1", "EER", "FA", "miss")
    return Table("Means", ("over", "model", "rows", *figures), tuple(cells), 2)


def noises_table(rows: Sequence[NoiseResult]) -> Table:
    cells = [
        (
            row.set,
            row.model,
            f"{row.hours:.2f}",
            f"{row.segments_per_hour:.1f}",
            _percent(row.speech_ratio),
        )
        for row in rows
    ]
    columns = ("set", "model", "hours", "false segments an hour", "time")
    note = "segments of at least 250 ms at 0.5; time: share taken for speech"
    return Table("Sets without speech", columns, tuple(cells), 2, note)


def comparisons_table(rows: Sequence[Comparison]) -> Table:
    cells = [
        (
            row.set,
            row.condition,
            f"{row.first} - {row.second}",
            _signed(row.difference),
            f"{_signed(row.low)} … {_signed(row.high)}",
        )
        for row in rows
    ]
    columns = ("set", "condition", "models", "AUC@shift", "95 %")
    note = "paired bootstrap over files"
    return Table("Differences", columns, tuple(cells), 3, note)


def worst_files_table(rows: Sequence[FileResult]) -> Table:
    cells = [
        (
            row.model,
            row.set,
            row.condition,
            row.file,
            f"{row.seconds:.2f}",
            _share(row.auc),
            f"{row.false_alarm_s:.2f}",
            f"{row.miss_s:.2f}",
            _percent(row.error),
        )
        for row in rows
    ]
    columns = ("model", "set", "condition", "file", "s", "AUC", "FA s", "miss s", "wrong")
    return Table("Worst files", columns, tuple(cells), 4)


def worst_clips_table(rows: Sequence[NoiseResult], worst: int) -> Table:
    cells = [
        (row.model, row.set, clip.clip, f"{clip.seconds:.2f}", str(clip.segments),
         f"{clip.speech_s:.2f}")
        for row in rows
        for clip in _worst_clips(row, worst)
    ]  # fmt: skip
    columns = ("model", "set", "clip", "s", "false segments", "s of them")
    return Table("Worst clips without speech", columns, tuple(cells), 3)


def _worst_clips(row: NoiseResult, worst: int) -> list[NoiseClipResult]:
    wrong = [clip for clip in row.clips if clip.segments]
    return sorted(wrong, key=lambda clip: -clip.speech_s)[:worst]


def _named(row: SetResult) -> tuple[str, str, str]:
    return row.set, row.condition, row.model


def _ms(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.0f} ms"


def _share(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.4f}"


def _delay(value: float, found: int, every: int) -> str:
    return "-" if math.isnan(value) else f"{value:+.0f} ms ({found}/{every})"
