"""Paths, bytes, files, pipes, arrays and headerless PCM."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vad.audio import PcmDecoder, SourceInfo, load_mono, open_audio
from vad.audio.bytestream import Replay
from vad.audio.headers import id3_bytes
from vad.errors import DecodeError, ParameterError, UnsupportedAudio


class CountingPipe:
    """Counts what has been read of it; cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.name = "/somewhere/pipe.bin"

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 700))

    @property
    def taken(self) -> int:
        return self._file.tell()


def test_arrays() -> None:
    x = np.arange(-20_000, 20_000, dtype=np.int16)
    with open_audio(x, sample_rate=8000, name="ramp") as reader:
        assert reader.info == SourceInfo("array", "int16", 8000, 1)
        assert (reader.name, reader.length) == ("ramp", 40_000)
        blocks = list(reader.blocks())
    assert [len(block) for block in blocks] == [8000] * 5
    assert np.array_equal(np.concatenate(blocks)[:, 0], x.astype(np.float32) / 32768)


def test_arrays_of_several_channels() -> None:
    with open_audio(np.zeros((10, 2)), sample_rate=16_000) as reader:
        assert reader.info == SourceInfo("array", "float64", 16_000, 2)
        assert next(reader.blocks()).shape == (10, 2)


def test_an_empty_array_has_no_blocks() -> None:
    with open_audio(np.zeros(0), sample_rate=16_000) as reader:
        assert list(reader.blocks()) == []


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "mulaw", "alaw"])
def test_headerless_pcm(encoding: str, tmp_path: Path) -> None:
    data = np.linspace(-0.9, 0.9, 30_000, dtype="<f4").tobytes()
    exact = PcmDecoder(encoding).push(data)
    path = tmp_path / "audio.raw"
    path.write_bytes(data)
    for source in (data, path, io.BytesIO(data), CountingPipe(data)):
        with open_audio(source, sample_rate=8000, encoding=encoding) as reader:  # type: ignore[arg-type]
            x = np.concatenate(list(reader.blocks()))
            codec = {"mulaw": "pcm_mulaw", "alaw": "pcm_alaw"}.get(encoding, encoding)
            assert reader.info == SourceInfo("raw", codec, 8000, 1)
        finite = np.where(np.isfinite(exact), exact, 0)
        assert np.array_equal(x[:, 0], finite)


def test_headerless_pcm_that_ends_within_a_sample() -> None:
    with open_audio(bytes(3201), sample_rate=16_000, encoding="pcm_s16le") as reader:
        assert sum(map(len, reader.blocks())) == 1600
    assert reader.warnings == ["audio breaks off at 0.10 s: the last sample has 1 of 2 bytes"]


@pytest.fixture
def bare_aac(data_dir: Path) -> bytes:
    """speech.m4a's frames, each behind an ADTS header."""
    file = io.BytesIO()
    with av.open(str(data_dir / "speech.m4a")) as given, av.open(file, "w", format="adts") as made:
        stream = made.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(audio=0):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    return file.getvalue()


def test_what_tells_its_own_format_is_no_headerless_pcm(data_dir: Path, bare_aac: bytes) -> None:
    """MP3 and AAC have no header that a container has; but speech does not begin like them."""
    wav, mp3, amr = ((data_dir / f"speech.{kind}").read_bytes() for kind in ("wav", "mp3", "amr"))
    samples = (bytes(100), np.full(9000, -1, "<i2").tobytes(), wav[44:], b"\xff\xfb")
    files = (wav, mp3, mp3[id3_bytes(mp3) :], amr, bare_aac)
    for data, warnings in [(each, 0) for each in samples] + [(each, 1) for each in files]:
        with open_audio(data, sample_rate=16_000, encoding="pcm_s16le") as reader:
            list(reader.blocks())
        found = [each for each in reader.warnings if "leave encoding and sample_rate out" in each]
        assert len(found) == warnings, data[:20]


@pytest.mark.parametrize("encoding", ["mp3", "aac", "", "PCM_S16LE"])
def test_an_encoding_of_files_is_told_to_be_left_out(encoding: str) -> None:
    with pytest.raises(ParameterError, match=r"one of pcm_s16le, .*leave encoding .* out"):
        open_audio(b"abcd", sample_rate=16_000, encoding=encoding)


@pytest.mark.parametrize("data", [b"", b"\0"])
def test_no_headerless_pcm(data: bytes) -> None:
    with pytest.raises(DecodeError):
        open_audio(data, sample_rate=16_000, encoding="pcm_s16le")


