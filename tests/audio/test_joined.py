"""Files that `cat` put one behind the other: all is read, whatever the second one's format."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vad.audio import AudioReader, open_audio

from .test_cases import SOURCES, Pipe

Encode = Callable[..., bytes]
Tone = NDArray[np.int16]

# Container and codec by FFmpeg's names; and by how much longer than the sound the file is, in s.
KINDS = {
    "wav": ("pcm_s16le", 0.0),
    "w64": ("pcm_s16le", 0.0),
    "aiff": ("pcm_s16be", 0.0),
    "au": ("pcm_s16be", 0.01),  # the second header is heard: the first file doesn't say its length
    "flac": ("flac", 0.0),
    "tta": ("tta", 0.0),
    "wv": ("wavpack", 0.0),
    "ipod": ("aac", 0.0),
    "asf": ("adpcm_ms", 0.1),
    "flv": ("aac", 0.2),
    "matroska": ("flac", 0.0),
    "mpegts": ("aac", 0.3),
}


def whole(source: Any, name: str = "joined") -> tuple[NDArray[np.float32], AudioReader]:
    with open_audio(source, name=name) as reader:
        return np.concatenate(list(reader.blocks())), reader


@pytest.mark.parametrize("container", KINDS)
def test_both_are_heard(encode: Encode, sentence: Tone, container: str) -> None:
    codec, longer = KINDS[container]
    halves = sentence[:16_000], sentence[32_000:48_000]
    data = b"".join(encode(container, codec, half, 16_000) for half in halves)
    for source in (data, Pipe(data)):
        x, reader = whole(source)
        assert len(x) / 16_000 == pytest.approx(2, abs=0.01 + longer)
        assert reader.warnings == []
        second = x[-14_000:-3000, 0]
        size = 1 << 15
        product = np.fft.rfft(halves[1], size) * np.conj(np.fft.rfft(second, size))
        found = np.fft.irfft(product).max() / np.linalg.norm(second)
        assert found > 0.5 * np.linalg.norm(halves[1][2000:13_000].astype(float))


@pytest.mark.parametrize(("container", "codec"), [("flac", "flac"), ("wav", "pcm_s16le")])
@pytest.mark.parametrize("wrap", [bytes, Pipe, io.BytesIO])
def test_the_second_may_have_another_format(
    encode: Encode, tone: Tone, container: str, codec: str, wrap: Callable[[bytes], Any]
) -> None:
    first = encode(container, codec, tone[:16_000], 16_000)
    other = encode(container, codec, np.repeat(tone[:44_100], 2), 44_100, "stereo")
    x, reader = whole(wrap(first + other))
    assert len(x) / 16_000 == pytest.approx(2, abs=0.01)
    [warning] = reader.warnings
    assert warning.startswith("the audio changes at 1.00 s from 16000 Hz and 1 channel to 44100 Hz")
    heard = np.abs(np.fft.rfft(x[-12_000:, 0])).argmax() * 16_000 / 12_000
    assert heard == pytest.approx(300 * 44_100 / 16_000, abs=2)


def test_three_of_amr(data_dir: Path) -> None:
    data = (data_dir / "speech.amr").read_bytes()
    x, reader = whole(3 * data)
    once, _ = whole(data)
    assert len(x) == 3 * len(once)
    assert reader.warnings == []


@pytest.mark.parametrize("kind", SOURCES)
def test_what_is_no_file_behind_one_is_passed_over(
    encode: Encode, tone: Tone, tmp_path: Path, kind: str
) -> None:
    data = encode("wav", "pcm_s16le", tone, 16_000)
    path = tmp_path / "a.wav"
    for behind in (b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", bytes(5000), b"LIST\4\0\0\0INFO"):
        path.write_bytes(data + behind)
        x, reader = whole(SOURCES[kind](path))
        assert np.array_equal(x[:, 0], tone.astype(np.float32) / 32768)
        assert reader.warnings == []


@pytest.mark.parametrize("kind", ["aiff", "w64", "caf"])
@pytest.mark.parametrize("wrap", [bytes, Pipe])
def test_a_length_that_was_never_filled_in(
    encode: Encode, tone: Tone, kind: str, wrap: Callable[[bytes], Any]
) -> None:
    """As programs leave it that write into a pipe."""
    codec = "pcm_s16le" if kind == "w64" else "pcm_s16be"
    data = bytearray(encode(kind, codec, tone, 16_000))
    if kind == "aiff":
        at = data.index(b"SSND") + 4
        data[4:8] = data[at : at + 4] = data[22:26] = bytes(4)
    elif kind == "caf":
        at = data.index(b"data") + 4
        data[at : at + 8] = b"\xff" * 8
    else:
        at = data.index(b"data") + 16
        data[16:24], data[at : at + 8] = b"\xff" * 8, b"\xff" * 7 + b"\x7f"
    x, reader = whole(wrap(bytes(data)))
    assert np.array_equal(x[:, 0], tone.astype(np.float32) / 32768)
    assert reader.warnings == []


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(("valid", "width"), [(12, 16), (20, 24), (24, 32), (16, 32)])
def test_valid_bits_of_w64(tone: Tone, tmp_path: Path, valid: int, width: int, kind: str) -> None:
    def chunk(name: bytes, contents: bytes) -> bytes:
        head = name + bytes.fromhex("f3acd3118cd100c04f8edb8a")
        return head + (24 + len(contents)).to_bytes(8, "little") + contents

    size = width // 8
    form = b"\xfe\xff\1\0" + (16_000).to_bytes(4, "little") + (16_000 * size).to_bytes(4, "little")
    form += bytes([size, 0, width, 0, 22, 0, valid, 0, 4, 0, 0, 0])
    form += bytes.fromhex("0100000000001000800000aa00389b71")
    samples = b"".join(
        (int(value) << (width - 16)).to_bytes(size, "little", signed=True) for value in tone[:8000]
    )
    body = bytes.fromhex("77617665f3acd3118cd100c04f8edb8a")
    body += chunk(b"fmt ", form) + chunk(b"data", samples)
    riff = bytes.fromhex("726966662e91cf11a5d628db04c10000")
    path = tmp_path / "a.w64"
    path.write_bytes(riff + (24 + len(body)).to_bytes(8, "little") + body)
    x, reader = whole(SOURCES[kind](path))
    assert np.array_equal(x[:, 0], tone[:8000].astype(np.float32) / 32768)
    assert reader.warnings == []


@pytest.mark.parametrize("container", ["wav", "w64", "aiff", "flac"])
def test_looking_for_the_next_file_reads_a_pipe_in_large_pieces(
    encode: Encode, tone: Tone, container: str
) -> None:
    data = encode(container, KINDS[container][0], np.tile(tone, 4), 16_000)
    sizes: list[int] = []

    class Counted(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def read1(self, size: int | None = -1, /) -> bytes:
            piece = super().read1(size)
            sizes.append(len(piece))
            return piece

    x, _ = whole(Counted(data))
    assert len(x) == 4 * len(tone)
    assert len(sizes) < 10 + len(data) / 2000
