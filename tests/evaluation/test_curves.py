from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vad.evaluation.curves import calibration, error_curve
from vad.evaluation.metrics import Labels, Scores, roc_auc


def drawn(frames: int, values: int, seed: int) -> tuple[Scores, Labels]:
    """Scores of few values, so that ties are common, and labels of every kind."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, values, frames) / max(1, values - 1)
    return scores.astype(np.float32), random.integers(-1, 2, frames).astype(np.int8)


scored = st.builds(drawn, st.integers(1, 80), st.integers(1, 40), st.integers(0, 2**32 - 1))


@settings(deadline=None)
@given(scored)
def test_short_input_keeps_every_corner_of_its_curve(pair: tuple[Scores, Labels]) -> None:
    """The area over the curve is the AUC, so nothing of it was left out."""
    scores, labels = pair
    curve = error_curve(scores, labels, points=10_000)
    if not (labels == 1).any() or not (labels == 0).any():
        assert (curve.false_alarm, curve.miss) == ((), ())
        return
    alarm, hits = np.array(curve.false_alarm), 1 - np.array(curve.miss)
    assert (alarm[0], hits[0], alarm[-1], hits[-1]) == (0, 0, 1, 1)
    assert (np.diff(alarm) >= 0).all()
    assert (np.diff(hits) >= 0).all()
    area = float((np.diff(alarm) * (hits[1:] + hits[:-1]) / 2).sum())
    assert area == pytest.approx(roc_auc(scores, labels), abs=1e-9)


def test_a_long_curve_is_thinned_to_points_that_lie_on_it() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(50_000) < 0.4).astype(np.int8)
    scores = (1 / (1 + np.exp(-random.normal(2.0 * labels - 1)))).astype(np.float32)
    curve = error_curve(scores, labels)
    assert 50 < len(curve.miss) <= 200
    found = np.unique(scores)[::-1]
    ranks = [np.searchsorted(np.sort(-scores[labels == kind]), -found, "right") for kind in (0, 1)]
    alarms, misses = ranks[0] / (labels == 0).sum(), 1 - ranks[1] / (labels == 1).sum()
    exact = {(0.0, 1.0), *zip(alarms.round(9).tolist(), misses.round(9).tolist(), strict=True)}
    for alarm, miss in zip(curve.false_alarm, curve.miss, strict=True):
        assert (round(alarm, 9), round(miss, 9)) in exact
    hits, steps = 1 - np.array(curve.miss), np.diff(curve.false_alarm)
    area = float((steps * (hits[1:] + hits[:-1]) / 2).sum())
    assert area == pytest.approx(roc_auc(scores, labels), abs=1e-3)


def test_calibration_of_known_cases() -> None:
    labels = np.array([*[1] * 7, *[0] * 3, -1], np.int8)
    right = calibration(np.full(11, 0.7, np.float32), labels)
    assert right.error == pytest.approx(0, abs=1e-6)
    (only,) = right.bins
    assert (only.score, only.speech, only.frames) == (pytest.approx(0.7), pytest.approx(0.7), 10)
    assert calibration(np.full(11, 1.0, np.float32), labels).error == pytest.approx(0.3)
    # Two bins, one 0.2 over and the other 0.3 under the share of speech.
    mixed = calibration(np.array([0.2, 0.2, 0.7, 0.7], np.float32), np.array([0, 0, 1, 1], np.int8))
    assert mixed.error == pytest.approx(0.25)
    assert [each.frames for each in mixed.bins] == [2, 2]
    nothing = calibration(np.zeros(0, np.float32), np.zeros(0, np.int8))
    assert math.isnan(nothing.error)
    assert nothing.bins == ()


@settings(deadline=None)
@given(scored)
def test_the_error_is_that_of_the_bins(pair: tuple[Scores, Labels]) -> None:
    found = calibration(*pair)
    frames = sum(each.frames for each in found.bins)
    assert frames == int((pair[1] >= 0).sum())
    if frames:
        error = sum(abs(each.score - each.speech) * each.frames for each in found.bins) / frames
        assert found.error == pytest.approx(error, abs=1e-9)