@pytest.mark.parametrize(
    ("source", "arguments", "param"),
    [
        (np.zeros(5), {}, "sample_rate"),
        (np.zeros(5), {"sample_rate": 3999}, "sample_rate"),
        (np.zeros(5), {"sample_rate": 192_001}, "sample_rate"),
        (np.zeros(5), {"sample_rate": "16000"}, "sample_rate"),
        (np.zeros(5), {"sample_rate": True}, "sample_rate"),
        (np.zeros(5), {"sample_rate": 8000, "encoding": "mulaw"}, "encoding"),
        (np.zeros((2, 8000)), {"sample_rate": 8000}, "audio"),
        (np.zeros((2, 2, 2)), {"sample_rate": 8000}, "audio"),
        (np.array(["a"]), {"sample_rate": 8000}, "audio"),
        (b"abcd", {"encoding": "mulaw"}, "sample_rate"),
        (b"abcd", {"encoding": "pcm_s16be", "sample_rate": 8000}, "encoding"),
        (b"abcd", {"sample_rate": 8000}, "sample_rate"),
        (io.StringIO("abcd"), {}, "audio"),
        ([0.0, 0.1], {"sample_rate": 8000, "encoding": "mulaw"}, "audio"),
        (7, {}, "audio"),
    ],
)
def test_arguments_that_do_not_fit(source: Any, arguments: dict[str, Any], param: str) -> None:
    with pytest.raises(ParameterError) as caught:
        open_audio(source, **arguments)
    assert caught.value.param == param


def test_an_array_of_too_many_channels() -> None:
    with pytest.raises(UnsupportedAudio, match="65 channels"):
        open_audio(np.zeros((100, 65)), sample_rate=16_000)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.wav"):
        open_audio(tmp_path / "none.wav")


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a directory, not an audio file"):
        open_audio(str(tmp_path))


def test_names(data_dir: Path) -> None:
    path = data_dir / "speech.wav"
    with open_audio(str(path)) as reader:
        assert reader.name == "speech.wav"
    with open_audio(path, name="other") as reader:
        assert reader.name == "other"
    with path.open("rb") as file, open_audio(file) as reader:
        assert reader.name == "speech.wav"
    with open_audio(path.read_bytes()) as reader:
        assert reader.name == "audio"


def test_a_callers_file_stays_open_and_is_read_from_its_start(data_dir: Path) -> None:
    for name in ("speech.wav", "speech.mp3"):
        with (data_dir / name).open("rb") as file:
            file.seek(1000)
            with open_audio(file) as reader:
                assert sum(map(len, reader.blocks())) == 395_680
            assert not file.closed


@pytest.mark.parametrize("name", ["speech.wav", "speech.mp3", "speech-48k-stereo.flac"])
def test_a_pipe_is_decoded_while_it_arrives(data_dir: Path, name: str) -> None:
    data = (data_dir / name).read_bytes()
    pipe = CountingPipe(data)
    with open_audio(pipe) as reader:  # type: ignore[arg-type]
        assert reader.name == "pipe.bin"
        assert pipe.taken < len(data) / 4
        taken = [pipe.taken for _ in reader.blocks()]
    assert taken == sorted(taken)
    assert taken[-1] == len(data)


def test_a_real_pipe(data_dir: Path) -> None:
    data = (data_dir / "speech.m4a").read_bytes()  # its index is at the end
    out, into = os.pipe()

    def feed() -> None:
        with open(into, "wb") as file:
            file.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with open(out, "rb") as pipe, open_audio(pipe, name="speech.m4a") as reader:
        seconds = sum(map(len, reader.blocks())) / reader.info.sample_rate
    feeder.join()
    assert seconds == pytest.approx(24.73, abs=0.04)


def test_what_a_pipe_raises_passes_through() -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise ConnectionResetError("the client has gone")

    with pytest.raises(ConnectionResetError, match="the client has gone"):
        open_audio(Broken())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["speech.wav", "speech.mp3"])
@pytest.mark.parametrize("good_bytes", [0, 70_000])
def test_what_a_file_raises_passes_through(data_dir: Path, name: str, good_bytes: int) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= good_bytes and size != 4096:
                raise OSError("the disk has gone")
            return super().read(size)

    with (
        pytest.raises(OSError, match="the disk has gone"),
        open_audio(Broken((data_dir / name).read_bytes())) as reader,
    ):
        list(reader.blocks())


def test_replay_gives_everything_again() -> None:
    data = bytes(range(256)) * 20
    replay = Replay(CountingPipe(data))  # type: ignore[arg-type]
    assert replay.peek(1000) == data[:1000]
    assert replay.read(300) == data[:300]
    with replay.whole() as copy:
        copy.seek(0)
        assert copy.read() == data


def test_replay_forgets() -> None:
    replay = Replay(CountingPipe(bytes(10_000)))  # type: ignore[arg-type]
    replay.read(100)
    replay.forget()
    with pytest.raises(ValueError, match="not been kept"):
        replay.whole()


def test_load_mono_mixes_and_resamples(data_dir: Path) -> None:
    stereo = load_mono(data_dir / "speech-48k-stereo.flac")
    mono = load_mono(data_dir / "speech.wav")
    assert stereo.dtype == np.float32
    assert stereo.shape == mono.shape == (395_680,)
    np.testing.assert_allclose(stereo, 0.75 * mono, atol=2e-3)


def test_load_mono_of_arrays_and_pcm() -> None:
    assert load_mono(np.zeros((80, 2)), 16_000, source_rate=8000).shape == (160,)
    assert load_mono(bytes(80), 8000, source_rate=16_000, encoding="pcm_s16le").shape == (20,)
