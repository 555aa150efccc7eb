"""The report of an evaluation: as records, as JSON, and as tables for people."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vad.evaluation import tables
from vad.evaluation.results import (
    Comparison,
    CurveResult,
    FileResult,
    GroupResult,
    Mean,
    NoiseResult,
    SetResult,
)
from vad.evaluation.tables import Table

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Report:
    """All results of one evaluation, sets apart.

    Attributes:
        sets: one row a set, condition and model.
        pooled: likewise, the sets of under `small_minutes` as one.
        curves: what the plots of `sets` and `pooled` show.
        groups: calibration by group of conditions.
    """

    models: tuple[str, ...]
    seed: int
    sets: tuple[SetResult, ...] = ()
    pooled: tuple[SetResult, ...] = ()
    small_minutes: float = 0
    curves: tuple[CurveResult, ...] = ()
    groups: tuple[GroupResult, ...] = ()
    files: tuple[FileResult, ...] = ()
    noises: tuple[NoiseResult, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    def means(self) -> list[Mean]:
        """One row a model over the clean sets; two more where small sets or noise ask for them."""
        clean = [row for row in self.sets if row.condition == "clean"]
        every = [*(row for row in self.sets if not self._is_pooled(row)), *self.pooled]
        kinds = {"clean": clean}
        if self.pooled:
            kinds["clean, small pooled"] = [row for row in every if row.condition == "clean"]
        if len(clean) < len(self.sets):
            kinds["all conditions" + (", small pooled" if self.pooled else "")] = every
        return [
            _mean_row(model, over, [row for row in rows if row.model == model])
            for over, rows in kinds.items()
            for model in self.models
            if any(row.model == model for row in rows)
        ]

    def _is_pooled(self, row: SetResult) -> bool:
        """Whether the row's set is one of those that `pooled` holds for its condition."""
        return row.minutes < self.small_minutes and any(
            each.condition == row.condition for each in self.pooled
        )

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
        rows = [*self.sets, *self.pooled]
        every = [
            tables.frames_table(rows),
            tables.threshold_table(rows),
            *tables.condition_tables(rows),
            tables.groups_table(self.groups),
            tables.delays_table(rows),
            tables.utterances_table(rows),
            tables.means_table(self.means()),
            tables.noises_table(self.noises),
            tables.comparisons_table(self.comparisons),
            tables.worst_files_table(
                [row for model in self.models for row in self.worst(worst, model)]
            ),
            tables.worst_clips_table(self.noises, worst),
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


def _markdown(table: Table) -> str:
    rule = ["---" if number < table.labels else "--:" for number in range(len(table.columns))]
    lines = [f"## {table.title}", ""]
    for cells in (table.columns, rule, *table.rows):
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", table.note, ""] if table.note else [""]
    return "\n".join(lines)


def _mean_row(model: str, over: str, rows: Sequence[SetResult]) -> Mean:
    names = ("auc", "auc_shifted", "auc_smoothed", "f1", "eer", "false_alarm", "miss")
    figures = {name: _mean([getattr(row, name) for row in rows]) for name in names}
    return Mean(model=model, over=over, sets=len(rows), **figures)


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
