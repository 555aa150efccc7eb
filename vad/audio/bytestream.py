"""Bytes from paths, memory, files and pipes."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import BinaryIO, cast

from vad.errors import ParameterError

_IN_MEMORY = 1 << 20  # bytes of a pipe that are kept before a temporary file is used
_CHUNK = 1 << 16
_TAIL = 1 << 17  # bytes: at least headers.OGG_TAIL


def is_seekable(file: BinaryIO) -> bool:
    """Whether `file` can be rewound."""
    return bool(getattr(file, "seekable", lambda: False)())


def read_some(file: BinaryIO, size: int) -> bytes:
    """What has arrived, at most `size` bytes; empty at the end only.

    Raises:
        ParameterError: the file gives no bytes.
    """
    read = getattr(file, "read1", file.read)
    try:
        data = read(size)
    except TypeError as error:
        raise ParameterError("audio", f"is no binary file: {error}") from error
    if not isinstance(data, bytes | bytearray | memoryview | None):
        kind = type(data).__name__
        raise ParameterError(
            "audio", f"must be a binary file, whose read() gives bytes, not {kind}"
        )
    return bytes(data or b"")


def last_bytes(file: BinaryIO, size: int) -> bytes:
    """The end of a seekable file; moves its position."""
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - size))
    return file.read(size)


class Replay:
    """A pipe whose beginning is kept until a decoder has been found for it.

    A decoder that needs no seek() reads the pipe as it comes, and `forget` ends the keeping
    once it succeeds. If none does, `whole` gives a seekable copy of everything, in memory if it
    is small and in a temporary file if not.
    """

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._kept: BinaryIO | None = spool()
        self._ahead = b""
        self.tail = b""  # the last bytes read

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, or all if there are fewer, which `read` will give again."""
        # More than that where it has arrived: what is read ahead is what `read` gives at once.
        while len(self._ahead) < size and (data := read_some(self._pipe, max(size, _CHUNK))):
            self._ahead += data
        return self._ahead[:size]

    def read(self, size: int, /) -> bytes:
        data = self._ahead[:size] or read_some(self._pipe, size)
        self._ahead = self._ahead[len(data) :]
        self.tail = (self.tail + data)[-_TAIL:]
        if self._kept is not None:
            self._kept.write(data)
        return data

    def skip(self, size: int) -> None:
        """Reads so many bytes, which no decoder is to see."""
        while size > 0 and (data := self.read(min(size, _CHUNK))):
            size -= len(data)

    def unread(self, size: int) -> None:
        """Gives the last `size` bytes again, of those that `tail` holds."""
        if self._kept is not None:
            self._kept.truncate(self._kept.seek(-size, os.SEEK_CUR))
        split = len(self.tail) - size
        self._ahead, self.tail = self.tail[split:] + self._ahead, self.tail[:split]

    def forget(self) -> None:
        """Keeps no more than the decoder does; `whole` is no longer possible."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def whole(self) -> BinaryIO:
        """Reads the pipe to its end; the caller closes the copy."""
        copy, self._kept = self._kept, None
        if copy is None:
            raise ValueError("the beginning of the pipe has not been kept")
        try:
            copy.write(self._ahead)
            shutil.copyfileobj(self._pipe, copy, _CHUNK)
        except BaseException:
            copy.close()
            raise
        return copy


def spool() -> BinaryIO:
    """A file that is in memory while it is small; it is gone once it is closed."""
    # The wrapper has every method of a binary file; typeshed just does not derive it from one.
    return cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY))
