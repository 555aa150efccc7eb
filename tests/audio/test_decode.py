"""Every format, against the recording that the fixtures are made from."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from vad.audio import SourceInfo, load_mono, open_audio
from vad.errors import DecodeError, UnsupportedAudio

Encode = Callable[..., bytes]
Tone = NDArray[np.int16]

SECONDS = 24.73
FILES = {
    "speech.wav": SourceInfo("wav", "pcm_s16le", 16_000, 1),
    "speech-8k-mulaw.wav": SourceInfo("wav", "pcm_mulaw", 8000, 1),
    "speech-48k-stereo.flac": SourceInfo("flac", "flac", 48_000, 2),
    "speech.mp3": SourceInfo("mp3", "mp3", 16_000, 1),
    "speech.opus": SourceInfo("ogg", "opus", 48_000, 1),
    "speech.m4a": SourceInfo("m4a", "aac", 44_100, 1),
    "speech.webm": SourceInfo("webm", "opus", 48_000, 1),
    "speech.mp4": SourceInfo("mp4", "aac", 44_100, 1),
    "speech.amr": SourceInfo("amr", "amr_nb", 8000, 1),
}
# Codecs that say nowhere how long they delay what they encode.
UNDECLARED_DELAY = {"speech.amr": 0.005}


class Pipe(io.RawIOBase):
    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(buffer)


def as_path(path: Path) -> Path:
    return path


def as_bytes(path: Path) -> bytes:
    return path.read_bytes()


def as_pipe(path: Path) -> BinaryIO:
    return io.BufferedReader(Pipe(path.read_bytes()))


def shift(x: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """By how many seconds `x` comes later than `reference`, both at 16 kHz; and it is alike."""
    size = 1 << 17
    spectra = [np.fft.rfft(signal[:80_000], size) for signal in (x, reference)]
    correlation = np.fft.irfft(spectra[0] * np.conj(spectra[1]))
    peak = int(correlation.argmax())
    energy = np.linalg.norm(x[:80_000]) * np.linalg.norm(reference[:80_000])
    assert correlation[peak] > 0.45 * energy  # AMR: 0.50, all others: above 0.9
    return (peak - size if peak > size // 2 else peak) / 16_000


@pytest.fixture(scope="module")
def speech(data_dir: Path) -> NDArray[np.float32]:
    x, _ = sf.read(data_dir / "speech.wav", dtype="float32")
    return np.asarray(x)


@pytest.mark.parametrize("name", FILES)
def test_every_format_from_every_source(data_dir: Path, name: str) -> None:
    for source in (as_path, as_bytes, as_pipe):
        with open_audio(source(data_dir / name)) as reader:
            assert reader.info == FILES[name]
            parts = list(reader.blocks())
            assert reader.warnings == []
            assert reader.samples == sum(map(len, parts))
            assert reader.samples / reader.info.sample_rate == pytest.approx(SECONDS, abs=0.04)
        assert all(part.dtype == np.float32 for part in parts)
        assert all(part.shape[1] == reader.info.channels for part in parts)
        # About a second each: memory does not grow with the file.
        assert max(map(len, parts)) <= 1.1 * reader.info.sample_rate


@pytest.mark.parametrize("name", FILES)
def test_every_format_keeps_time(data_dir: Path, speech: NDArray[np.float32], name: str) -> None:
    late = shift(load_mono(data_dir / name), speech)
    assert late == pytest.approx(UNDECLARED_DELAY.get(name, 0), abs=0.0002)


@pytest.mark.parametrize("source", [as_path, as_bytes, as_pipe])
def test_what_an_mp3_encoder_added_is_trimmed(
    data_dir: Path, speech: NDArray[np.float32], source: Callable[[Path], Any]
) -> None:
    with open_audio(source(data_dir / "speech.mp3")) as opened:
        x = np.concatenate(list(opened.blocks()))[:, 0]
    assert len(x) == len(speech)
    assert shift(x, speech) == 0


def test_stereo_channels_stay_apart(data_dir: Path) -> None:
    with open_audio(data_dir / "speech-48k-stereo.flac") as reader:
        x = np.concatenate(list(reader.blocks()))
    np.testing.assert_allclose(x[:, 1], x[:, 0] / 2, atol=2**-15)


def test_bits_are_kept(data_dir: Path) -> None:
    for name in ("speech.wav", "speech-48k-stereo.flac"):
        exact, _ = sf.read(data_dir / name, dtype="float32", always_2d=True)
        with open_audio(data_dir / name) as reader:
            assert np.array_equal(np.concatenate(list(reader.blocks())), exact)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        (container, subtype)
        for container in ("WAV", "AIFF", "AU", "CAF", "W64", "RF64", "FLAC")
        for subtype in ("PCM_16", "PCM_24", "FLOAT", "ULAW")
        if sf.check_format(container, subtype)
    ],
)
def test_samples_are_those_of_libsndfile(
    write: Callable[..., bytes], container: str, subtype: str
) -> None:
    x = np.random.default_rng(0).uniform(-0.9, 0.9, (1000, 6))
    data = write(x, 16_000, format=container, subtype=subtype)
    with open_audio(data) as reader:
        ours = np.concatenate(list(reader.blocks()))
        assert reader.info.container == {"RF64": "wav"}.get(container, container.lower())
    theirs, _ = sf.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.abs(ours - x).max() < (0.03 if subtype == "ULAW" else 1e-4)


@pytest.mark.parametrize(
    ("subtype", "codec"),
    [("PCM_U8", "pcm_u8"), ("PCM_32", "pcm_s32le"), ("DOUBLE", "pcm_f64le"),
     ("ALAW", "pcm_alaw"), ("IMA_ADPCM", "adpcm_ima_wav"), ("MS_ADPCM", "adpcm_ms"),
     ("GSM610", "gsm_ms")],
)  # fmt: skip
def test_wav_codecs(
    write: Callable[..., bytes], tone: NDArray[np.int16], subtype: str, codec: str
) -> None:
    with open_audio(write(tone / 32768, 16_000, subtype=subtype)) as reader:
        assert reader.info == SourceInfo("wav", codec, 16_000, 1)
        x = np.concatenate(list(reader.blocks()))[: len(tone), 0]
        assert reader.warnings == []
    assert np.abs(x - tone / 32768)[500:-500].max() < 0.05


@pytest.mark.parametrize(
    ("suffix", "container", "codec"),
    [(".g722", "g722", "g722"), (".amr", "amr", "libopencore_amrnb"), (".aac", "adts", "aac"),
     (".mka", "matroska", "flac"), (".mp4", "ipod", "aac"), (".mov", "mov", "pcm_s16le"),
     (".avi", "avi", "pcm_s16le"), (".3gp", "3gp", "aac"), (".ts", "mpegts", "mp2"),
     (".wv", "wv", "wavpack")],
)  # fmt: skip
def test_more_formats_by_ffmpeg(
    encode: Callable[..., bytes],
    tone: NDArray[np.int16],
    suffix: str,
    container: str,
    codec: str,
) -> None:
    rate = 8000 if suffix == ".amr" else 16_000
    data = encode(container, codec, tone, rate)
    with open_audio(data, name=f"tone{suffix}") as reader:
        x = np.concatenate(list(reader.blocks()))
        assert reader.warnings == []
    assert reader.info.sample_rate == rate
    assert len(x) == pytest.approx(len(tone), abs=0.15 * rate)
    spectrum = np.abs(np.fft.rfft(x[:, 0]))
    assert spectrum.argmax() * rate / len(x) == pytest.approx(300 * rate / 16_000, abs=1)


def test_first_audio_track_of_a_video(data_dir: Path) -> None:
    with av.open(str(data_dir / "speech.mp4")) as container:
        assert len(container.streams.video) == 1
    assert load_mono(data_dir / "speech.mp4").std() > 0.01


def test_a_video_without_sound() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        video = out.add_stream("mpeg4", rate=1, width=32, height=32)
        assert isinstance(video, av.VideoStream)
        video.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        out.mux(video.encode(frame))
        out.mux(video.encode(None))
    with pytest.raises(DecodeError, match="no audio track"):
        open_audio(file.getvalue(), name="silent.mp4")


def test_chained_ogg_streams_are_one(write: Callable[..., bytes], tone: NDArray[np.int16]) -> None:
    ogg = write(tone, 16_000, format="OGG", subtype="OPUS")
    with open_audio(ogg + ogg) as reader:
        samples = sum(map(len, reader.blocks()))
    assert samples / reader.info.sample_rate == pytest.approx(8, abs=0.01)


def test_floats_may_exceed_full_scale(write: Callable[..., bytes]) -> None:
    with open_audio(write(np.array([2.0, -3.0]), 16_000, subtype="FLOAT")) as reader:
        assert next(reader.blocks())[:, 0].tolist() == [2.0, -3.0]
        assert reader.warnings == []


def test_samples_that_are_no_numbers_become_zero(write: Callable[..., bytes]) -> None:
    x = np.zeros((40_000, 2))
    x[16_000:16_010, 1] = np.nan
    x[32_000] = np.inf
    x[32_001] = 0.5
    with open_audio(write(x, 16_000, subtype="FLOAT")) as reader:
        y = np.concatenate(list(reader.blocks()))
    assert np.isfinite(y).all()
    assert y[32_001].tolist() == [0.5, 0.5]
    assert reader.warnings == [
        "samples that are not finite numbers or absurdly large, the first at 1.00 s, "
        "were replaced by 0"
    ]


@pytest.mark.parametrize(("rate", "channels"), [(3999, 1), (192_001, 1), (16_000, 65)])
def test_limits(write: Callable[..., bytes], rate: int, channels: int) -> None:
    data = write(np.zeros((10, channels)), rate)
    with pytest.raises(UnsupportedAudio, match=str(rate if channels == 1 else channels)):
        open_audio(data)


@pytest.mark.parametrize(("rate", "channels"), [(4000, 1), (192_000, 1), (16_000, 64)])
def test_within_limits(write: Callable[..., bytes], rate: int, channels: int) -> None:
    with open_audio(write(np.zeros((10, channels)), rate)) as reader:
        assert next(reader.blocks()).shape == (10, channels)


def test_length_is_known_for_progress(data_dir: Path) -> None:
    for name in ("speech.wav", "speech.mp3", "speech.m4a", "speech.webm", "speech.opus"):
        with open_audio(data_dir / name) as reader:
            assert reader.length == pytest.approx(SECONDS * reader.info.sample_rate, rel=0.01)


def test_reading_may_be_interrupted(data_dir: Path) -> None:
    with open_audio(data_dir / "speech.wav") as reader:
        first = next(reader.blocks())
        rest: Iterator[NDArray[np.float32]] = reader.blocks()
        assert len(first) + sum(map(len, rest)) == round(SECONDS * 16_000)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("wav", "adpcm_swf"), ("avi", "libopencore_amrnb"), ("avi", "adpcm_g722")],
)
@pytest.mark.parametrize("wrap", [bytes, Pipe])
def test_packets_are_the_encoders(
    encode: Encode, tone: Tone, container: str, codec: str, wrap: Callable[[bytes], Any]
) -> None:
    """Where to cut, and when a packet is due, a container of no timestamps can't tell."""
    rate = {"adpcm_swf": 11_025, "libopencore_amrnb": 8000}.get(codec, 16_000)
    data = encode(container, codec, tone, rate)
    with open_audio(wrap(data)) as reader:
        x = np.concatenate(list(reader.blocks()))[:, 0]
    assert reader.warnings == []
    assert len(x) == pytest.approx(len(tone), abs=4096)
    middle = x[8000:40_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
    peak = int(spectrum.argmax())
    assert peak * rate / len(middle) == pytest.approx(300 * rate / 16_000, abs=1)
    assert spectrum[peak - 3 : peak + 4].sum() > 0.95 * spectrum.sum()
