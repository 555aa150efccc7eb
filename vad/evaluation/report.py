"""The report of an evaluation: as records, as JSON, and as tables for people."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vad.evaluation.results import (
    Comparison,
    FileResult,
    Mean,
    NoiseClipResult,
    NoiseResult,
    SetResult,
)

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Table:
    """Text in cells; the first `labels` columns name the row, the rest are figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int
    note: str = ""


@dataclass(frozen=True)
class Report:
    """All results of one evaluation, sets apart."""

    models: tuple[str, ...]
    seed: int
    sets: tuple[SetResult, ...] = ()
    files: tuple[FileResult, ...] = ()
    noises: tuple[NoiseResult, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    def means(self) -> list[Mean]:
        """One row a model."""
        found = []
        for model in self.models:
            rows = [row for row in self.sets if row.model == model and row.condition == "clean"]
            if rows:
                names = ("auc", "auc_shifted", "f1", "eer", "false_alarm", "miss")
                figures = {name: _mean([getattr(row, name) for row in rows]) for name in names}
                found.append(Mean(model=model, sets=len(rows), **figures))
        return found

    def worst(self, count: int, model: str) -> list[FileResult]:
        """The `count` labelled files, clean or noisy, with the largest share wrong at 0.5."""
        rows = (row for row in self.files if row.model == model)
        return sorted(rows, key=lambda row: -row.error)[:count]

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what is undefined is None."""
        noises = [
            {
                **asdict(row),
                "hours": row.hours,
                "segments": row.segments,
                "segments_per_hour": row.segments_per_hour,
                "speech_ratio": row.speech_ratio,
            }
            for row in self.noises
        ]
        means = [asdict(row) for row in self.means()]
        found: dict[str, Any] = _plain({**asdict(self), "noises": noises, "means": means})
        return found

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_markdown(self, worst: int = 0) -> str:
        """The tables as Markdown; `worst` asks for that many of each model's worst files."""
        return "\n".join(_markdown(table) for table in self.tables(worst))

    def tables(self, worst: int = 0) -> list[Table]:
        """What there is to show, empty tables left out."""
        every = [
            _frames_table(self.sets),
            _threshold_table(self.sets),
            _means_table(self.means()),
            _noises_table(self.noises),
            _comparisons_table(self.comparisons),
            _worst_files_table([row for model in self.models for row in self.worst(worst, model)]),
            _worst_clips_table(self.noises, worst),
        ]
        return [table for table in every if table.rows]


def render_report(report: Report, console: Console, worst: int = 0) -> None:
    """Prints the tables.

    Args:
        report: what to print.
        console: where to; its width decides how the tables wrap.
        worst: how many of each model's worst files and clips to list.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    for table in report.tables(worst):
        shown = RichTable(
            title=table.title, caption=table.note or None, title_justify="left", box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )  # fmt: skip
        for number, column in enumerate(table.columns):
            if number < table.labels:
                shown.add_column(column, overflow="fold")
            else:  # whole whatever the width: a cut figure is a wrong one
                widest = max(len(row[number]) for row in table.rows)
                shown.add_column(column, justify="right", no_wrap=True, min_width=widest)
        for row in table.rows:
            shown.add_row(*(Text(cell) for cell in row))  # names may look like markup
        console.print(shown)


def _frames_table(rows: Sequence[SetResult]) -> Table:
    cells = [
        (
            row.set,
            row.condition,
            row.model,
            f"{row.minutes:.1f}",
            f"{100 * row.speech_ratio:.0f} %",
            _share(row.auc, 4),
            _share(row.auc_shifted, 4),
            f"{row.shift_ms:+d}",
            _share(row.average_precision),
            _share(row.f1),
            _share(row.eer),
        )
        for row in rows
    ]
    labels = ("set", "condition", "model")
    columns = (*labels, "min", "speech", "AUC", "@shift", "ms", "AP", "F1", "EER")
    note = "@shift: AUC with the scores so many ms earlier; F1: the best"
    return Table("Labelled sets, at any threshold", columns, tuple(cells), len(labels), note)


def _threshold_table(rows: Sequence[SetResult]) -> Table:
    cells = [
        (
            row.set,
            row.condition,
            row.model,
            _share(row.false_alarm),
            _share(row.miss),
            _share(row.detection_error),
            _share(row.calibration_error),
            _delay(row.onset_ms, row.onsets_found, row.onsets),
            _delay(row.offset_ms, row.offsets_found, row.offsets),
        )
        for row in rows
    ]
    columns = ("set", "condition", "model", "FA", "miss", "DetER", "ECE", "onset", "offset")
    note = "FA: share of non-speech frames; delays: median (found of all)"
    return Table("Labelled sets, at 0.5", columns, tuple(cells), 3, note)


def _means_table(rows: Sequence[Mean]) -> Table:
    names = ("auc", "auc_shifted", "f1", "eer", "false_alarm", "miss")
    cells = [
        (row.model, str(row.sets), *(_share(getattr(row, name), 4) for name in names))
        for row in rows
        if row.sets > 1
    ]
    columns = ("model", "sets", "AUC", "AUC@shift", "F1", "EER", "FA", "miss")
    return Table("Mean over the clean sets", columns, tuple(cells), 1)


def _noises_table(rows: Sequence[NoiseResult]) -> Table:
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


def _comparisons_table(rows: Sequence[Comparison]) -> Table:
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


def _worst_files_table(rows: Sequence[FileResult]) -> Table:
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


def _worst_clips_table(rows: Sequence[NoiseResult], worst: int) -> Table:
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


def _markdown(table: Table) -> str:
    rule = ["---" if number < table.labels else "--:" for number in range(len(table.columns))]
    lines = [f"## {table.title}", ""]
    for cells in (table.columns, rule, *table.rows):
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", table.note, ""] if table.note else [""]
    return "\n".join(lines)


def _share(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.4f}"


def _delay(value: float, found: int, every: int) -> str:
    return "-" if math.isnan(value) else f"{value:+.0f} ms ({found}/{every})"


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
