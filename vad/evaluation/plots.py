"""Pictures of a report: ROC and DET curves of each set, and calibration by group.

As in `vad.plots`, matplotlib is imported when a picture is drawn, and without pyplot.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vad.evaluation.report import Report
from vad.evaluation.results import CurveResult, GroupResult
from vad.plots import check_plotting, save, subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 6.0  # inches
DET_TICKS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
DET_LEAST, DET_MOST = 0.0005, 0.9  # below, a set of minutes has no frames to count
FULL_DOT = 250.0  # square points of a bin that holds every frame
COLOURS = ("#1f4e9c", "#d1495b", "#2e8b57", "#f2a33a", "#7b4fa3", "#5b6b7b", "#17a2b8", "#8c564b")


def plot_report(report: Report, folder: Path) -> list[Path]:
    """Draws a report into a folder, made if absent.

    Returns:
        The pictures: `errors-<set>-<condition>.png` for each set and condition with both
        classes, and `calibration.png`.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    check_plotting()
    folder.mkdir(parents=True, exist_ok=True)
    colours = {model: COLOURS[number % len(COLOURS)] for number, model in enumerate(report.models)}
    drawn = []
    for name, condition in dict.fromkeys((row.set, row.condition) for row in report.curves):
        rows = [
            row
            for row in report.curves
            if (row.set, row.condition) == (name, condition) and row.curve.miss
        ]
        if rows:
            path = folder / f"errors-{_slug(name)}-{_slug(condition)}.png"
            save(_errors(rows, colours), path)
            drawn.append(path)
    if report.groups:
        path = folder / "calibration.png"
        save(_calibration(report.groups, colours), path)
        drawn.append(path)
    return drawn


def _errors(rows: Sequence[CurveResult], colours: dict[str, str]) -> Figure:
    figure, (left, right) = subplots(1, 2, (2 * PANEL, PANEL))
    for row in rows:
        alarm, miss = np.array(row.curve.false_alarm), np.array(row.curve.miss)
        style: dict[str, Any] = {"color": colours[row.model], "linewidth": 1.5}
        left.plot(alarm, 1 - miss, label=row.model, **style)
        right.plot(_deviate(alarm), _deviate(miss), **style)
        dot: dict[str, Any] = {"color": colours[row.model], "marker": "o", "markersize": 7}
        left.plot([row.false_alarm], [1 - row.miss], **dot)
        shown = np.clip([row.false_alarm, row.miss], DET_LEAST, DET_MOST)  # within the picture
        right.plot(*_deviate(shown)[:, None], clip_on=False, **dot)
    left.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), title="ROC")
    left.set(xlabel="false-alarm rate", ylabel="recall of speech frames")
    left.legend(loc="lower right", title="dots: at 0.5")
    _det_axes(right)
    for axes in (left, right):
        axes.set_box_aspect(1)
        axes.grid(alpha=0.3)
    figure.suptitle(f"{rows[0].set}, {rows[0].condition}", parse_math=False)
    return figure


def _det_axes(axes: Axes) -> None:
    places, shown = _deviate(DET_TICKS), [f"{100 * tick:g}" for tick in DET_TICKS]
    least, most = _deviate([DET_LEAST, DET_MOST])
    axes.set(xlim=(least, most), ylim=(least, most), title="DET")
    axes.set_xticks(places, shown)
    axes.set_yticks(places, shown)
    axes.set(xlabel="false-alarm rate (%)", ylabel="miss rate (%)")
    axes.plot([least, most], [least, most], color="#999999", linewidth=0.8, linestyle=":")


def _calibration(rows: Sequence[GroupResult], colours: dict[str, str]) -> Figure:
    groups = list(dict.fromkeys(row.group for row in rows))
    columns = math.ceil(math.sqrt(len(groups)))
    rows_of_panels = -(-len(groups) // columns)
    figure, grid = subplots(rows_of_panels, columns, (PANEL * columns, PANEL * rows_of_panels))
    panels = np.ravel(grid)
    for group, axes in zip(groups, panels, strict=False):
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
        for row in rows:
            if row.group == group and row.calibration.bins:
                _reliability(axes, row, colours[row.model])
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set(xlabel="mean score of the frames", ylabel="share of speech among them")
        axes.set_title(group, parse_math=False)
        axes.set_box_aspect(1)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", title="expected calibration error")
    for axes in panels[len(groups) :]:
        axes.set_visible(False)
    return figure


def _reliability(axes: Axes, row: GroupResult, colour: str) -> None:
    """The area of a dot is its bin's share of all frames."""
    bins = row.calibration.bins
    scores, speech = [each.score for each in bins], [each.speech for each in bins]
    frames = np.array([each.frames for each in bins], dtype=np.float64)
    label = f"{row.model} {row.calibration.error:.3f}"
    axes.plot(scores, speech, color=colour, linewidth=1, alpha=0.6, label=label)
    axes.scatter(scores, speech, s=4 + FULL_DOT * frames / frames.sum(), color=colour, zorder=3)


def _deviate(rates: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal deviates, on which the errors of two normal distributions make a straight line."""
    within = np.clip(np.asarray(rates, dtype=np.float64), DET_LEAST / 10, 1 - DET_LEAST / 10)
    return np.array([NormalDist().inv_cdf(rate) for rate in within.tolist()])


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "set"
