from __future__ import annotations

import math

import numpy as np
import pytest

from vad.errors import ParameterError
from vad.evaluation.bootstrap import auc_difference
from vad.evaluation.metrics import Labels, Scores, roc_auc


def files(seed: int, noise: float, count: int = 20) -> tuple[list[Scores], list[Labels]]:
    """Scores that tell speech the worse the more noise they hold; labels of seed 0 for all."""
    truth = np.random.default_rng(0)
    labels = [(truth.random(80 + 5 * i) < 0.5).astype(np.int8) for i in range(count)]
    random = np.random.default_rng(seed)
    scores = [(y + noise * random.standard_normal(len(y))).astype(np.float32) for y in labels]
    return scores, labels


def test_a_clearly_better_detector_is_above_zero() -> None:
    good, labels = files(1, 0.5)
    bad, _ = files(2, 1.5)
    found = auc_difference(good, bad, labels, draws=300)
    truth = np.concatenate(labels)
    expected = roc_auc(np.concatenate(good), truth) - roc_auc(np.concatenate(bad), truth)
    assert found.value == pytest.approx(expected)
    assert 0 < found.low < found.value < found.high
    back = auc_difference(bad, good, labels, draws=300)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-found.value, -found.high, -found.low)
    )


def test_equally_good_detectors_straddle_zero() -> None:
    one, labels = files(1, 1.0)
    other, _ = files(2, 1.0)
    found = auc_difference(one, other, labels, draws=300)
    assert found.low < 0 < found.high


def test_the_same_scores_differ_by_nothing() -> None:
    scores, labels = files(1, 1.0)
    found = auc_difference(scores, scores, labels, draws=50)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_the_interval_is_that_of_drawing_files_anew() -> None:
    one, labels = files(3, 0.8, count=6)
    other, _ = files(4, 1.2, count=6)
    labels[2][:10] = -1
    found = auc_difference(one, other, labels, draws=400, seed=5)
    random = np.random.default_rng(99)
    drawn = []
    for _ in range(400):
        chosen = random.integers(6, size=6)
        truth = np.concatenate([labels[i] for i in chosen])
        first, second = (np.concatenate([x[i] for i in chosen]) for x in (one, other))
        drawn.append(roc_auc(first, truth) - roc_auc(second, truth))
    low, high = np.quantile(drawn, [0.025, 0.975])
    width = high - low
    assert found.low == pytest.approx(low, abs=0.2 * width)
    assert found.high == pytest.approx(high, abs=0.2 * width)


def test_a_seed_repeats_it() -> None:
    one, labels = files(1, 1.0)
    other, _ = files(2, 1.0)
    first = auc_difference(one, other, labels, draws=50, seed=1)
    assert auc_difference(one, other, labels, draws=50, seed=1) == first
    assert auc_difference(one, other, labels, draws=50, seed=2) != first


def test_one_file_has_no_interval() -> None:
    one, labels = files(1, 1.0, count=1)
    other, _ = files(2, 1.0, count=1)
    found = auc_difference(one, other, labels, draws=20)
    assert not math.isnan(found.value)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(auc_difference([], [], []).value)


def test_files_must_match() -> None:
    scores, labels = files(1, 1.0)
    with pytest.raises(ParameterError, match="same files"):
        auc_difference(scores, scores[1:], labels)
