"""Files that are cut off, broken or no audio at all."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vad.audio import load_mono, open_audio
from vad.audio.headers import (
    mp3_frame_bytes,
    mp3_samples,
    ogg_has_last_page,
    wav_data_bytes,
    wav_has_plain_samples,
)
from vad.errors import AudioError, DecodeError

Encode = Callable[..., bytes]
Tone = NDArray[np.int16]


class Unseekable:
    """The least that a pipe can do."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


def read(source: object) -> tuple[NDArray[np.float32], int, list[str]]:
    with open_audio(source, name="tone") as reader:  # type: ignore[arg-type]
        blocks = list(reader.blocks())
        x = np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)
        return x, reader.info.sample_rate, reader.warnings


@pytest.fixture(
    scope="module",
    params=["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "opus", "mp3",
            "mp3 without Xing", "m4a", "fragmented", "webm", "mka", "aac", "amr"],
)  # fmt: skip
def whole(request: pytest.FixtureRequest, write: Encode, encode: Encode, sentence: Tone) -> bytes:
    """Four seconds in each format that can tell that it is cut off."""
    bare = {"write_xing": "0", "id3v2_version": "0"}
    fragments = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}
    by_ffmpeg: dict[str, tuple[str, str, int, dict[str, str]]] = {
        "opus": ("ogg", "libopus", 48_000, {}),
        "mp3": ("mp3", "libmp3lame", 16_000, {}),
        "mp3 without Xing": ("mp3", "libmp3lame", 16_000, bare),
        "m4a": ("ipod", "aac", 16_000, {"movflags": "faststart"}),
        "fragmented": ("mp4", "aac", 16_000, fragments),
        "webm": ("webm", "libopus", 48_000, {}),
        "mka": ("matroska", "flac", 16_000, {}),
        "aac": ("adts", "aac", 16_000, {}),
        "amr": ("amr", "libopencore_amrnb", 8000, {}),
    }
    if request.param not in by_ffmpeg:
        return write(sentence, 16_000, format=request.param)
    container, codec, rate, options = by_ffmpeg[request.param]
    samples = np.repeat(sentence, 3) if rate == 48_000 else sentence[:: 16_000 // rate]
    return encode(container, codec, np.ascontiguousarray(samples), rate, **options)


def test_a_whole_file_gives_no_warning_and_one_cut_off_says_where(whole: bytes) -> None:
    for wrap in (bytes, Unseekable):
        x, rate, warnings = read(wrap(whole))
        assert len(x) / rate == pytest.approx(4, abs=0.13)
        assert warnings == []
        x, rate, warnings = read(wrap(whole[: len(whole) * 6 // 10 + 3]))
        seconds = len(x) / rate
        assert 0.9 < seconds < 3.1
        assert len(warnings) == 1
        assert warnings[0].startswith(f"audio breaks off at {seconds:.2f} s: ")


def test_the_truncated_fixture(data_dir: Path) -> None:
    with open_audio(data_dir / "truncated.mp3") as reader:
        seconds = sum(map(len, reader.blocks())) / 16_000
    assert seconds == pytest.approx(12.35, abs=0.05)
    assert reader.warnings == [f"audio breaks off at {seconds:.2f} s: the header promises 24.73 s"]


def test_what_is_there_is_as_in_the_whole_file(data_dir: Path) -> None:
    cut = load_mono(data_dir / "truncated.mp3")
    whole = load_mono(data_dir / "speech.mp3")
    np.testing.assert_allclose(cut[:-2000], whole[: len(cut) - 2000], atol=1e-6)


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("ipod", "aac", 16_000), ("flac", "flac", 16_000), ("matroska", "flac", 16_000),
     ("ogg", "libopus", 48_000), ("ogg", "libvorbis", 16_000), ("webm", "libopus", 48_000)],
)  # fmt: skip
def test_damage_in_the_middle_does_not_move_what_follows(
    write: Encode, encode: Encode, container: str, codec: str, rate: int
) -> None:
    # A click near the end of ten seconds of noise.
    x = np.random.default_rng(0).integers(-1000, 1000, 10 * rate).astype(np.int16)
    x[9 * rate : 9 * rate + 20] = 30_000
    if codec == "libvorbis":
        data = bytearray(write(x, rate, format="OGG", subtype="VORBIS"))
    else:
        data = bytearray(encode(container, codec, x, rate))
    start, size = len(data) * 3 // 10, len(data) // 15
    data[start : start + size] = bytes(size)
    y, _, warnings = read(bytes(data))
    assert np.abs(y[:, 0]).argmax() == pytest.approx(9 * rate, abs=0.2 * rate)
    assert [w.split(" ")[:4] for w in warnings] == [["audio", "missing,", "first", "at"]]


@pytest.mark.parametrize(("jump", "total"), [(0.1, 2.0), (30, 32.0), (90, 2.0), (86_400, 2.0)])
def test_timestamps_that_jump(jump: float, total: float) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        for start in (0, 1 + jump):
            frame = av.AudioFrame.from_ndarray(np.ones((1, 8000), np.int16), layout="mono")
            frame.sample_rate, frame.pts = 8000, round(8000 * start)
            frame.time_base = Fraction(1, 8000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    x, rate, warnings = read(file.getvalue())
    assert len(x) / rate == pytest.approx(total, abs=0.01)
    assert any("missing" in warning for warning in warnings) == (total > 2)


@pytest.mark.parametrize(("rate", "layout"), [(8000, "mono"), (16_000, "stereo")])
def test_a_change_of_format_is_converted(
    encode: Encode, tone: Tone, rate: int, layout: str
) -> None:
    other = np.repeat(tone, 2) if layout == "stereo" else tone[:: 16_000 // rate].copy()
    data = encode("adts", "aac", tone, 16_000) + encode("adts", "aac", other, rate, layout)
    x, _, warnings = read(data)
    assert len(x) / 16_000 == pytest.approx(8, abs=0.35)
    after = x[5 * 16_000 : 7 * 16_000, 0]
    assert np.abs(np.fft.rfft(after)).argmax() / 2 == pytest.approx(300, abs=1)
    assert np.abs(after).max() == pytest.approx(0.24, abs=0.03)
    what = f"{rate} Hz and {1 + (layout == 'stereo')} channel"
    [warning] = warnings
    assert warning.startswith("the audio changes at 4.")
    assert what in warning


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0xFFFF_FFFF])
@pytest.mark.parametrize("wrap", [bytes, Unseekable])
def test_a_wav_whose_length_was_unknown_is_whole(
    write: Encode, tone: Tone, size: int, wrap: Callable[[bytes], object]
) -> None:
    data = bytearray(write(tone, 16_000))
    data[4:8] = data[40:44] = size.to_bytes(4, "little")
    x, _, warnings = read(wrap(bytes(data)))
    assert np.array_equal(x[:, 0], tone.astype(np.float32) / 32768)
    assert warnings == []


def test_a_wav_without_samples_is_empty_not_broken(write: Encode) -> None:
    with open_audio(write(np.zeros(0), 16_000)) as reader:
        assert list(reader.blocks()) == []
        assert reader.warnings == []
    assert load_mono(write(np.zeros(0), 8000)).shape == (0,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "noise is empty"),
        (b"The quick brown fox\n" * 500, "noise: no audio can be decoded"),
        (b"<!DOCTYPE html><title>404</title>", "noise: no audio can be decoded"),
        (bytes(10_000), "noise: no audio can be decoded"),
        (random.Random(0).randbytes(50_000), "noise: no audio can be decoded"),
        (b"ID3" + bytes(2000), "noise: no audio can be decoded"),
        (b"\xff", "noise: no audio can be decoded"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "noise: no audio can be decoded"),
    ],
)
def test_what_is_no_audio_gets_one_clear_line(data: bytes, message: str) -> None:
    for wrap in (bytes, Unseekable):
        with pytest.raises(DecodeError, match=message) as caught:
            open_audio(wrap(data), name="noise")  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_a_codec_that_nobody_knows(write: Encode, tone: Tone) -> None:
    data = bytearray(write(tone, 16_000))
    data[20:22] = b"\x99\x99"
    with pytest.raises(DecodeError, match="the audio's codec is unknown"):
        open_audio(bytes(data))


