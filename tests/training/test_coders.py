from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from vad.training.coders import CODERS, ONE_IN, coded, coded_now_and_then

Audio = NDArray[np.float32]
NAMES = [coder for _, coder in CODERS]


@pytest.fixture(scope="module")
def speech(data_dir: Path) -> Audio:
    return np.asarray(sf.read(data_dir / "speech.wav", dtype="float32")[0][:64_000])


@pytest.mark.parametrize(("container", "coder"), CODERS, ids=NAMES)
@pytest.mark.parametrize("level", [1.0, 0.05, 3.0])
def test_place_and_level_are_kept(container: str, coder: str, level: float, speech: Audio) -> None:
    audio = speech * np.float32(level)
    found = coded(audio, container, coder)
    assert found.shape == audio.shape
    assert found.dtype == np.float32
    lags = range(-80, 81)
    match = [float(np.dot(audio[100:-100], np.roll(found, -lag)[100:-100])) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 2
    assert np.mean(found**2) == pytest.approx(np.mean(audio**2), rel=0.3)
    assert max(match) > 0.85 * float(np.dot(audio, audio))
    assert not np.array_equal(found, audio)


@pytest.mark.parametrize("length", [8000, 8001, 16_159])
@pytest.mark.parametrize(("container", "coder"), CODERS, ids=NAMES)
def test_any_length_is_kept(container: str, coder: str, length: int, speech: Audio) -> None:
    assert len(coded(speech[20_000 : 20_000 + length], container, coder)) == length


def test_gsm_is_narrow(speech: Audio) -> None:
    power = np.abs(np.fft.rfft(coded(speech, "WAV", "GSM610"))) ** 2
    assert power[len(power) * 5 // 8 :].sum() < 1e-3 * power.sum()


def test_one_clip_in_ten_by_its_name_alone(speech: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "vad.training.coders.coded", lambda audio, *how: used.append(how) or audio * 0
    )
    short = speech[:8000]
    chosen = [not coded_now_and_then(short, f"clip {i}").any() for i in range(1000)]
    assert np.mean(chosen) == pytest.approx(1 / ONE_IN, abs=0.03)
    assert {how: used.count(how) > 15 for how in used} == dict.fromkeys(CODERS, True)
    first = list(used)
    again = [not coded_now_and_then(short, f"clip {i}").any() for i in range(1000)]
    assert again == chosen
    assert used[len(first) :] == first
    name = f"clip {chosen.index(True)}"
    assert np.array_equal(coded_now_and_then(short[:7999], name), short[:7999])


def test_the_same_name_gives_the_same_sound(speech: Audio) -> None:
    for i in range(40):
        one, again = (coded_now_and_then(speech[:16_000], f"clip {i}") for _ in range(2))
        assert np.array_equal(one, again)
