"""One file on its way to the service: what is sent, and its segments as they come back."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, BinaryIO, TypedDict

from vad.client.answers import Detection, SegmentLines
from vad.config import Channels, Encoding
from vad.files import binary_file, open_path
from vad.segments import Segment

Audio = str | os.PathLike[str] | bytes | BinaryIO
Part = tuple[str, bytes | BinaryIO, str]


class Thresholds(TypedDict, total=False):
    """The parameters of `vad.Segmentation`, which says what they mean and their defaults."""

    threshold: float
    neg_threshold: float
    min_speech_duration_ms: int
    min_silence_duration_ms: int
    max_speech_duration_s: float
    speech_pad_ms: int
    start_pad_ms: int
    end_pad_ms: int


class FileParams(Thresholds, total=False):
    """The parameters of a file beside `Thresholds`.

    Attributes:
        encoding: of headerless PCM, beside its sample rate.
        channels: `mix` (the default), `separate` or the index of one.
        probabilities: keep them in the result.
        model: None takes the one that is loaded.
    """

    encoding: Encoding | None
    channels: Channels
    probabilities: bool
    model: str | None


class StreamParams(Thresholds, total=False):
    """The parameters of a stream beside `Thresholds`, which `update` changes.

    Attributes:
        encoding: of what will be sent; `pcm_s16le` by default.
        channels: up to 8, interleaved; of more than one, each event says its `channel`.
        probabilities: report them as events, too.
        model: None takes the one that is loaded.
    """

    encoding: Encoding
    channels: int
    probabilities: bool
    model: str | None


def file_query(sample_rate: int | None, format: str, params: FileParams) -> dict[str, str]:
    """The query of `POST /v1/vad` that says all this."""
    values: dict[str, Any] = {"sample_rate": sample_rate, "response_format": format, **params}
    values["include"] = "probabilities" if values.pop("probabilities", False) else None
    return as_query(values)


def stream_query(sample_rate: int, params: StreamParams) -> dict[str, Any]:
    """The query of a stream, in which rate and encoding are always said."""
    return {"encoding": "pcm_s16le", **params, "sample_rate": sample_rate}


def as_query(values: dict[str, Any]) -> dict[str, str]:
    """Values as a query has them; None is left out."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
        if value is not None
    }


class Upload:
    """Audio to be sent, more than once if need be.

    Args:
        audio: a path, bytes, or a binary file: from its start if it can seek, else as it comes.

    Attributes:
        name: of the file.
        repeatable: whether it can be sent again. What comes from a pipe can't.

    Raises:
        ParameterError: `audio` is none of these, or closed, or read asynchronously.
    """

    def __init__(self, audio: Audio) -> None:
        self.repeatable = True
        if isinstance(audio, str | os.PathLike):
            name: str | None = PurePath(audio).name
        elif isinstance(audio, bytes | bytearray | memoryview):
            audio, name = bytes(audio), None
        else:
            audio, name = binary_file(audio, "a path, bytes or a binary file")
            self.repeatable = bool(getattr(audio, "seekable", lambda: False)())
        # A name that is no UTF-8 cannot be sent as it is.
        self.name = (name or "audio").encode("utf-8", "replace").decode()
        self._audio: str | os.PathLike[str] | bytes | BinaryIO = audio

    @contextmanager
    def open(self) -> Iterator[dict[str, Part]]:
        """The `files` of one request.

        Raises:
            OSError: the file can't be read.
        """
        # The service goes by content, so no type is guessed here.
        media_type = "application/octet-stream"
        if isinstance(self._audio, str | os.PathLike):
            with open_path(self._audio) as file:
                yield {"file": (self.name, file, media_type)}
            return
        if not isinstance(self._audio, bytes) and self.repeatable:
            self._audio.seek(0)
        if isinstance(self._audio, _MEASURED) and self.repeatable:
            yield {"file": (self.name, self._audio, media_type)}
        else:
            yield {"file": (self.name, _Pipe(self._audio), media_type)}  # type: ignore[arg-type,dict-item]


# What httpx knows the length of. Of any other file it asks the system, which gives 0 for a pipe
# and the compressed length for `gzip.open`.
_MEASURED = (bytes, io.BytesIO, io.FileIO, io.BufferedReader, io.BufferedRandom)


class _Pipe:
    """A file without a length."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read


class SegmentIterator:
    """Gives each segment as it arrives; a context manager, for who doesn't read to the end.

    Attributes:
        result: everything, once the iteration is through.
    """

    def __init__(self, lines: Generator[str, None, None], name: str) -> None:
        self._lines = lines
        self._reader = SegmentLines(name)

    @property
    def result(self) -> Detection:
        return self._reader.result

    def __iter__(self) -> SegmentIterator:
        return self

    def __next__(self) -> Segment:
        for line in self._lines:
            if (segment := self._reader.feed(line)) is not None:
                return segment
        self._reader.finish()
        raise StopIteration

    def close(self) -> None:
        """Stops the work in the service, too."""
        self._lines.close()

    def __enter__(self) -> SegmentIterator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncSegmentIterator:
    """`SegmentIterator` for `async for` and `async with`."""

    def __init__(self, lines: AsyncGenerator[str, None], name: str) -> None:
        self._lines = lines
        self._reader = SegmentLines(name)

    @property
    def result(self) -> Detection:
        return self._reader.result

    def __aiter__(self) -> AsyncSegmentIterator:
        return self

    async def __anext__(self) -> Segment:
        async for line in self._lines:
            if (segment := self._reader.feed(line)) is not None:
                return segment
        self._reader.finish()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stops the work in the service, too."""
        await self._lines.aclose()

    async def __aenter__(self) -> AsyncSegmentIterator:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
