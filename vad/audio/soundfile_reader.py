"""WAV, AIFF, AU, CAF and other mostly uncompressed audio through libsndfile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import numpy as np
import soundfile as sf

from vad.audio.integrity import NO_PROMISE
from vad.audio.pcm import Samples
from vad.audio.reader import BreaksOff, SourceInfo
from vad.errors import DecodeError

_CONTAINERS = {"WAVEX": "wav", "RF64": "wav"}
_CODECS = {
    "PCM_U8": "pcm_u8",
    "PCM_S8": "pcm_s8",
    "ULAW": "pcm_mulaw",
    "ALAW": "pcm_alaw",
    "IMA_ADPCM": "adpcm_ima_wav",
    "MS_ADPCM": "adpcm_ms",
    "GSM610": "gsm_ms",
}
_PCM = {"PCM_16": "s16", "PCM_24": "s24", "PCM_32": "s32", "FLOAT": "f32", "DOUBLE": "f64"}
_BIG_ENDIAN = ("AIFF", "AU", "CAF", "SVX", "IRCAM")

# libsndfile quietly takes what is there of a chunk that is shorter than its header says; only
# its log tells.
_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", re.M)
_SHORT_RF64 = re.compile(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)")


class _Guarded:
    """A file that raises nothing where only libsndfile, which is C, could catch it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: Exception | None = None

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except Exception as error:
            self.error = error
            return b""

    def seek(self, offset: int, whence: int = 0) -> None:
        # A broken header may ask for a place before the start; libsndfile notices by tell().
        with suppress(ValueError, OSError):
            self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def check(self) -> None:
        """Raises what read() caught."""
        if self.error is not None:
            raise self.error


class SoundfileDecoder:
    """A seekable binary file.

    Raises:
        DecodeError: libsndfile refuses it.
    """

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        self._file = _Guarded(file)
        try:
            self._sound = sf.SoundFile(self._file)
        except (sf.SoundFileError, ValueError, TypeError) as error:
            self._file.check()
            raise DecodeError(_reason(error)) from None
        self.info = SourceInfo(
            _CONTAINERS.get(self._sound.format, self._sound.format.lower()),
            _codec(self._sound),
            self._sound.samplerate,
            self._sound.channels,
        )
        # Formats that do not tell their length get the largest number.
        frames = self._sound.frames
        self.length: int | None = frames if 0 <= frames < 1 << 62 else None
        self.warnings: list[str] = []

    def blocks(self) -> Iterator[Samples]:
        read = 0
        broken = None
        while broken is None:
            block = np.empty((self.info.sample_rate, self.info.channels), np.float32)
            try:
                count = len(self._sound.read(out=block))
            except sf.SoundFileError as error:
                # What precedes the damage has been decoded into `block`.
                count, broken = self._sound.tell() - read, _reason(error)
            self._file.check()
            if not count:
                break
            read += count
            yield block[:count]
        broken = broken or self._shortfall(read)
        if broken:
            raise BreaksOff(broken)

    def close(self) -> None:
        self._sound.close()

    def _shortfall(self, read: int) -> str | None:
        """Why the audio that ended quietly is not all there, or None."""
        if self.length is not None and read < self.length:
            return f"the header promises {self.length / self.info.sample_rate:.2f} s"
        log = self._sound.extra_info
        if found := _SHORT_CHUNK.search(log):
            promised, there = (int(number) for number in found.groups())
            if there < promised < NO_PROMISE:
                return f"the header promises {promised} bytes of audio, {there} are there"
        if found := _SHORT_RF64.search(log):
            return f"the header promises {found[2]} samples, {found[1]} are there"
        return None


def _codec(sound: sf.SoundFile) -> str:
    if kind := _PCM.get(sound.subtype):
        big = sound.endian == "BIG" or (sound.endian == "FILE" and sound.format in _BIG_ENDIAN)
        return f"pcm_{kind}{'be' if big else 'le'}"
    return _CODECS.get(str(sound.subtype), str(sound.subtype).lower())


def _reason(error: Exception) -> str:
    text = error.error_string if isinstance(error, sf.LibsndfileError) else str(error)
    return f"libsndfile: {text.strip().rstrip('.')}"
