from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vad.errors import ParameterError
from vad.evaluation import metrics
from vad.evaluation.metrics import Labels, Scores

# A grid of few values makes ties common.
scored = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float32, n, elements=st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])),
        hnp.arrays(np.int8, n, elements=st.sampled_from([-1, 0, 1])),
    )
)


def f32(*values: float) -> Scores:
    return np.array(values, np.float32)


def i8(*values: int) -> Labels:
    return np.array(values, np.int8)


def both_classes(labels: Labels) -> bool:
    return bool((labels == 1).any() and (labels == 0).any())


@given(scored)
def test_auc_is_the_chance_that_speech_outscores_the_rest(case: tuple[Scores, Labels]) -> None:
    scores, labels = case
    pairs = [(a > b) + (a == b) / 2 for a in scores[labels == 1] for b in scores[labels == 0]]
    expected = float(np.mean(pairs)) if pairs else math.nan
    assert metrics.roc_auc(scores, labels) == pytest.approx(expected, nan_ok=True)


@pytest.fixture(scope="module")
def oracle() -> Any:
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")


@settings(deadline=None)
@given(case=scored)
def test_figures_equal_those_of_scikit_learn(oracle: Any, case: tuple[Scores, Labels]) -> None:
    scores, labels = case
    if not both_classes(labels):
        return
    used = labels >= 0
    truth, values = labels[used], scores[used]
    assert metrics.roc_auc(scores, labels) == pytest.approx(oracle.roc_auc_score(truth, values))
    assert metrics.average_precision(scores, labels) == pytest.approx(
        oracle.average_precision_score(truth, values)
    )
    best = metrics.best_f1(scores, labels)
    f1 = [oracle.f1_score(truth, values >= threshold) for threshold in np.unique(values)]
    assert best.f1 == pytest.approx(max(f1))
    assert oracle.f1_score(truth, values >= best.threshold) == pytest.approx(best.f1)


@given(scored)
def test_equal_error_rate_lies_on_the_roc(case: tuple[Scores, Labels]) -> None:
    scores, labels = case
    eer = metrics.equal_error_rate(scores, labels)
    if not both_classes(labels):
        assert math.isnan(eer)
        return
    thresholds = [math.inf, *np.unique(scores), -math.inf]
    rates = [metrics.error_rates(scores, labels, threshold) for threshold in thresholds]
    alarms, hits = zip(*sorted((r.false_alarm, 1 - r.miss) for r in rates), strict=True)
    # A vertical step of the ROC has several hit rates at one false-alarm rate.
    at = [hit for alarm, hit in zip(alarms, hits, strict=True) if alarm == pytest.approx(eer)]
    low, high = (min(at), max(at)) if at else 2 * (float(np.interp(eer, alarms, hits)),)
    assert low - 1e-9 <= 1 - eer <= high + 1e-9


def test_equal_error_rate_of_a_decision_is_between_its_points() -> None:
    scores = f32(1, 1, 1, 0, 1, 0, 0, 0)
    labels = i8(1, 1, 1, 1, 0, 0, 0, 0)
    assert metrics.equal_error_rate(scores, labels) == pytest.approx(0.25)
    assert metrics.equal_error_rate(f32(1, 1, 1, 1), i8(1, 1, 0, 0)) == pytest.approx(0.5)


def test_error_rates_count_a_score_at_the_threshold_as_speech() -> None:
    rates = metrics.error_rates(f32(0.5, 0.4, 0.5, 0.6, 0.9), i8(1, 1, 0, 0, -1))
    assert rates == metrics.ErrorRates(false_alarm=1.0, miss=0.5)


def test_what_is_not_defined_is_nan() -> None:
    only_speech = f32(0.2, 0.8), i8(1, 1)
    only_other = f32(0.2, 0.8), i8(0, -1)
    empty = f32(), i8()
    for scores, labels in (only_speech, only_other, empty):
        assert math.isnan(metrics.roc_auc(scores, labels))
        assert math.isnan(metrics.equal_error_rate(scores, labels))
    for scores, labels in (only_other, empty):
        assert math.isnan(metrics.average_precision(scores, labels))
        assert math.isnan(metrics.best_f1(scores, labels).f1)
    assert math.isnan(metrics.error_rates(*only_speech).false_alarm)
    assert math.isnan(metrics.error_rates(*only_other).miss)
    assert math.isnan(metrics.best_smoothing([only_speech[0]], [only_speech[1]], 0).auc)


