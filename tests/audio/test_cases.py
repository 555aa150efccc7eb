"""Recordings that users have and decoders trip over: by path, bytes and pipe alike."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vad import Detector
from vad.audio import SourceInfo, load_mono, open_audio
from vad.errors import DecodeError

Encode = Callable[..., bytes]
Tone = NDArray[np.int16]

CHANGED = "the audio changes at "
CASES: dict[str, tuple[SourceInfo, float, list[str]]] = {
    "surround71.m4a": (SourceInfo("m4a", "aac", 16_000, 8), 1.5, []),
    "surround71.opus": (SourceInfo("ogg", "opus", 48_000, 8), 1.5, []),
    "mono_then_stereo.mp3": (SourceInfo("mp3", "mp3", 44_100, 1), 6.06, [CHANGED]),
    "rate_change.mp3": (SourceInfo("mp3", "mp3", 44_100, 1), 6.06, [CHANGED]),
    "chain_mono_stereo.ogg": (SourceInfo("ogg", "vorbis", 16_000, 1), 6.0, [CHANGED]),
    "cat_with_cover.mp3": (SourceInfo("mp3", "mp3", 16_000, 1), 6.12, []),
    "delayed_audio.mp4": (
        SourceInfo("mp4", "aac", 16_000, 1, 3.936),
        10.0,
        ["the audio track begins 3.94 s after the file"],
    ),
    "hour.webm": (SourceInfo("webm", "opus", 48_000, 1), 6.0, []),
    "valid20in32.wav": (SourceInfo("wav", "pcm_s32le", 16_000, 1), 4.0, []),
    "named_channels.caf": (SourceInfo("caf", "pcm_mulaw", 8000, 8), 0.5, []),
    "id3_before.wav": (SourceInfo("wav", "pcm_s16le", 16_000, 1), 4.0, []),
    "s64.wav": (SourceInfo("wav", "pcm_s64le", 8000, 1), 2.0, []),
    "mp3_content.gsm": (SourceInfo("mp3", "mp3", 16_000, 1), 6.0, []),
    "zeros_then.ogg": (SourceInfo("ogg", "vorbis", 16_000, 1), 6.0, []),
    "rf64_pipe.wav": (SourceInfo("wav", "pcm_s16le", 8000, 1), 6.0, []),
}
REFUSED = {
    "call.ul": "say so by encoding and sample_rate",
    "video_only.mp4": r"no audio can be decoded \(FFmpeg: there is no audio track\)$",
    "encrypted.mp4": "the audio is encrypted",
}


class Pipe:
    """The least that a pipe can do."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


SOURCES: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "pipe": lambda path: Pipe(path.read_bytes()),
}


@pytest.fixture(scope="module")
def cases(data_dir: Path) -> Path:
    return data_dir / "cases"


@pytest.mark.parametrize("name", CASES)
def test_is_read_whole_and_the_same_from_every_source(cases: Path, name: str) -> None:
    info, seconds, warnings = CASES[name]
    found = {}
    for kind, source in SOURCES.items():
        with open_audio(source(cases / name), name=name) as reader:
            blocks = list(reader.blocks())
            assert reader.info == info, kind
        assert reader.samples / info.sample_rate == pytest.approx(seconds, abs=0.03), kind
        assert all(len(block) <= info.sample_rate for block in blocks), kind
        assert len(reader.warnings) == len(warnings), kind
        assert all(w.startswith(start) for w, start in zip(reader.warnings, warnings, strict=True))
        found[kind] = np.concatenate(blocks)
    for kind in SOURCES:
        assert found[kind].shape == found["path"].shape, kind
        assert np.abs(found[kind] - found["path"]).max() < 1e-6, kind


