"""Audio into a file, through FFmpeg; its name tells the format."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.audio.stream import AudioStream

from vad.audio.pcm import Samples
from vad.errors import ParameterError

# By suffix: FFmpeg's container and codec.
WRITABLE = {
    ".wav": ("wav", "pcm_s16le"),
    ".flac": ("flac", "flac"),
    ".mp3": ("mp3", "libmp3lame"),
    ".m4a": ("ipod", "aac"),
    ".ogg": ("ogg", "libopus"),
    ".opus": ("ogg", "libopus"),
    ".webm": ("webm", "libopus"),
}


class AudioWriter:
    """A file being written, which is there once it is whole; a context manager.

    An exception in the context leaves what was there before.

    Args:
        path: its suffix is one of `WRITABLE`. WAV and FLAC get 16 bits a sample.
        sample_rate: of the samples, Hz; a format that lacks it gets the nearest that it has.
        channels: how many.

    Raises:
        ParameterError: another suffix, or a format that cannot hold so many channels.
        OSError: the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], sample_rate: int, channels: int) -> None:
        self._path = Path(os.path.realpath(path))
        suffix = self._path.suffix.lower()
        if suffix not in WRITABLE:
            known = ", ".join(WRITABLE)
            raise ParameterError("output", f"{self._path.name} must end in one of {known}")
        container, codec = WRITABLE[suffix]
        self._rate, self._channels = sample_rate, channels
        self._layout = {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
        self._partial = self._path.with_name(f".{secrets.token_hex(4)}.partial{suffix}")
        options = {"rf64": "auto"} if container == "wav" else {}
        with self._named():
            self._container = av.open(str(self._partial), "w", format=container, options=options)
        try:
            stream = self._container.add_stream(
                codec, rate=_nearest(codec, sample_rate), layout=self._layout
            )
            assert isinstance(stream, AudioStream)
            self._stream = stream
            self._stream.codec_context.open()
        except (av.FFmpegError, ValueError) as error:
            self._discard()
            told = f"{suffix} cannot hold {channels} channels at {sample_rate} Hz ({error})"
            raise ParameterError("output", told) from error

    def write(self, samples: Samples) -> None:
        """Appends [samples, channels] float32."""
        if not len(samples):
            return
        # One plane: PyAV loses its way in eight and more.
        packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=self._layout)
        frame.sample_rate = self._rate
        with self._named():
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Ends the file and puts it in its place."""
        try:
            with self._named():
                self._container.mux(self._stream.encode(None))
                self._container.close()
                os.replace(self._partial, self._path)
        except BaseException:
            self._discard()
            raise

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._discard()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the system name the file that was asked for."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def _discard(self) -> None:
        with suppress(av.FFmpegError):  # such as for a full disk, which has been told
            self._container.close()
        self._partial.unlink(missing_ok=True)


def _nearest(codec: str, sample_rate: int) -> int:
    rates = av.Codec(codec, "w").audio_rates
    return min(rates, key=lambda rate: (abs(rate - sample_rate), rate)) if rates else sample_rate
