"""Opens whatever holds audio."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from vad.audio.av_reader import AvDecoder
from vad.audio.bytestream import Replay, is_seekable, open_path
from vad.audio.channels import select_channels
from vad.audio.pcm import PcmDecoder, as_array
from vad.audio.plain_reader import ArrayDecoder, PcmFileDecoder
from vad.audio.reader import MAX_CHANNELS, AudioReader, Decoder, check_declared_rate
from vad.audio.resample import Resampler
from vad.audio.soundfile_reader import SoundfileDecoder
from vad.errors import DecodeError, ParameterError
from vad.frames import SAMPLE_RATE

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[Any]

_HEAD = 4096  # bytes by which a format is told
_FOR_FFMPEG = (b"fLaC", b"OggS", b"ID3")


def open_audio(
    source: Source,
    *,
    sample_rate: int | None = None,
    encoding: str | None = None,
    name: str | None = None,
) -> AudioReader:
    """Opens audio of any kind and decodes its first second.

    libsndfile decodes uncompressed audio, FFmpeg the rest; of a video, the first audio track.
    Memory does not grow with the length of the audio. A pipe is decoded while it arrives where
    its format allows; else it is copied to a temporary file first.

    Args:
        source: a path, the bytes of a file, a binary file object (read from its start if it is
            seekable, and never closed here), or an array, [samples] or [samples, channels], of
            floats in [-1, 1] or of integers scaled by their type.
        sample_rate: Hz; needed for arrays and with `encoding`, refused otherwise, since files
            with a header say their own.
        encoding: headerless mono PCM: pcm_s16le, pcm_f32le, mulaw or alaw.
        name: file name to go by where the source has none; its suffix tells headerless formats.

    Returns:
        A reader, to be closed.

    Raises:
        DecodeError: nothing in the source can be decoded.
        UnsupportedAudio: outside 4-192 kHz or 1-32 channels.
        ParameterError: an argument does not fit the source.
        OSError: the file does not exist, is a directory or may not be read.
    """
    if not isinstance(source, str) and hasattr(source, "__array__"):
        return _open_array(as_array(source), sample_rate, encoding, name or "audio")
    rate = _check_headerless(sample_rate, encoding)
    file, close, name = _as_file(source, name)
    try:
        return _open_file(file, name, close, encoding, rate)
    except BaseException:
        close()
        raise


def load_mono(
    source: Source,
    sample_rate: int = SAMPLE_RATE,
    *,
    source_rate: int | None = None,
    encoding: str | None = None,
    name: str | None = None,
) -> NDArray[np.float32]:
    """Decodes everything at once: channels averaged, resampled.

    Args:
        source, encoding, name: as for `open_audio`.
        sample_rate: of the result, Hz.
        source_rate: `open_audio`'s sample_rate, for arrays and headerless PCM.

    Returns:
        [samples] float32.

    Raises:
        As `open_audio`.
    """
    with open_audio(source, sample_rate=source_rate, encoding=encoding, name=name) as reader:
        resampler = Resampler(reader.info.sample_rate, sample_rate)
        blocks = [resampler.push(select_channels(block, "mix")) for block in reader.blocks()]
        return np.concatenate([*blocks, resampler.flush()])[:, 0]


def _open_array(
    array: NDArray[Any], sample_rate: int | None, encoding: str | None, name: str
) -> AudioReader:
    if encoding is not None:
        raise ParameterError("encoding", "is for bytes and files; an array's type says it all")
    if sample_rate is None:
        raise ParameterError("sample_rate", "an array needs one, in Hz")
    if array.ndim == 2 and len(array) <= MAX_CHANNELS < array.shape[1]:
        raise ParameterError(
            "audio", f"is {list(array.shape)}; transpose it to [samples, channels]"
        )
    return AudioReader(ArrayDecoder(array, check_declared_rate(sample_rate)), name)


def _check_headerless(sample_rate: int | None, encoding: str | None) -> int | None:
    if encoding is None:
        if sample_rate is not None:
            raise ParameterError(
                "sample_rate",
                "is for arrays and, with encoding, for headerless PCM; files say their own",
            )
        return None
    PcmDecoder(encoding)  # raises if it is unknown
    if sample_rate is None:
        raise ParameterError("sample_rate", "headerless PCM needs one, in Hz")
    return check_declared_rate(sample_rate)


def _as_file(source: object, name: str | None) -> tuple[BinaryIO, Callable[[], object], str]:
    """The source as a binary file, what closes it if it was opened here, and its name."""
    if isinstance(source, str | os.PathLike):
        file = open_path(source)
        return file, file.close, name or PurePath(source).name
    if isinstance(source, bytes | bytearray | memoryview):
        memory = io.BytesIO(source)
        return memory, memory.close, name or "audio"
    if not hasattr(source, "read"):
        raise ParameterError(
            "audio",
            f"must be a path, bytes, a binary file or a numpy array, not {type(source).__name__}",
        )
    own = getattr(source, "name", None)
    file = cast(BinaryIO, source)
    return file, _leave_open, name or (PurePath(own).name if isinstance(own, str) else "audio")


def _open_file(
    file: BinaryIO,
    name: str,
    close: Callable[[], object],
    encoding: str | None,
    sample_rate: int | None,
) -> AudioReader:
    if encoding is not None and sample_rate is not None:
        return _prime(PcmFileDecoder(file, encoding, sample_rate), name, close)
    if is_seekable(file):
        return _open_seekable(file, name, close)
    return _open_pipe(file, name)


def _leave_open() -> None:
    """A file object that the caller opened is the caller's to close."""


def _open_seekable(file: BinaryIO, name: str, close: Callable[[], object]) -> AudioReader:
    """Tries each decoder on a file until one gives audio."""
    file.seek(0)
    head = file.read(_HEAD)
    if not head:
        raise DecodeError(f"{name} is empty")
    failures: list[str] = []
    empty: AudioReader | None = None
    for make in _decoders(head, name):
        file.seek(0)
        try:
            reader = _prime(make(file), name, close)
        except DecodeError as error:
            failures.append(str(error))
            continue
        if not reader.is_empty:
            return reader
        empty = reader
    if empty is not None:
        return empty
    if head[4:8] == b"ftyp":
        failures.append("is its index, moov, missing? then the file was cut off")
    raise DecodeError(f"{name}: no audio can be decoded ({'; '.join(failures)})")


def _decoders(head: bytes, name: str) -> list[Callable[[BinaryIO], Decoder]]:
    """libsndfile first, but not for what FFmpeg reads better.

    libsndfile gives up a FLAC file at its first damaged frame, ignores all but the first of
    chained Ogg streams, and writes to standard error about MP3.
    """

    def ffmpeg(file: BinaryIO) -> Decoder:
        return AvDecoder(file, head, name)

    is_mp3 = head[0] == 0xFF and head[1:2] >= b"\xe0"
    return [ffmpeg] if is_mp3 or head.startswith(_FOR_FFMPEG) else [SoundfileDecoder, ffmpeg]


def _open_pipe(pipe: BinaryIO, name: str) -> AudioReader:
    replay = Replay(pipe)
    try:
        return _prime(AvDecoder(replay, replay.peek(_HEAD), name), name, replay.forget)
    except DecodeError:
        copy = replay.whole()  # for FFmpeg to seek in, or for libsndfile
    finally:
        replay.forget()
    try:
        return _open_seekable(copy, name, copy.close)
    except BaseException:
        copy.close()
        raise


def _prime(decoder: Decoder, name: str, close: Callable[[], object]) -> AudioReader:
    try:
        return AudioReader(decoder, name, close)
    except BaseException:
        decoder.close()
        raise
