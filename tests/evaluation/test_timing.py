from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vad.evaluation.metrics import Scores
from vad.evaluation.timing import (
    DetectionError,
    Interval,
    detection_error,
    edge_delays,
    false_segments,
    runs,
    speech_segments,
    utterance_hits,
    utterances,
)

DURATION = 20.0

times = st.integers(0, 200).map(lambda tenths: tenths / 10)
intervals = st.lists(st.tuples(times, times).filter(lambda pair: pair[0] < pair[1]), max_size=6)


def pulse(frames: int, *spans: tuple[int, int]) -> Scores:
    found = np.zeros(frames, np.float32)
    for first, last in spans:
        found[first:last] = 1
    return found


def test_runs() -> None:
    assert runs(np.array([1, 1, 0, 1, 0, 0, 1], bool)).tolist() == [[0, 2], [3, 4], [6, 7]]
    assert runs(np.zeros(3, bool)).tolist() == []
    assert runs(np.zeros(0, bool)).tolist() == []


def test_speech_segments_are_the_runs_in_seconds() -> None:
    assert speech_segments(pulse(100, (10, 20), (95, 100))) == [(0.1, 0.2), (0.95, 1.0)]


def test_only_long_runs_are_false_segments() -> None:
    scores = pulse(200, (0, 24), (50, 75), (100, 160))
    assert false_segments(scores) == 2
    assert false_segments(scores, minimum_ms=260) == 1
    assert false_segments(scores, threshold=1.1) == 0
    assert false_segments(scores, threshold=1.0) == 2


@pytest.mark.parametrize("lag", [-20, -3, 0, 7, 50])
def test_delays_are_those_of_the_crossings(lag: int) -> None:
    labels = pulse(400, (100, 200)).astype(np.int8)
    scores = pulse(400, (100 + lag, 200 + lag))
    assert edge_delays(scores, labels, "onset").tolist() == [lag * 10]
    assert edge_delays(scores, labels, "offset").tolist() == [lag * 10]


@pytest.mark.parametrize("lag", [-21, 51])
def test_crossings_out_of_reach_are_not_found(lag: int) -> None:
    labels = pulse(400, (100, 200)).astype(np.int8)
    scores = pulse(400, (100 + lag, 200 + lag))
    for edge in ("onset", "offset"):
        delays = edge_delays(scores, labels, edge)
        assert len(delays) == 1
        assert np.isnan(delays).all()


def test_the_first_crossing_counts() -> None:
    labels = pulse(400, (100, 200)).astype(np.int8)
    scores = pulse(400, (105, 110), (120, 195), (205, 230))
    assert edge_delays(scores, labels, "onset").tolist() == [50]
    assert edge_delays(scores, labels, "offset").tolist() == [-50]


def test_edges_need_300_ms_of_labelled_non_speech_outside() -> None:
    labels = pulse(400, (29, 60), (90, 150), (179, 200), (230, 371)).astype(np.int8)
    found = labels.astype(np.float32)
    # Before the first and after the last there is too little; 150 to 179 is one frame short.
    assert len(edge_delays(found, labels, "onset")) == 2
    assert len(edge_delays(found, labels, "offset")) == 2
    labels[70] = -1
    assert len(edge_delays(found, labels, "onset")) == 1
    assert len(edge_delays(found, labels, "offset")) == 1


def test_an_offset_past_the_end_is_no_crossing() -> None:
    labels = pulse(140, (50, 100)).astype(np.int8)
    assert np.isnan(edge_delays(pulse(140, (50, 140)), labels, "offset")).all()


def test_short_pauses_do_not_part_utterances() -> None:
    labels = pulse(400, (10, 30), (59, 70), (100, 130), (399, 400)).astype(np.int8)
    # 29 frames between the first two, 30 between the next.
    assert utterances(labels).tolist() == [[10, 70], [100, 130], [399, 400]]
    assert utterances(np.zeros(5, np.int8)).tolist() == []


def test_an_utterance_is_found_by_any_of_it_or_just_after() -> None:
    labels = pulse(600, (50, 90), (150, 190), (250, 290), (400, 550)).astype(np.int8)
    scores = pulse(600, (60, 61), (199, 205), (240, 250), (300, 399))
    seconds, hit = utterance_hits(scores, labels)
    np.testing.assert_allclose(seconds, [0.4, 0.4, 0.4, 1.5])
    assert hit.tolist() == [True, True, False, False]
    assert utterance_hits(scores, labels, threshold=1.1)[1].tolist() == [False] * 4
    assert [len(part) for part in utterance_hits(scores, np.zeros(600, np.int8))] == [0, 0]


@pytest.fixture(scope="module")
def oracle() -> Callable[[list[Interval], list[Interval]], dict[str, float]]:
    core = pytest.importorskip("pyannote.core", reason="pyannote.metrics is the oracle")
    detection = pytest.importorskip("pyannote.metrics.detection", reason="it is the oracle")

    def annotation(spans: list[Interval]) -> Any:
        found = core.Annotation()
        for number, span in enumerate(spans):
            found[core.Segment(*span), number] = "speech"
        return found

    def components(reference: list[Interval], hypothesis: list[Interval]) -> Any:
        return detection.DetectionErrorRate().compute_components(
            annotation(reference), annotation(hypothesis), uem=core.Segment(0, DURATION)
        )

    return components


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(reference=intervals, hypothesis=intervals)
def test_detection_error_equals_that_of_pyannote(
    oracle: Callable[[list[Interval], list[Interval]], dict[str, float]],
    reference: list[Interval],
    hypothesis: list[Interval],
) -> None:
    expected = oracle(reference, hypothesis)
    found = detection_error(reference, hypothesis, DURATION)
    assert found.false_alarm == pytest.approx(expected["false alarm"], abs=1e-6)
    assert found.miss == pytest.approx(expected["miss"], abs=1e-6)
    assert found.speech == pytest.approx(expected["total"], abs=1e-6)


def test_detection_error_of_a_known_case() -> None:
    error = detection_error([(1, 3), (2, 4), (9, 30)], [(3.5, 5), (-2, 1.5)], 10)
    assert error == DetectionError(false_alarm=2, miss=3, speech=4)
    assert error.rate == pytest.approx(1.25)


def test_detection_errors_add_up() -> None:
    total = DetectionError(1, 2, 3) + DetectionError(4, 5, 6)
    assert total == DetectionError(5, 7, 9)
    assert math.isnan(DetectionError(1, 0, 0).rate)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(intervals)
def test_nothing_is_wrong_with_the_reference_itself(reference: list[Interval]) -> None:
    error = detection_error(reference, reference, DURATION)
    assert error.false_alarm == pytest.approx(0, abs=1e-9)
    assert error.miss == pytest.approx(0, abs=1e-9)
