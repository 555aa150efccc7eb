from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from vad.errors import MissingExtra
from vad.evaluation import plots
from vad.evaluation.curves import ErrorCurve, calibration
from vad.evaluation.report import Report
from vad.evaluation.results import CurveResult, GroupResult

pytest.importorskip("matplotlib", reason="it draws the plots")


@pytest.fixture
def report() -> Report:
    random = np.random.default_rng(0)
    labels = (random.random(2000) < 0.5).astype(np.int8)
    scores = np.clip(labels * 0.4 + 0.6 * random.random(2000), 0, 1).astype(np.float32)
    curve = ErrorCurve((0.0, 0.02, 0.3, 1.0), (1.0, 0.2, 0.05, 0.0))
    return Report(
        models=("ours", "$theirs$"),
        seed=0,
        curves=(
            CurveResult("a/b", "clean", "ours", curve, 0.02, 0.2),
            CurveResult("a/b", "clean", "$theirs$", curve, 0.0, 1.0),
            CurveResult("silence", "clean", "ours", ErrorCurve((), ()), 0.0, float("nan")),
            CurveResult("a/b", "5 dB", "ours", curve, 0.3, 0.05),
        ),
        groups=tuple(
            GroupResult(group, "ours", ("a/b",), 0.3, 0.1, 0.1, calibration(scores, labels))
            for group in ("clean", "noisy", "far-field", "telephone")
        ),
    )


def test_a_picture_for_each_set_and_condition(report: Report, tmp_path: Path) -> None:
    drawn = plots.plot_report(report, tmp_path / "new" / "folder")
    assert [path.name for path in drawn] == [
        "errors-a-b-clean.png",
        "errors-a-b-5-dB.png",
        "calibration.png",
    ]
    for path in drawn:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_curves_and_dots_lie_where_the_rates_are(report: Report) -> None:
    colours = {"ours": "#000000", "$theirs$": "#ff0000"}
    figure = plots._errors(report.curves[:2], colours)
    roc, det = figure.axes
    curve, dot = roc.lines[:2]
    np.testing.assert_allclose(curve.get_xydata(), [[0, 0], [0.02, 0.8], [0.3, 0.95], [1, 1]])
    np.testing.assert_allclose(dot.get_xydata(), [[0.02, 0.8]])
    # Normal deviates: 2 % lies at -2.054, 20 % at -0.842.
    np.testing.assert_allclose(det.lines[0].get_xydata()[1], [-2.0537, -0.8416], atol=1e-3)
    assert np.isfinite(det.lines[0].get_xydata()).all()


def test_calibration_has_a_panel_for_each_group(report: Report) -> None:
    figure = plots._calibration(report.groups, {"ours": "#000000"})
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert titles == ["clean", "noisy", "far-field", "telephone"]
    line = figure.axes[0].lines[1]
    wanted = [(each.score, each.speech) for each in report.groups[0].calibration.bins]
    np.testing.assert_allclose(line.get_xydata(), wanted)


def test_without_matplotlib_it_says_what_to_install(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"\.\[plot\]"):
        plots.plot_report(report, tmp_path)
