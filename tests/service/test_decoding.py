"""Decoding in killable processes: the same audio, and no file that harms the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.errors import ClientGone
from service.files.decoding import DecodePool
from service.files.workers import Cancellation
from vad.audio import AudioReader, open_audio
from vad.audio.sandbox import DecodeLimits, RemoteDecoder, Undecoded
from vad.errors import (
    AudioTooLong,
    DecodedTooLarge,
    DecodeError,
    DecoderCrashed,
    DecodeTooSlow,
    ParameterError,
    UnsupportedAudio,
)

from .conftest import SPEECH, SPEECH_WAV, Audio, check_problem, spoken, until, wav

LIMITS = DecodeLimits(seconds=60, audio_seconds=3600, decoded_bytes=2**30, memory_bytes=2**30)
on_linux = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="reads Linux's /proc")


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    pool = DecodePool(1, LIMITS)
    yield pool
    pool.close()


@pytest.fixture
def long() -> Iterator[Undecoded]:
    """Nine hours of µ-law that take no room on the disk."""
    with tempfile.TemporaryFile() as file:
        file.truncate(2**28)
        yield Undecoded(file, "long", sample_rate=8000, encoding="mulaw")


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Callable[[bytes], BinaryIO]]:
    """Puts bytes into a file."""
    with ExitStack() as stack:

        def store(data: bytes) -> BinaryIO:
            path = tmp_path / "stored"
            path.write_bytes(data)
            return stack.enter_context(path.open("rb"))

        yield store


def whole(decoder: RemoteDecoder) -> tuple[Audio, list[str]]:
    reader = AudioReader(decoder, "file")
    return np.concatenate(list(reader.blocks())), reader.warnings


def pid(pool: DecodePool) -> int:
    """Of the process that comes next."""
    until(lambda: bool(pool._idle))
    return pool._idle[-1].pid


# A pipe's MP3 keeps the padding at its end, for FFmpeg doesn't learn there how long it is.
@pytest.mark.parametrize(
    ("name", "piped"),
    [("speech.mp3", False), ("truncated.mp3", False)]
    + [(f"speech.{kind}", piped) for kind in ("wav", "m4a", "opus") for piped in (False, True)],
)
def test_decodes_as_the_library_does(
    pool: DecodePool, data_dir: Path, name: str, piped: bool, stored: Callable[[bytes], BinaryIO]
) -> None:
    data = (data_dir / name).read_bytes()
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, stored(data) as file, os.fdopen(writing, "wb") as sink:
        feeder = threading.Thread(target=lambda: (sink.write(data), sink.close()))
        source = Undecoded(pipe if piped else file, name)
        if piped:
            feeder.start()
        with pool.decode(source, Cancellation()) as decoder:
            found, warnings = whole(decoder)
            info = decoder.info
    with open_audio(data, name=name) as reader:
        expected = np.concatenate(list(reader.blocks()))
        assert (info.sample_rate, info.channels) == (reader.info.sample_rate, reader.info.channels)
        assert warnings == reader.warnings
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_one_process_serves_file_after_file(
    pool: DecodePool, stored: Callable[[bytes], BinaryIO]
) -> None:
    before = pid(pool)
    for _ in range(2):
        with pool.decode(Undecoded(stored(SPEECH_WAV), "a.wav"), Cancellation()) as decoder:
            whole(decoder)
        with pytest.raises(DecodeError), pool.decode(Undecoded(stored(b"x"), "a"), Cancellation()):
            pass
    assert pid(pool) == before


@pytest.mark.parametrize(
    ("source", "error", "match"),
    [
        ((b"", None), DecodeError, "a.wav is empty"),
        ((b"junk", None), DecodeError, "a.wav: no audio"),
        ((wav(SPEECH, 2000), None), UnsupportedAudio, "2000"),
        ((b"x", 8000), ParameterError, "sample_rate"),
    ],
)
def test_errors_are_the_librarys(
    pool: DecodePool,
    stored: Callable[[bytes], BinaryIO],
    source: tuple[bytes, int | None],
    error: type[Exception],
    match: str,
) -> None:
    data, sample_rate = source
    undecoded = Undecoded(stored(data), "a.wav", sample_rate)
    with pytest.raises(error, match=match), pool.decode(undecoded, Cancellation()):
        pass


@on_linux
def test_the_process_has_neither_torch_nor_keys(
    monkeypatch: pytest.MonkeyPatch, stored: Callable[[bytes], BinaryIO]
) -> None:
    monkeypatch.setenv("VAD_API_KEYS", "very-secret")
    pool = DecodePool(1, LIMITS)
    try:
        with pool.decode(Undecoded(stored(SPEECH_WAV), "a.wav"), Cancellation()) as decoder:
            whole(decoder)
        process = Path(f"/proc/{pid(pool)}")
        assert "libtorch" not in (process / "maps").read_text()
        assert b"very-secret" not in (process / "environ").read_bytes()
        [rss] = [x for x in (process / "status").read_text().splitlines() if "VmRSS" in x]
        assert int(rss.split()[1]) < 120_000
    finally:
        pool.close()


def test_audio_is_decoded_without_importing_torch() -> None:
    script = "import sys, vad, vad.audio, service; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, timeout=120).returncode == 0


def test_too_much_cpu_time_ends_the_process_and_another_takes_over(long: Undecoded) -> None:
    pool = DecodePool(1, replace(LIMITS, seconds=0.2, audio_seconds=1e9))
    try:
        first = pid(pool)
        with pool.decode(long, Cancellation()) as decoder:
            blocks = decoder.blocks()
            with pytest.raises(DecodeTooSlow, match=r"0\.2 s"):
                deque(blocks, maxlen=0)
        assert pid(pool) != first
    finally:
        pool.close()


def test_a_crash_is_the_files_fault_and_another_takes_over(
    pool: DecodePool, long: Undecoded, stored: Callable[[bytes], BinaryIO]
) -> None:
    crashed = pid(pool)
    with pool.decode(long, Cancellation()) as decoder:
        os.kill(crashed, signal.SIGSEGV)
        with pytest.raises(DecoderCrashed, match="signal 11"):
            whole(decoder)
    with pool.decode(Undecoded(stored(SPEECH_WAV), "a.wav"), Cancellation()) as decoder:
        assert len(whole(decoder)[0]) == len(SPEECH)


def test_memory_is_limited(stored: Callable[[bytes], BinaryIO]) -> None:
    wide = stored(wav(np.zeros((96_000, 32), np.float32), 96_000))
    pool = DecodePool(1, replace(LIMITS, memory_bytes=40 * 2**20))
    try:
        with (
            pytest.raises(DecodedTooLarge, match="of memory"),
            pool.decode(Undecoded(wide, "wide.wav"), Cancellation()) as decoder,
        ):
            whole(decoder)
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (replace(LIMITS, audio_seconds=4.4), AudioTooLong),
        (replace(LIMITS, decoded_bytes=4 * len(SPEECH) - 1), DecodedTooLarge),
        (replace(LIMITS, audio_seconds=4.5, decoded_bytes=4 * len(SPEECH)), None),
    ],
)
def test_length_is_limited(
    limits: DecodeLimits, error: type[Exception] | None, stored: Callable[[bytes], BinaryIO]
) -> None:
    pool = DecodePool(0, limits)
    source = Undecoded(stored(SPEECH_WAV), "a.wav")
    if error is None:
        with pool.decode(source, Cancellation()) as decoder:
            assert len(whole(decoder)[0]) == len(SPEECH)
    else:
        with pytest.raises(error), pool.decode(source, Cancellation()) as decoder:
            whole(decoder)


def test_cancellation_wakes_whoever_waits_for_a_pipe(
    pool: DecodePool, stored: Callable[[bytes], BinaryIO]
) -> None:
    reading, writing = os.pipe()
    stop = Cancellation()
    with os.fdopen(reading, "rb") as pipe:
        threading.Timer(0.2, stop.cancel).start()
        with pytest.raises(ClientGone), pool.decode(Undecoded(pipe, "a"), stop):
            pass
    os.close(writing)
    with pytest.raises(ClientGone), pool.decode(Undecoded(stored(SPEECH_WAV), "a"), stop):
        pass


@on_linux
def test_a_file_that_nobody_takes_does_not_fill_the_memory(
    pool: DecodePool, long: Undecoded
) -> None:
    process = Path(f"/proc/{pid(pool)}/stat")
    with pool.decode(long, Cancellation()) as decoder:
        next(decoder.blocks())
        until(lambda: process.read_text().split()[2] == "S")  # asleep: its channel is full
        pages = int(Path(f"{process.parent}/statm").read_text().split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < 150 * 2**20


@pytest.mark.parametrize("settings", [{"max_decode_s": 0.01}])
def test_over_http_too_slow_is_a_504(client: TestClient) -> None:
    query = "encoding=mulaw&sample_rate=8000"
    response = client.post(f"/v1/vad?{query}", content=bytes(2**24))
    check_problem(response, 504, "decode-too-slow")


def test_over_http_a_crash_is_a_400_and_the_next_file_is_served(client: TestClient) -> None:
    pool: DecodePool = client.app.state.service.decoders  # type: ignore[attr-defined]
    os.kill(pid(pool), signal.SIGSTOP)  # so that the request finds it alive
    victim = pid(pool)
    threading.Timer(2, os.kill, (victim, signal.SIGKILL)).start()
    check_problem(client.post("/v1/vad", content=SPEECH_WAV), 400, "undecodable-audio")
    assert spoken(client.post("/v1/vad", content=SPEECH_WAV).json())