def test_scores_and_labels_of_different_length_are_refused() -> None:
    with pytest.raises(ParameterError, match="labels"):
        metrics.roc_auc(f32(0.1, 0.2), i8(1))
    with pytest.raises(ParameterError, match="2 files"):
        metrics.best_shift([f32(0.1)], [i8(1), i8(0)])


@settings(deadline=None, max_examples=40)
@given(st.integers(-20, 20), st.integers(0, 2**32 - 1))
def test_best_shift_finds_how_much_the_scores_lag(lag: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    files = [random.random(300) for _ in range(2)]
    labels = [(np.convolve(x, np.ones(5), "same") > 2.7).astype(np.int8) for x in files]
    perfect = [y.astype(np.float32) for y in labels]
    # Edges carry non-speech, so that moving loses nothing.
    for y, x in zip(labels, perfect, strict=True):
        y[:40] = y[-40:] = 0
        x[:40] = x[-40:] = 0
    late = [metrics.moved_earlier(x, -lag) for x in perfect]
    assert metrics.best_shift(late, labels) == metrics.Shifted(1.0, lag * 10)


def test_best_shift_is_within_its_limit_and_never_worse_than_none() -> None:
    labels = [np.repeat(i8(0, 1, 0), 50)]
    late = [metrics.moved_earlier(labels[0].astype(np.float32), -30)]
    found = metrics.best_shift(late, labels, limit_ms=50)
    assert found.shift_ms == 50
    assert found.auc > metrics.roc_auc(late[0], labels[0])
    flat = [np.full(150, 0.5, np.float32)]
    assert metrics.best_shift(flat, labels) == metrics.Shifted(0.5, 0)


def test_moving_repeats_the_ends() -> None:
    scores = f32(1, 2, 3, 4)
    assert metrics.moved_earlier(scores, 1).tolist() == [2, 3, 4, 4]
    assert metrics.moved_earlier(scores, -2).tolist() == [1, 1, 1, 2]
    assert metrics.moved_earlier(scores, 9).tolist() == [4, 4, 4, 4]
    assert metrics.moved_earlier(f32(), 3).tolist() == []


def test_smoothing_bridges_what_the_labels_bridge() -> None:
    """A detector that sees every pause, and labels that see none: a long mean mends it."""
    random = np.random.default_rng(0)
    labels = np.zeros(3000, np.int8)
    labels[500:1400] = labels[2000:2600] = 1
    pauses = (np.arange(3000) // 12) % 3 == 0
    scores = np.where((labels == 1) & ~pauses, 0.9, 0.1).astype(np.float32)
    scores += 0.01 * random.random(3000).astype(np.float32)
    late = [metrics.moved_earlier(scores, -4)]
    plain = metrics.best_shift(late, [labels])
    found = metrics.best_smoothing(late, [labels], plain.shift_ms)
    assert found.auc > plain.auc + 0.05
    assert 210 <= found.average_ms <= 600
    assert found.shift_ms == pytest.approx(40, abs=60)
    assert metrics.best_smoothing(late, [labels], 40, limit_ms=100).average_ms <= 100
    averaged = [
        metrics.moved_earlier(
            metrics.moving_average(late[0], found.average_ms // 10), found.shift_ms // 10
        )
    ]
    assert metrics.roc_auc(averaged[0], labels) == found.auc


def test_smoothing_is_never_worse_than_none() -> None:
    labels = np.repeat(i8(0, 1, 0, 1, 0), 7)
    right = labels.astype(np.float32)
    assert metrics.best_smoothing([right], [labels], 0) == metrics.Smoothed(1.0, 10, 0)


@given(
    hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(0, 1, width=32)),
    st.integers(0, 6),
)
def test_moving_average_is_the_mean_of_those_around(scores: Scores, half: int) -> None:
    found = metrics.moving_average(scores, 2 * half + 1)
    expected = [scores[max(0, i - half) : i + half + 1].mean() for i in range(len(scores))]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("frames", [0, -3, 4])
def test_moving_average_needs_a_centre(frames: int) -> None:
    with pytest.raises(ParameterError, match="odd"):
        metrics.moving_average(f32(1, 2), frames)