def test_an_mp4_without_its_index(data_dir: Path) -> None:
    data = (data_dir / "speech.m4a").read_bytes()
    with pytest.raises(DecodeError, match="moov, missing"):
        open_audio(data[: len(data) // 2])


def test_a_header_and_nothing_more(write: Encode, tone: Tone) -> None:
    with pytest.raises(DecodeError, match=r"promises 4.00 s"):
        open_audio(write(tone, 16_000)[:44])


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile {name}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_playlist_opens_no_other_file(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, playlist: str
) -> None:
    monkeypatch.chdir(data_dir)
    text = playlist.format(name="speech.wav", path=data_dir / "speech.wav")
    with pytest.raises(DecodeError):
        open_audio(text.encode(), name="list.m3u8")


def test_nothing_is_written_to_the_terminal(
    data_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(0)
    for name in ("truncated.mp3", "speech.mp3", "speech.opus", "speech.m4a", "speech.webm"):
        data = bytearray((data_dir / name).read_bytes())
        for _ in range(20):
            data[chance.randrange(len(data))] ^= 0xFF
        try:
            read(bytes(data))
        except AudioError:
            continue
    assert capfd.readouterr() == ("", "")


def test_wav_header() -> None:
    head = b"RIFF\0\0\0\0WAVEfmt \x03\0\0\0abc\0data\x10\0\0\0"
    assert wav_data_bytes(head) == 16
    assert wav_data_bytes(head[:-4] + b"\xff\xff\xff\xff") is None
    assert wav_data_bytes(head[:-8]) is None
    assert wav_data_bytes(b"fLaC" + head) is None


@pytest.mark.parametrize(
    ("form", "subform", "plain"),
    [(1, 0, True), (3, 0, True), (7, 0, True), (0x5346, 0, False), (0x45, 0, False),
     (0xFFFE, 1, True), (0xFFFE, 0xFF, False)],
)  # fmt: skip
def test_wav_of_plain_samples(form: int, subform: int, plain: bool) -> None:
    rest = bytes(22) + subform.to_bytes(2, "little") + bytes(14)
    head = b"RIFF\0\0\0\0WAVEfmt \x28\0\0\0" + form.to_bytes(2, "little") + rest
    assert wav_has_plain_samples(head) is plain
    assert not wav_has_plain_samples(head[:20])
    assert not wav_has_plain_samples(b"fLaC" + head)


def test_ogg_pages(write: Encode, tone: Tone) -> None:
    ogg = write(tone, 16_000, format="OGG")
    last = ogg.rfind(b"OggS")
    assert ogg_has_last_page(ogg)
    for end in (len(ogg) - 1, last + 27, last + 10, last):
        assert not ogg_has_last_page(ogg[:end])


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"\xff\xfb\x90\x00", 417),  # MPEG-1, 128 kbit/s, 44.1 kHz
        (b"\xff\xfb\x92\x00", 418),  # padded
        (b"\xff\xf3\x48\xc4", 144),  # MPEG-2, 32 kbit/s, 16 kHz
        (b"\xff\xe3\x48\xc4", 288),  # MPEG-2.5, 32 kbit/s, 8 kHz
        (b"\xff\xfb\x00\x00", None),  # free bit rate
        (b"\xff\xfb\x9c\x00", None),  # reserved sampling rate
        (b"\xff\xfd\x90\x00", None),  # layer II
        (b"ID3\x04", None),
    ],
)
def test_mp3_headers(header: bytes, length: int | None) -> None:
    assert mp3_frame_bytes(header) == length


@pytest.mark.parametrize("flags", [1, 3, 5, 7, 9, 15])
def test_what_an_mp3_declares_is_found_behind_the_fields_it_has(flags: int) -> None:
    others = sum(size for bit, size in ((2, 4), (4, 100), (8, 4)) if flags & bit)
    frames, gap = (100).to_bytes(4, "big"), (576 << 12 | 1000).to_bytes(3, "big")
    tag = b"Info\0\0\0" + bytes([flags]) + frames + bytes(others) + b"LAME".ljust(21) + gap
    head = b"\xff\xf3\x48\xc4" + bytes(9) + tag  # MPEG-2, mono
    assert mp3_samples(head.ljust(300, b"\0")) == 100 * 576 - 576 - 1000


def test_a_size_beyond_all_memory_is_the_files_fault(data_dir: Path) -> None:
    with pytest.raises(DecodeError, match="more memory than there is"):
        open_audio(data_dir / "cases" / "huge_size.mp4")
