"""The public face on real recordings: every source, and a file equal to its stream."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from numpy.typing import NDArray

import vad
from vad import Detector, ParameterError, Segmentation


@pytest.fixture(scope="module")
def speech(data_dir: Path) -> tuple[NDArray[np.float32], int]:
    audio, rate = sf.read(data_dir / "speech.wav", dtype="float32")
    return audio, rate


def boundaries(found: vad.Segments) -> NDArray[np.float64]:
    return np.array([(s.start, s.end) for s in found.speech])


def test_public_names_exist() -> None:
    for name in vad.__all__:
        assert getattr(vad, name) is not None


def test_finds_speech_in_a_real_recording(detector: Detector, data_dir: Path) -> None:
    found = detector.detect(data_dir / "speech.wav")
    assert found.name == "speech.wav"
    assert found.model == detector.name
    assert 3 <= len(found.speech) <= 30
    assert 0.4 < found.speech_ratio < 0.95
    assert found.segments[0].start == 0
    assert found.segments[-1].end == pytest.approx(found.duration, abs=1e-3)
    for before, after in zip(found.segments, found.segments[1:], strict=False):
        assert before.end == after.start
    assert all(s.confidence > 0.5 for s in found.speech)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("speech-48k-stereo.flac", 0.03),
        ("speech.mp3", 0.05),
        ("speech.opus", 0.05),
        ("speech.m4a", 0.05),
        ("speech.webm", 0.05),
        ("speech.mp4", 0.05),
        ("speech-8k-mulaw.wav", 0.05),
    ],
)
def test_every_format_gives_the_same_boundaries(
    detector: Detector, data_dir: Path, name: str, tolerance: float
) -> None:
    original, found = (detector.detect(data_dir / n) for n in ("speech.wav", name))
    assert found.duration == pytest.approx(original.duration, abs=0.05)
    assert not found.warnings
    assert len(found.speech) == len(original.speech) >= 4
    np.testing.assert_allclose(boundaries(found), boundaries(original), atol=tolerance + 1e-9)


def test_mu_law_gives_the_boundaries_of_its_original(
    detector: Detector, data_dir: Path, speech: tuple[NDArray[np.float32], int]
) -> None:
    """Coded as µ-law, it is still nearer to the 8 kHz that were coded."""
    audio, rate = speech
    original = io.BytesIO()
    sf.write(original, soxr.resample(audio, rate, 8000), 8000, format="WAV", subtype="PCM_16")
    found = boundaries(detector.detect(data_dir / "speech-8k-mulaw.wav"))
    wanted = boundaries(detector.detect(original.getvalue()))
    np.testing.assert_allclose(found, wanted, atol=0.03 + 1e-9)


def test_truncated_mp3_gives_what_there_is(detector: Detector, data_dir: Path) -> None:
    found = detector.detect(data_dir / "truncated.mp3")
    assert found.speech
    assert any("breaks off" in warning for warning in found.warnings)


def test_sources_agree(
    detector: Detector, data_dir: Path, speech: tuple[NDArray[np.float32], int]
) -> None:
    audio, rate = speech
    path = data_dir / "speech.wav"
    reference = detector.detect(path)
    pcm = (audio * 32768).astype("<i2")
    with path.open("rb") as file:
        sources = [
            detector.detect(str(path)),
            detector.detect(path.read_bytes()),
            detector.detect(file),
            detector.detect(io.BytesIO(path.read_bytes())),
            detector.detect(audio, rate),
            detector.detect(np.stack([audio, audio], 1), rate),
            detector.detect(pcm, rate),
            detector.detect(pcm.tobytes(), rate, encoding="pcm_s16le"),
        ]
    for found in sources:
        np.testing.assert_allclose(boundaries(found), boundaries(reference), atol=1e-9)


def test_probabilities_cover_the_audio(detector: Detector, data_dir: Path) -> None:
    found = detector.detect(data_dir / "speech.wav", probabilities=True)
    assert found.probabilities is not None
    p = detector.probabilities(data_dir / "speech.wav")
    assert p.dtype == np.float32
    assert len(p) == int(np.ceil(found.duration / detector.hop - 1e-9))
    assert p.min() >= 0
    assert p.max() <= 1
    np.testing.assert_array_equal(found.probabilities[0], p)


@pytest.mark.parametrize("samples", [0, 1, 79, 80, 81, 1000])
def test_tiny_audio(detector: Detector, samples: int) -> None:
    found = detector.detect(np.zeros(samples, np.float32), 8000, probabilities=True)
    assert found.probabilities is not None
    assert len(found.probabilities[0]) == -(-samples // 80)
    assert not found.speech


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(32_000, np.float32),
        np.full(32_000, 0.3, np.float32),
        (np.arange(32_000) % 2 * 2 - 1).astype(np.float32) / 32768,
        (np.random.default_rng(0).integers(-1, 2, 32_000) / 32768).astype(np.float32),
    ],
    ids=["zeros", "constant", "last bit", "dither"],
)
def test_silence_is_not_speech(detector: Detector, audio: NDArray[np.float32]) -> None:
    assert not detector.detect(audio, 16_000).speech


def test_channels(detector: Detector, speech: tuple[NDArray[np.float32], int]) -> None:
    audio, rate = speech
    both = np.stack([audio, np.zeros_like(audio)], 1)
    apart = detector.detect(both, rate, channels="separate", probabilities=True)
    assert apart.channels == 2
    assert apart.probabilities is not None
    assert set(apart.probabilities) == {0, 1}
    assert {s.channel for s in apart.speech} == {0}
    silent = detector.detect(both, rate, channels=1)
    assert not silent.speech
    assert {s.channel for s in silent.segments} == {1}
    with pytest.raises(ParameterError, match="channels"):
        detector.detect(both, rate, channels=2)


def test_analysis_gives_segments_before_the_end(detector: Detector, data_dir: Path) -> None:
    with detector.analyse(data_dir / "speech.wav") as analysis:
        assert analysis.info.sample_rate == 16_000
        with pytest.raises(RuntimeError, match="iterate"):
            _ = analysis.result
        segments = list(analysis)
        assert analysis.result.segments == segments


def test_progress_reaches_the_end(detector: Detector, data_dir: Path) -> None:
    seen: list[float] = []
    detector.detect(data_dir / "speech.wav", progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_bad_input_is_named(detector: Detector, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not audio at all\n" * 50)
    empty = tmp_path / "empty.wav"
    empty.touch()
    for path in (text, empty):
        with pytest.raises(vad.DecodeError, match=path.name):
            detector.detect(path)
    with pytest.raises(IsADirectoryError):
        detector.detect(tmp_path)
    with pytest.raises(FileNotFoundError):
        detector.detect(tmp_path / "absent.wav")
    with pytest.raises(ParameterError, match="sample_rate"):
        detector.detect(np.zeros(100, np.float32))


def test_higher_threshold_finds_no_more(detector: Detector, data_dir: Path) -> None:
    ratios = [
        detector.detect(
            data_dir / "speech.wav", segmentation=Segmentation(threshold=threshold)
        ).speech_ratio
        for threshold in (0.2, 0.5, 0.8, 0.95)
    ]
    assert ratios == sorted(ratios, reverse=True)


def test_cut_keeps_the_speech(
    detector: Detector, speech: tuple[NDArray[np.float32], int], data_dir: Path
) -> None:
    audio, rate = speech
    found = detector.detect(audio, rate)
    kept = found.cut(audio, rate)
    assert len(kept) / rate == pytest.approx(sum(s.end - s.start for s in found.speech), abs=0.01)
    stereo = sf.read(data_dir / "speech-48k-stereo.flac", dtype="float32")[0]
    assert found.cut(stereo, 48_000).shape[1] == 2


def test_one_detector_serves_many_threads(detector: Detector, data_dir: Path) -> None:
    expected = detector.probabilities(data_dir / "speech.wav")
    found: list[NDArray[np.float32]] = []

    def work() -> None:
        found.append(detector.probabilities(data_dir / "speech.wav"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for p in found:
        np.testing.assert_allclose(p, expected, atol=1e-4)


def test_import_does_not_bring_training_along() -> None:
    import subprocess
    import sys

    code = "import sys, vad; print([m for m in sys.modules if 'vad.training' in m or m in "
    code += "('torchaudio', 'matplotlib', 'scipy', 'fastapi', 'service', 'vad.evaluation')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
