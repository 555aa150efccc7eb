from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.errors import DataError, ParameterError
from vad.evaluation.noise import CLEAN, Condition, NoiseBank, load_noise, mix_at_snr, rms


def tone(seconds: float, frequency: float = 440, level: float = 0.1) -> NDArray[np.float32]:
    time = np.arange(round(seconds * 16_000)) / 16_000
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def at_one(audio: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(audio / np.sqrt(np.mean(audio**2)), dtype=np.float32)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Three clips of two packages in one part."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    (folder / "corpus.json").write_text('{"corpus": "sounds", "licence": "CC0"}')
    rows = [
        {"file": "part-00.flac", "start": 0, "end": 1, "package": "apples", "id": "a"},
        {"file": "part-00.flac", "start": 1, "end": 1.5, "package": "pears", "id": "b"},
        {"file": "part-00.flac", "start": 1.5, "end": 2, "package": "apples", "id": "c"},
    ]
    (folder / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
    parts = [tone(1), tone(0.5, level=0.3), tone(0.5, level=1e-4)]
    sf.write(folder / "part-00.flac", np.concatenate(parts), 16_000, subtype="PCM_24")
    return folder


def test_a_pack_is_read_whole_or_by_package(pack: Path) -> None:
    assert [clip.id for clip in load_noise(str(pack)).clips] == ["a", "b", "c"]
    chosen = load_noise(f"{pack}:apples")
    assert chosen.name == "sounds:apples"
    assert [clip.id for clip in chosen.clips] == ["a", "c"]
    assert len(load_noise(f"{pack}:pears,apples").clips) == 3


def test_a_plain_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    sf.write(tmp_path / "deep" / "rain.wav", tone(0.2), 16_000)
    corpus = load_noise(str(tmp_path))
    assert [clip.id for clip in corpus.clips] == ["deep/rain.wav"]


def test_a_folder_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    sf.write(folder / "rain.wav", tone(0.2), 16_000)
    assert len(load_noise(str(folder)).clips) == 1


def test_bad_places_are_refused(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_noise(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="has no package plums"):
        load_noise(f"{pack}:apples,plums")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no audio"):
        load_noise(str(empty))
    with pytest.raises(DataError, match="not a pack"):
        load_noise(f"{empty}:apples")


def test_a_bank_holds_what_is_loud_enough_at_one_level(pack: Path) -> None:
    bank = NoiseBank.of([load_noise(str(pack))])
    assert [len(clip) for clip in bank.clips] == [16_000, 8_000]
    assert [rms(clip) for clip in bank.clips] == pytest.approx([1, 1], abs=1e-5)


def test_a_bank_of_nothing_is_refused(tmp_path: Path) -> None:
    sf.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    with pytest.raises(DataError, match="no clip above"):
        NoiseBank.of([load_noise(str(tmp_path))])
    with pytest.raises(DataError, match="no noise given"):
        NoiseBank.of([])


@pytest.mark.parametrize("clips", [(), (tone(1),), (np.zeros(100, np.float32),)])
def test_a_bank_takes_clips_of_one_level_only(clips: tuple[NDArray[np.float32], ...]) -> None:
    with pytest.raises(ParameterError, match="RMS of 1"):
        NoiseBank(clips)


def test_a_broken_file_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    sf.write(tmp_path / "none.flac", np.zeros(0), 16_000)
    with pytest.raises(DataError, match="holds no audio"):
        NoiseBank.of([load_noise(str(tmp_path))])


@given(st.integers(0, 3000), st.integers(0, 99), st.text(max_size=5))
def test_a_bed_is_as_long_as_asked_and_repeats(samples: int, seed: int, name: str) -> None:
    random = np.random.default_rng(0)
    bank = NoiseBank(tuple(at_one(random.standard_normal(n)) for n in (200, 900)))
    bed = bank.bed(samples, seed, name)
    assert bed.shape == (samples,)
    np.testing.assert_array_equal(bank.bed(samples, seed, name), bed)


def test_each_seed_and_each_file_has_a_bed_of_its_own() -> None:
    bank = NoiseBank((at_one(np.random.default_rng(0).standard_normal(100_000)),))
    beds = {bank.bed(1000, seed, name).tobytes() for seed in range(5) for name in "abcde"}
    assert len(beds) == 25


def test_a_bed_does_not_lie_in_the_pauses_of_a_clip() -> None:
    clip = np.concatenate([np.zeros(90_000, np.float32), tone(1)])
    bank = NoiseBank((at_one(clip),))
    for seed in range(20):
        assert rms(bank.bed(4000, seed, "a")) == pytest.approx(1, abs=1e-4)


@given(st.floats(-10, 40), st.integers(0, 2**32 - 1))
def test_the_mix_has_the_snr_over_labelled_speech(snr_db: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.repeat(np.array([0, 1, -1, 0], np.int8), 10)
    speech = np.repeat(labels == 1, 160) * tone(0.4, level=random.uniform(0.01, 0.2))
    noise = random.standard_normal(len(speech)).astype(np.float32)
    mixed = mix_at_snr(speech, noise, snr_db, labels)
    assert mixed.dtype == np.float32
    assert np.abs(mixed).max() <= 1
    # Undo what a scaling against clipping may have done: speech + noise is linear in both.
    scale, gain = np.linalg.lstsq(np.stack([speech, noise], axis=1), mixed, rcond=None)[0]
    np.testing.assert_allclose(mixed, scale * speech + gain * noise, atol=1e-5)
    assert scale <= 1 + 1e-5
    spoken = np.repeat(labels == 1, 160)
    found = 20 * np.log10(scale * rms(speech[spoken]) / (gain * rms(noise)))
    assert found == pytest.approx(snr_db, abs=0.05)


def test_a_mix_that_would_clip_is_scaled_and_no_other() -> None:
    labels = np.ones(100, np.int8)
    loud, soft = tone(1, level=0.9), tone(1, level=0.1)
    noise = tone(1, 300)
    assert np.abs(mix_at_snr(loud, noise, 0, labels)).max() == pytest.approx(0.999, abs=1e-4)
    mixed = mix_at_snr(soft, noise, 0, labels)
    np.testing.assert_allclose(mixed - soft, noise, atol=1e-4)


def test_no_snr_without_speech_or_noise() -> None:
    audio, labels = tone(1), np.ones(100, np.int8)
    silence = np.zeros_like(audio)
    with pytest.raises(ParameterError, match="no frame is labelled speech"):
        mix_at_snr(audio, audio, 10, np.zeros(100, np.int8))
    with pytest.raises(ParameterError, match="speech: is silent"):
        mix_at_snr(silence, audio, 10, labels)
    with pytest.raises(ParameterError, match="noise: is silent"):
        mix_at_snr(audio, silence, 10, labels)
    with pytest.raises(ParameterError, match="shape"):
        mix_at_snr(audio, audio[1:], 10, labels)
    with pytest.raises(ParameterError, match="99 frames"):
        mix_at_snr(audio, audio, 10, labels[1:])


def test_conditions_say_what_they_are_for() -> None:
    bank = NoiseBank((at_one(tone(1)),))
    spoken, silent = np.array([0, 1, -1], np.int8), np.array([0, 0, -1], np.int8)
    noisy = Condition(5.0, bank, {"timit"})
    assert (CLEAN.name, noisy.name, Condition(-2.5, bank).name) == ("clean", "5 dB", "-2.5 dB")
    assert CLEAN.applies_to("timit", silent)
    assert noisy.applies_to("timit", spoken)
    assert not noisy.applies_to("timit", silent)
    assert not noisy.applies_to("ami", spoken)
    audio = tone(1)
    assert CLEAN.apply(audio, np.ones(100, np.int8), 0, "a") is audio
    assert not np.array_equal(noisy.apply(audio, np.ones(100, np.int8), 0, "a"), audio)


@pytest.mark.parametrize("snr", [None, float("nan"), float("inf"), -1e9])
def test_a_noisy_condition_needs_an_snr_that_can_be(snr: float | None) -> None:
    with pytest.raises(ParameterError, match="snr_db"):
        Condition(snr, NoiseBank((at_one(tone(1)),)))
    with pytest.raises(ParameterError, match="both an SNR and noise"):
        Condition(5.0)