@pytest.mark.parametrize("name", [name for name in CASES if name != "named_channels.caf"])
def test_is_the_recording(cases: Path, data_dir: Path, name: str) -> None:
    """What was joined or moved is where it belongs."""
    speech = load_mono(data_dir / "speech.wav")
    x = load_mono(cases / name)
    start = round(CASES[name][0].start * 16_000)
    assert not np.abs(x[:start]).any()
    found = x[start + 4000 : start + 24_000]  # behind what the encoder added
    assert similarity(found, speech) > 0.8
    if name in ("mono_then_stereo.mp3", "rate_change.mp3", "chain_mono_stereo.ogg"):
        second = x[len(x) // 2 : len(x) // 2 + 24_000]
        assert similarity(second, speech) > 0.8


def similarity(x: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Largest normalised correlation of x with any part of the reference."""
    size = 1 << 19
    product = np.fft.rfft(reference, size) * np.conj(np.fft.rfft(x, size))
    found = np.fft.irfft(product)[: len(reference) - len(x)]
    energy = np.cumsum(reference.astype(float) ** 2)
    norms = np.sqrt(energy[len(x) :] - energy[: -len(x)])
    return float(np.max(found / norms) / np.linalg.norm(x))


@pytest.mark.parametrize(
    ("container", "codec"),
    [("wav", "pcm_s16le"), ("aiff", "pcm_s16be"), ("caf", "pcm_s16le"), ("w64", "pcm_s16le"),
     ("wv", "wavpack"), ("tta", "tta"), ("asf", "adpcm_ms"), ("ogg", "libopus"),
     ("matroska", "flac"), ("mp4", "aac"), ("amr", "libopencore_amrnb")],
)  # fmt: skip
def test_a_tag_in_front_is_skipped(
    encode: Encode, tone: Tone, tmp_path: Path, container: str, codec: str
) -> None:
    """An ID3 tag, as taggers put it before whatever they are given; large where it has a cover."""
    rate = 8000 if container == "amr" else 16_000
    data = encode(container, codec, tone, rate)
    with open_audio(data) as reader:
        expected = np.concatenate(list(reader.blocks()))
    path = tmp_path / "tagged"
    for size, kind in ((10, "path"), (10, "pipe"), (200_000, "bytes"), (200_000, "pipe")):
        digits = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
        path.write_bytes(b"ID3\x04\0\0" + digits + bytes(size) + data)
        with open_audio(SOURCES[kind](path)) as reader:
            assert np.array_equal(np.concatenate(list(reader.blocks())), expected), (size, kind)
            assert reader.warnings == []


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_the_reason(cases: Path, name: str) -> None:
    for source in SOURCES.values():
        with pytest.raises(DecodeError, match=REFUSED[name]) as caught:
            open_audio(source(cases / name), name=name)
        assert "moov" not in str(caught.value)


def test_what_has_no_header_is_read_once_it_is_described(cases: Path) -> None:
    for source in SOURCES.values():
        described = source(cases / "call.ul")
        with open_audio(described, sample_rate=8000, encoding="mulaw") as reader:
            assert sum(map(len, reader.blocks())) == 48_000


@pytest.mark.parametrize("kind", SOURCES)
def test_times_count_from_the_start_of_the_file(detector: Detector, cases: Path, kind: str) -> None:
    result = detector.detect(SOURCES[kind](cases / "delayed_audio.mp4"), probabilities=True)
    assert result.source is not None
    assert result.source.start == 3.936
    assert result.duration == pytest.approx(10, abs=0.03)
    assert result.segments[0].label == "non_speech"
    assert result.segments[0].start == 0
    assert result.speech[0].start == pytest.approx(4.25, abs=0.2)
    assert result.probabilities is not None
    assert len(result.probabilities[0]) == 1000
    assert not result.probabilities[0][:393].any()


def test_channels_that_cancel_are_told_of(detector: Detector, data_dir: Path) -> None:
    speech = load_mono(data_dir / "speech.wav")[:64_000]
    result = detector.detect(np.stack([speech, -speech], axis=1), 16_000)
    assert not result.speech
    assert any("channels=separate" in warning for warning in result.warnings)
    for sound, channels in (
        (np.stack([speech, -speech], axis=1), "separate"),
        (np.stack([speech, 0 * speech], axis=1), "mix"),
        (np.stack([speech] + [0 * speech] * 31, axis=1), "mix"),
        (np.stack([speech, np.roll(speech, 8000)], axis=1), "mix"),
    ):
        assert not detector.detect(sound, 16_000, channels=channels).warnings
