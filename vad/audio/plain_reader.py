"""Audio without a header: arrays and raw PCM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from numpy.typing import NDArray

from vad.audio.bytestream import read_some
from vad.audio.pcm import PcmDecoder, Samples, as_float
from vad.audio.reader import BreaksOff, SourceInfo
from vad.audio.scale import check_scale

_FFMPEG_NAMES = {"mulaw": "pcm_mulaw", "alaw": "pcm_alaw"}


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
