"""Decoding in a child process: the same audio, and a crash that costs one file alone."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vad.audio import AudioReader, open_audio
from vad.audio.sandbox import DecodeLimits, Sandbox
from vad.errors import (
    AudioTooLong,
    DecodedTooLarge,
    DecodeError,
    DecoderCrashed,
    DecodeTooSlow,
    ParameterError,
    UnsupportedAudio,
)

posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def whole(reader: AudioReader) -> NDArray[np.float32]:
    with reader:
        return np.concatenate(list(reader.blocks()))


@pytest.mark.parametrize(
    "source",
    [
        lambda path: path,
        lambda path: str(path),
        lambda path: path.read_bytes(),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: path.open("rb"),
    ],
)
@pytest.mark.parametrize("name", ["speech.wav", "truncated.mp3", "cases/delayed_audio.mp4"])
def test_gives_what_the_library_gives(
    sandbox: Sandbox, data_dir: Path, name: str, source: Callable[[Path], Any]
) -> None:
    given = source(data_dir / name)
    found = sandbox.open(given)
    x = whole(found)
    with open_audio(data_dir / name) as expected:
        assert np.array_equal(x, np.concatenate(list(expected.blocks())))
    assert (found.info, found.length) == (expected.info, expected.length)
    assert found.warnings == expected.warnings
    assert found.name == ("audio" if isinstance(given, bytes | io.BytesIO) else Path(name).name)
    if hasattr(given, "close"):
        given.close()


@posix
def test_takes_a_pipe(sandbox: Sandbox, data_dir: Path) -> None:
    data = (data_dir / "speech.m4a").read_bytes()
    out, into = os.pipe()
    sink = os.fdopen(into, "wb")
    feeder = threading.Thread(target=lambda: (sink.write(data), sink.close()))
    feeder.start()
    with os.fdopen(out, "rb") as pipe:
        x = whole(sandbox.open(pipe, name="speech.m4a"))
    feeder.join()
    assert np.array_equal(x, whole(open_audio(data)))


def test_takes_headerless_pcm_and_arrays(sandbox: Sandbox, data_dir: Path) -> None:
    path = data_dir / "cases" / "call.ul"
    assert len(whole(sandbox.open(path, sample_rate=8000, encoding="mulaw"))) == 48_000
    assert len(whole(sandbox.open(np.zeros(100, np.float32), sample_rate=8000))) == 100


def test_errors_are_the_librarys(sandbox: Sandbox, data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.wav") as missing:
        sandbox.open(tmp_path / "none.wav")
    assert missing.value.filename == str(tmp_path / "none.wav")
    with pytest.raises(IsADirectoryError, match="not an audio file"):
        sandbox.open(tmp_path)
    with pytest.raises(DecodeError, match="audio: no audio can be decoded"):
        sandbox.open(b"junk")
    with pytest.raises(ParameterError) as caught:
        sandbox.open(data_dir / "speech.wav", encoding="mulaw")
    assert caught.value.param == "sample_rate"
    with pytest.raises(ParameterError, match="not int"):
        sandbox.open(7)  # type: ignore[arg-type]
    assert len(whole(sandbox.open(data_dir / "speech.wav"))) == 395_680


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")
def test_a_name_that_is_no_utf_8(sandbox: Sandbox, data_dir: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    Path(os.fsdecode(path)).write_bytes((data_dir / "speech.wav").read_bytes())
    reader = sandbox.open(os.fsdecode(path))
    assert reader.name == "caf\udce9.wav"
    assert len(whole(reader)) == 395_680


@posix
@pytest.mark.parametrize("at", ["start", "middle"])
def test_a_crash_costs_that_file_alone(data_dir: Path, at: str) -> None:
    with Sandbox() as sandbox:
        assert sandbox._idle is not None
        child = sandbox._idle.pid
        path = data_dir / "speech-48k-stereo.flac"
        if at == "start":
            os.kill(child, signal.SIGSTOP)  # so that it is found alive
            threading.Timer(0.5, os.kill, (child, signal.SIGSEGV)).start()
            threading.Timer(0.6, os.kill, (child, signal.SIGCONT)).start()
            with pytest.raises(DecoderCrashed, match="crashed on it"):
                sandbox.open(path)
        else:
            with sandbox.open(path) as reader:
                blocks = reader.blocks()
                next(blocks)
                os.kill(child, signal.SIGSEGV)
                with pytest.raises(DecoderCrashed, match="signal 11"):
                    list(blocks)
        assert len(whole(sandbox.open(path))) == 1_187_040


def test_two_files_at_a_time(sandbox: Sandbox, data_dir: Path) -> None:
    with sandbox.open(data_dir / "speech.wav") as one, sandbox.open(data_dir / "speech.mp3") as two:
        pairs = list(zip_longest(one.blocks(), two.blocks()))
    for i, name in enumerate(["speech.wav", "speech.mp3"]):
        found = np.concatenate([pair[i] for pair in pairs if pair[i] is not None])
        assert np.array_equal(found, whole(open_audio(data_dir / name)))


@posix
@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (DecodeLimits(audio_seconds=1.5), AudioTooLong),
        (DecodeLimits(decoded_bytes=100_000), DecodedTooLarge),
        (DecodeLimits(seconds=0.001), DecodeTooSlow),
    ],
)
def test_limits(data_dir: Path, limits: DecodeLimits, error: type[Exception]) -> None:
    with Sandbox(limits) as sandbox, pytest.raises(error):
        whole(sandbox.open(data_dir / "speech.wav"))


def test_what_is_unsupported(sandbox: Sandbox, write: Callable[..., bytes]) -> None:
    with pytest.raises(UnsupportedAudio, match="2000 samples a second"):
        sandbox.open(write(np.zeros(4000), 2000))
