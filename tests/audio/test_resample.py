from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.audio import Resampler
from vad.errors import ParameterError
from vad.frames import resampled_length

COMMON = [4000, 8000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]
ODD = [11_127, 44_056, 191_999]  # ratios too large for a table: libsoxr
Signal = NDArray[np.float32]


def convert(x: Signal, rate_in: int, rate_out: int = 16_000, chunk: int | None = None) -> Signal:
    resampler = Resampler(rate_in, rate_out, x.shape[1])
    chunk = chunk or max(len(x), 1)
    parts = [resampler.push(x[i : i + chunk]) for i in range(0, len(x), chunk)]
    return np.concatenate([*parts, resampler.flush()])


def sine(frequency: float, rate: int, seconds: float = 0.5) -> Signal:
    t = np.arange(round(rate * seconds)) / rate
    return np.sin(2 * np.pi * frequency * t).astype(np.float32)[:, None]


def level(x: Signal) -> float:
    """RMS in dB relative to a full-scale sine, edges left out."""
    middle = x[len(x) // 4 : -len(x) // 4].astype(np.float64)
    return float(10 * np.log10(2 * np.mean(middle**2) + 1e-20))


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([8000, 11_025, 16_000, 44_100, 48_000, *ODD]),
    sizes=st.lists(st.sampled_from([0, 1, 2, 7, 80, 441, 960, 5000]), max_size=12),
    channels=st.integers(1, 3),
)
def test_any_chunking_gives_the_same_samples(rate: int, sizes: list[int], channels: int) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (sum(sizes), channels)).astype(np.float32)
    resampler = Resampler(rate, 16_000, channels)
    edges = np.cumsum([0, *sizes])
    parts = [resampler.push(x[a:b]) for a, b in pairwise(edges)]
    y = np.concatenate([*parts, resampler.flush()])
    assert y.dtype == np.float32
    assert y.shape == (resampled_length(len(x), rate, 16_000), channels)
    np.testing.assert_allclose(y, convert(x, rate), atol=1e-6)


def test_a_block_late_in_a_stream_takes_no_more_than_an_early_one() -> None:
    resampler, second = Resampler(8000, 16_000, 1), np.zeros((8000, 1), np.float32)
    for _ in range(60):
        resampler.push(second)
    tracemalloc.start()
    resampler.push(second)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("rate", [8000, 44_100, 11_127])
def test_one_sample_at_a_time(rate: int) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (rate // 8, 1)).astype(np.float32)
    np.testing.assert_allclose(convert(x, rate, chunk=1), convert(x, rate), atol=1e-6)


@pytest.mark.parametrize("rate", COMMON + ODD)
def test_output_is_aligned_with_the_input(rate: int) -> None:
    y = convert(sine(1000, rate), rate)[:, 0]
    exact = np.sin(2 * np.pi * 1000 * np.arange(len(y)) / 16_000)
    assert np.abs(y - exact)[1000:-1000].max() < 1e-4


@pytest.mark.parametrize("rate", COMMON + ODD)
def test_latency_is_bounded(rate: int) -> None:
    resampler = Resampler(rate)
    millisecond = np.zeros((max(1, rate // 1000), 1), np.float32)
    taken = given_out = 0
    worst = 0.0
    for _ in range(400):
        taken += len(millisecond)
        given_out += len(resampler.push(millisecond))
        # The next output, not out yet, speaks of this instant.
        worst = max(worst, taken / rate - given_out / 16_000)
    assert worst * 1000 <= resampler.latency_ms
    if rate in COMMON:
        assert resampler.latency_ms <= 5.3


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("frequency", [8000, 8500, 9000, 12_000, 20_000])
def test_what_would_alias_is_removed(rate: int, frequency: int) -> None:
    assert level(convert(sine(frequency, rate), rate)) < -80


@pytest.mark.parametrize(
    ("rate", "frequency"), [(44_100, 7500), (48_000, 7500), (48_000, 100), (8000, 3400)]
)
def test_the_pass_band_is_flat(rate: int, frequency: int) -> None:
    assert level(convert(sine(frequency, rate), rate)) == pytest.approx(0, abs=0.02)


def test_upsampling_makes_no_images() -> None:
    y = convert(sine(3000, 8000), 8000)
    t = np.arange(len(y)) / 16_000
    image = 2 * np.mean(y[2000:-2000, 0] * np.exp(-2j * np.pi * 5000 * t[2000:-2000]))
    assert 20 * np.log10(abs(image)) < -80


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_a_constant_stays_one(rate: int) -> None:
    y = convert(np.ones((rate, 1), np.float32), rate)
    np.testing.assert_allclose(y[200:-200], 1, atol=1e-6)


@pytest.mark.parametrize("rate", [48_000, 11_127])
def test_channels_do_not_mix(rate: int) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (rate // 4, 2)).astype(np.float32)
    y = convert(x, rate, chunk=1000)
    for channel in (0, 1):
        np.testing.assert_allclose(
            y[:, channel : channel + 1], convert(x[:, channel : channel + 1], rate), atol=1e-6
        )


def test_other_output_rates() -> None:
    assert level(convert(sine(3000, 16_000), 16_000, 8000)) == pytest.approx(0, abs=0.02)
    assert level(convert(sine(5000, 16_000), 16_000, 8000)) < -80


def test_equal_rates_pass_through() -> None:
    resampler = Resampler(16_000)
    x = np.ones((5, 1), np.float32)
    assert resampler.push(x) is x
    assert resampler.flush().shape == (0, 1)
    assert resampler.latency_ms == 0


def test_nothing_in_nothing_out() -> None:
    assert convert(np.zeros((0, 2), np.float32), 8000).shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ((0,), "rate_in"),
        ((8000.0,), "rate_in"),
        ((200_000,), "rate_in"),
        ((8000, 100), "rate_out"),
        ((8000, 16_000, 0), "channels"),
        ((8000, 16_000, True), "channels"),
    ],
)
def test_senseless_parameters_are_named(arguments: tuple[int, ...], param: str) -> None:
    with pytest.raises(ParameterError) as caught:
        Resampler(*arguments)
    assert caught.value.param == param


@pytest.mark.parametrize("shape", [(5,), (5, 2)])
def test_blocks_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match=r"must be \[samples, 1\]"):
        Resampler(8000).push(np.zeros(shape, np.float32))
