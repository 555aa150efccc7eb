"""Samples, frames and milliseconds, against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vad.frames import (
    FRAMES_PER_SECOND,
    HOP_MS,
    HOP_SAMPLES,
    SAMPLE_RATE,
    ceil_frames,
    frame_count,
    ms_to_samples,
    resampled_length,
    samples_to_ms,
)

SAMPLES = st.integers(0, 10**12)
RATES = st.integers(4_000, 192_000)


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def test_the_constants_agree() -> None:
    assert HOP_MS * FRAMES_PER_SECOND == 1000
    assert HOP_SAMPLES * FRAMES_PER_SECOND == SAMPLE_RATE


@given(SAMPLES, RATES)
def test_frames_cover_the_samples_and_no_more(samples: int, rate: int) -> None:
    assert frame_count(samples, rate) == math.ceil(Fraction(100 * samples, rate))


@given(SAMPLES, RATES)
def test_milliseconds_round_half_up(samples: int, rate: int) -> None:
    assert samples_to_ms(samples, rate) == half_up(Fraction(1000 * samples, rate))


@given(SAMPLES, RATES)
def test_the_end_lies_in_the_last_frame(samples: int, rate: int) -> None:
    frames, end_ms = frame_count(samples, rate), samples_to_ms(samples, rate)
    assert max(0, frames - 1) * HOP_MS <= end_ms <= frames * HOP_MS


@given(SAMPLES, RATES)
def test_samples_round_half_up(ms: int, rate: int) -> None:
    assert ms_to_samples(ms, rate) == half_up(Fraction(ms * rate, 1000))


@given(SAMPLES, RATES)
def test_milliseconds_survive_the_way_to_samples_and_back(ms: int, rate: int) -> None:
    assert samples_to_ms(ms_to_samples(ms, rate), rate) == ms


@given(SAMPLES, RATES, RATES)
def test_resampled_length_rounds_half_up(samples: int, rate_in: int, rate_out: int) -> None:
    exact = half_up(Fraction(samples * rate_out, rate_in))
    assert resampled_length(samples, rate_in, rate_out) == exact
    assert resampled_length(samples, rate_in, rate_in) == samples


@pytest.mark.parametrize(
    ("ms", "frames"),
    [(0, 0), (0.001, 1), (10, 1), (10.001, 2), (1237.0, 124), (86_400_000, 8_640_000)],
)
def test_ceil_frames_by_hand(ms: float, frames: int) -> None:
    assert ceil_frames(ms) == frames


@given(st.integers(0, 10**8))
def test_ceil_frames_last_long_enough_and_no_longer(ms: int) -> None:
    frames = ceil_frames(ms)
    assert ms <= frames * HOP_MS < ms + HOP_MS


@given(st.integers(100, 8_640_000))
def test_ceil_frames_ignores_the_rounding_of_seconds(hundredths: int) -> None:
    # 1.1 s is 1100.0000000000002 ms in floating point; that is still 110 frames.
    assert ceil_frames(1000 * (hundredths / 100)) == hundredths
