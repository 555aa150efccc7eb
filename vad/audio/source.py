"""Opens whatever holds audio."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vad.audio.bytestream import Replay, is_seekable, read_some
from vad.audio.channels import select_channels
from vad.audio.ffmpeg import AvDecoder, OutOfMemory, Unrecognised
from vad.audio.headers import begins_with_frames, find_container, id3_bytes
from vad.audio.pcm import ENCODINGS, PcmDecoder, Samples, as_array, as_float
from vad.audio.reader import (
    MAX_CHANNELS,
    AudioReader,
    BreaksOff,
    Decoder,
    SourceInfo,
    check_declared_rate,
)
from vad.audio.resample import Resampler
from vad.audio.scale import check_scale
from vad.errors import DecodeError, ParameterError
from vad.files import binary_file, open_path
from vad.frames import SAMPLE_RATE

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[Any]

_HEAD = 4096  # bytes by which a format is told
_SEARCHED = 1 << 20  # bytes at the beginning in which a container may begin
_FFMPEG_NAMES = {"mulaw": "pcm_mulaw", "alaw": "pcm_alaw"}


def open_audio(
    source: Source,
    *,
    sample_rate: int | None = None,
    encoding: str | None = None,
    name: str | None = None,
) -> AudioReader:
    """Opens audio of any kind and decodes its first second.

    FFmpeg decodes it, by its content whatever its name; of a video, the first audio track.
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
        UnsupportedAudio: outside 4-192 kHz or 1-64 channels.
        ParameterError: an argument does not fit the source.
        OSError: the file does not exist, is a directory or may not be read.
    """
    if not isinstance(source, str) and hasattr(source, "__array__"):
        return _open_array(as_array(source), sample_rate, encoding, name or "audio")
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        binary_file(source)  # what cannot be audio is told before what does not fit it
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


def read(
    source: Source, *, sample_rate: int | None = None, encoding: str | None = None
) -> tuple[NDArray[np.float32], int]:
    """Decodes everything at once, as it is.

    Args:
        source: a path, the bytes of a file, a binary file object, or an array, [samples] or
            [samples, channels].
        sample_rate: Hz; needed for arrays and with `encoding`.
        encoding: headerless mono PCM: pcm_s16le, pcm_f32le, mulaw or alaw.

    Returns:
        [samples] float32, of several channels [samples, channels], and the sample rate in Hz:
        what `Detector.detect` and `Segments.cut` take.

    Raises:
        DecodeError: nothing in the source can be decoded.
        UnsupportedAudio: its rate or number of channels is out of range.
        ParameterError: an argument does not fit the source.
        OSError: the file does not exist, is a directory or may not be read.
    """
    with open_audio(source, sample_rate=sample_rate, encoding=encoding) as reader:
        channels = reader.info.channels
        blocks = [np.zeros((0, channels), np.float32), *reader.blocks()]
        samples = np.concatenate(blocks)
        return samples[:, 0] if channels == 1 else samples, reader.info.sample_rate


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
    if encoding not in ENCODINGS:
        raise ParameterError(
            "encoding",
            f"must be one of {', '.join(ENCODINGS)}; files of other kinds, such as MP3, AAC and "
            "FLAC, are told by their content: leave encoding and sample_rate out",
        )
    if sample_rate is None:
        raise ParameterError("sample_rate", "headerless PCM needs one, in Hz")
    return check_declared_rate(sample_rate)


def _as_file(source: object, name: str | None) -> tuple[BinaryIO, Callable[[], object], str]:
    """The source as a binary file, what closes it if it was opened here, and its name."""
    if isinstance(source, str | os.PathLike):
        file = open_path(source)
        return file, file.close, name or PurePath(source).name
    if isinstance(source, bytes | bytearray | memoryview):
        memory = io.BytesIO(bytes(source))
        return memory, memory.close, name or "audio"
    file, own = binary_file(source)
    return file, _leave_open, name or own or "audio"


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
    start, head = 0, _read_at(file, 0)
    if not head:
        raise DecodeError(f"{name} is empty")
    while tag := id3_bytes(head):
        start += tag
        head = _read_at(file, start)
    found = find_container(head)
    if found and not head[:found].strip(b"\0"):
        start, head = start + found, _read_at(file, start + found)
    try:
        return _open_at(file, start, head, name, close)
    except Unrecognised as error:
        return _open_within(file, start, name, close, error)
    except OutOfMemory:
        raise
    except DecodeError as error:
        raise _nothing(name, error) from None


def _open_within(
    file: BinaryIO, start: int, name: str, close: Callable[[], object], error: DecodeError
) -> AudioReader:
    """Tries where a container begins behind bytes of something else."""
    file.seek(start)
    data = file.read(_SEARCHED)
    at = 0
    for _ in range(3):
        if (found := find_container(data, at + 1)) is None:
            break
        at = found
        try:
            return _open_at(file, start + at, data[at : at + _HEAD], name, close)
        except DecodeError:
            continue
    hint = "if it is PCM without a header, say so by encoding and sample_rate"
    if data[4:8] == b"ftyp":
        hint = "is its index, moov, missing? then the file was cut off"
    raise _nothing(name, error, hint)


def _nothing(name: str, *reasons: object) -> DecodeError:
    return DecodeError(f"{name}: no audio can be decoded ({'; '.join(map(str, reasons))})")


def _read_at(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    return file.read(_HEAD)


def _open_at(
    file: BinaryIO, start: int, head: bytes, name: str, close: Callable[[], object]
) -> AudioReader:
    return _prime(AvDecoder(file, head, name, start), name, close)


def _open_pipe(pipe: BinaryIO, name: str) -> AudioReader:
    replay = Replay(pipe)
    try:
        head = replay.peek(_HEAD)
        while tag := id3_bytes(head):
            replay.skip(tag)
            head = replay.peek(_HEAD)
        found = find_container(head)
        if found and not head[:found].strip(b"\0"):
            replay.skip(found)
            head = replay.peek(_HEAD)
        return _prime(AvDecoder(replay, head, name), name, replay.forget)
    except DecodeError:
        copy = replay.whole()  # for FFmpeg to seek in
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


class ArrayDecoder:
    """A numpy array, scaled second by second."""

    def __init__(self, array: NDArray[Any], sample_rate: int) -> None:
        channels = as_float(array[:0] if array.ndim else array).shape[1]
        check_scale(array)
        self.info = SourceInfo("array", str(array.dtype), sample_rate, channels)
        self.length: int | None = len(array)
        self.warnings: list[str] = []
        self._array = array

    def blocks(self) -> Iterator[Samples]:
        for start in range(0, len(self._array), self.info.sample_rate):
            yield as_float(self._array[start : start + self.info.sample_rate])

    def close(self) -> None:
        pass


class PcmFileDecoder:
    """Headerless mono PCM from a file or pipe."""

    def __init__(self, file: BinaryIO, encoding: str, sample_rate: int) -> None:
        self._pcm = PcmDecoder(encoding)
        codec = _FFMPEG_NAMES.get(encoding, encoding)
        self.info = SourceInfo("raw", codec, sample_rate, 1)
        self.length: int | None = None
        self.warnings: list[str] = []
        self._file = file

    def blocks(self) -> Iterator[Samples]:
        second = self.info.sample_rate * self._pcm.sample_bytes
        received = 0
        while data := read_some(self._file, second):
            head = data[:_HEAD]
            if not received and (find_container(head) == 0 or begins_with_frames(head)):
                self.warnings.append(
                    "it begins as a file that tells its own format, and is heard as bare samples "
                    "here: leave encoding and sample_rate out"
                )
            received += len(data)
            samples = self._pcm.push(data)
            if len(samples):
                yield samples[:, None]
        if not received:
            raise BreaksOff("there are no bytes")
        if pending := self._pcm.pending:
            raise BreaksOff(f"the last sample has {pending} of {self._pcm.sample_bytes} bytes")

    def close(self) -> None:
        pass
