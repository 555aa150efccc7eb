"""Bounds, derived values and presets of the segmentation's parameters."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vad.config import PRESETS, Segmentation
from vad.errors import ParameterError

BOUNDS = {
    "threshold": (0.01, 1),
    "neg_threshold": (0, 0.5),  # the threshold that it must not exceed
    "min_speech_duration_ms": (0, 600_000),
    "min_silence_duration_ms": (0, 600_000),
    "max_speech_duration_s": (1, 86_400),
    "speech_pad_ms": (-10_000, 10_000),
    "start_pad_ms": (-10_000, 10_000),
    "end_pad_ms": (-10_000, 10_000),
}
WHOLE = {name for name in BOUNDS if name.endswith("_ms")}


def test_every_field_has_bounds() -> None:
    assert set(BOUNDS) == {field.name for field in fields(Segmentation)}


def test_defaults_are_those_of_the_contract() -> None:
    assert Segmentation().effective() == {
        "threshold": 0.5,
        "neg_threshold": 0.35,
        "min_speech_duration_ms": 250,
        "min_silence_duration_ms": 100,
        "max_speech_duration_s": None,
        "speech_pad_ms": 30,
        "start_pad_ms": 30,
        "end_pad_ms": 30,
    }


@pytest.mark.parametrize("name", BOUNDS)
def test_accepts_its_bounds_and_nothing_beyond(name: str) -> None:
    low, high = BOUNDS[name]
    step = 1 if name in WHOLE else 0.001
    for value in (low, high):
        assert getattr(Segmentation(**{name: value}), name) == value
    for value in (low - step, high + step):
        with pytest.raises(ParameterError) as caught:
            Segmentation(**{name: value})
        assert caught.value.param == name


@pytest.mark.parametrize("name", BOUNDS)
def test_refuses_what_is_no_number_in_range(name: str) -> None:
    values: list[Any] = [float("nan"), float("inf"), -float("inf"), "1", True, [1], 10**400]
    for value in values:
        with pytest.raises(ParameterError) as caught:
            Segmentation(**{name: value})
        assert caught.value.param == name
        assert isinstance(caught.value, ValueError)
        assert len(str(caught.value)) < 120


def test_milliseconds_are_whole() -> None:
    for name in WHOLE:
        with pytest.raises(ParameterError, match="a whole number"):
            Segmentation(**{name: 1.5})


@given(st.floats(0.01, 1), st.none() | st.floats(0, 1))
def test_offset_never_exceeds_onset_nor_falls_below_a_hundredth(
    threshold: float, neg_threshold: float | None
) -> None:
    if neg_threshold is not None and neg_threshold > threshold:
        with pytest.raises(ParameterError, match="must not exceed threshold"):
            Segmentation(threshold=threshold, neg_threshold=neg_threshold)
        return
    params = Segmentation(threshold=threshold, neg_threshold=neg_threshold)
    wanted = threshold - 0.15 if neg_threshold is None else neg_threshold
    assert params.onset == threshold
    assert params.offset == max(0.01, wanted)
    assert params.offset <= params.onset


def test_one_sided_pads_override_the_common_one() -> None:
    params = Segmentation(speech_pad_ms=40, start_pad_ms=0)
    assert (params.pad_before_ms, params.pad_after_ms) == (0, 40)
    params = Segmentation(speech_pad_ms=40, end_pad_ms=-5)
    assert (params.pad_before_ms, params.pad_after_ms) == (40, -5)


def test_updated_changes_a_copy() -> None:
    before = Segmentation(threshold=0.6)
    after = before.updated(min_silence_duration_ms=700)
    assert (after.threshold, after.min_silence_duration_ms) == (0.6, 700)
    assert before.min_silence_duration_ms == 100
    with pytest.raises(FrozenInstanceError):
        before.threshold = 0.7  # type: ignore[misc]


def test_updated_names_what_it_does_not_know_or_accept() -> None:
    with pytest.raises(ParameterError, match="unknown; known are end_pad_ms, ") as caught:
        Segmentation().updated(treshold=0.6)
    assert caught.value.param == "treshold"
    with pytest.raises(ParameterError, match="must not exceed threshold"):
        Segmentation(neg_threshold=0.4).updated(threshold=0.3)


def test_presets_stand_in_for_other_servers() -> None:
    assert PRESETS["default"] == Segmentation()
    speaches, openai = PRESETS["speaches"], PRESETS["openai"]
    assert (speaches.threshold, speaches.min_silence_duration_ms) == (0.75, 1000)
    assert (speaches.min_speech_duration_ms, speaches.speech_pad_ms) == (0, 0)
    assert (openai.threshold, openai.min_silence_duration_ms) == (0.5, 500)
    assert (openai.pad_before_ms, openai.pad_after_ms) == (300, 0)
