from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from vad.training import effects
from vad.training.effects import Rng

Audio = NDArray[np.float32]


def voice(samples: int = 16_001) -> Audio:
    t = np.arange(samples) / 16_000
    return (0.3 * np.sin(2 * np.pi * 220 * t) * (1 + np.sin(2 * np.pi * 3 * t))).astype(np.float32)


@pytest.mark.parametrize(
    "effect",
    [
        lambda a, rng: effects.equalise(a, rng),
        lambda a, rng: effects.equalise(a, rng, narrow=True),
        lambda a, rng: effects.mu_law(a),
        lambda a, rng: effects.coded(a, rng),
        lambda a, rng: effects.in_room(a, effects.simulated_room(rng)),
        lambda a, rng: effects.lose_packets(a, rng),
        lambda a, rng: effects.fade_edges(a.copy()),
    ],
    ids=["eq", "narrow", "mu-law", "coded", "room", "loss", "fade"],
)
def test_length_type_and_seed_are_kept(effect: Callable[[Audio, Rng], Audio]) -> None:
    one, again = (effect(voice(), np.random.default_rng(5)) for _ in range(2))
    assert one.dtype == np.float32
    assert one.shape == (16_001,)
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, again)


def test_narrow_band_removes_what_a_telephone_does() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(64_000).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(effects.equalise(noise, rng, depth_db=0.0, narrow=True))) ** 2
    frequency = np.fft.rfftfreq(64_000, 1 / 16_000)

    def level(low: float, high: float) -> float:
        return float(10 * np.log10(spectrum[(frequency >= low) & (frequency < high)].mean()))

    assert level(4500, 7500) < level(500, 2500) - 40
    assert level(20, 60) < level(500, 2500) - 10


def test_mu_law_is_close_and_has_256_levels() -> None:
    audio = voice()
    coded = effects.mu_law(audio)
    assert np.abs(coded - audio).max() < 0.03
    assert len(np.unique(coded)) <= 256


@pytest.mark.parametrize("codec", range(3), ids=["opus", "mp3", "gsm"])
def test_coders_keep_place_and_level(codec: int, data_dir: Path) -> None:
    class Choice:
        integers = staticmethod(lambda n: codec)

    audio = sf.read(data_dir / "speech.wav", dtype="float32")[0][:64_000] * np.float32(0.1)
    coded = effects.coded(audio, Choice())  # type: ignore[arg-type]
    lags = range(-80, 81)
    match = [float(np.dot(audio[100:-100], np.roll(coded, -lag)[100:-100])) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 2
    assert effects.power(coded) == pytest.approx(effects.power(audio), rel=0.3)
    assert not np.array_equal(coded, audio)


def test_speed_moves_pitch_and_length() -> None:
    faster = effects.speed_up(voice(16_000), Fraction(3, 2))
    assert len(faster) == pytest.approx(16_000 * 2 / 3, abs=2)
    spectrum = np.abs(np.fft.rfft(faster * np.hanning(len(faster))))
    assert spectrum.argmax() * 16_000 / len(faster) == pytest.approx(330, abs=3)
    seen = {effects.random_speed(np.random.default_rng(i)) for i in range(100)}
    assert min(seen) == Fraction(2, 3)
    assert max(seen) == 2


def test_rooms_keep_level_and_place() -> None:
    click = np.zeros(8000, np.float32)
    click[1000] = 1
    response = np.zeros(2000, np.float32)
    response[37] = 0.8  # the direct sound comes late in the file
    response[900] = 0.3
    wet = effects.in_room(click, response)
    assert int(np.abs(wet).argmax()) == 1000
    assert effects.power(wet) == pytest.approx(effects.power(click), rel=1e-3)


@pytest.mark.parametrize("make", [effects.coloured_noise, effects.hum])
def test_made_sounds_have_unit_power(make: Callable[[int, Rng], Audio]) -> None:
    for seed in range(3):
        sound = make(16_000, np.random.default_rng(seed))
        assert effects.power(sound) == pytest.approx(1, rel=0.05)


def test_lost_packets_are_zero_and_the_rest_untouched() -> None:
    audio = voice() + 1
    lossy = effects.lose_packets(audio, np.random.default_rng(3))
    lost = lossy == 0
    assert 0 < lost.mean() < 0.2
    np.testing.assert_array_equal(lossy[~lost], audio[~lost])


def test_power_of_nothing_is_zero() -> None:
    assert effects.power(np.zeros(0, np.float32)) == 0
