"""What every source of audio looks like once it is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vad.audio.pcm import Samples
from vad.audio.scale import Screen
from vad.errors import DecodeError, ParameterError, UnsupportedAudio

MIN_RATE, MAX_RATE = 4_000, 192_000  # Hz
MAX_CHANNELS = 64


@dataclass(frozen=True)
class SourceInfo:
    """What the audio came in.

    Attributes:
        container, codec: FFmpeg's names, such as "wav" and "pcm_s16le"; an array's container
            is "array" and its codec the type of its elements.
        sample_rate: Hz.
        channels: how many.
        start: seconds from the container's start, from which all times count, to the audio
            track's own; of a video whose sound begins later, for instance.
    """

    container: str
    codec: str
    sample_rate: int
    channels: int
    start: float = 0.0

    def check(self) -> None:
        """Raises UnsupportedAudio outside 4-192 kHz or 1-64 channels."""
        if not MIN_RATE <= self.sample_rate <= MAX_RATE:
            raise UnsupportedAudio(
                f"the audio has {self.sample_rate} samples a second; "
                f"{MIN_RATE} to {MAX_RATE} are supported"
            )
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise UnsupportedAudio(
                f"the audio has {self.channels} channels; 1 to {MAX_CHANNELS} are supported"
            )


def check_rate(param: str, value: object) -> int:
    """A sample rate that a caller gave, or ParameterError naming `param`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ParameterError(param, f"must be a whole number of Hz, not {value!r}")
    if not MIN_RATE <= value <= MAX_RATE:
        raise ParameterError(param, f"must be {MIN_RATE} to {MAX_RATE} Hz, not {value}")
    return int(value)


def check_declared_rate(sample_rate: object) -> int:
    """Checks a sample rate that a caller gave as `sample_rate`; see `check_rate`."""
    return check_rate("sample_rate", sample_rate)


class BreaksOff(Exception):
    """A decoder's last word when the audio stops before its end; says why."""


class Decoder(Protocol):
    """One way of decoding.

    Attributes:
        length: samples, where that is known or estimated before the end.
        warnings: grows while blocks are read.
    """

    info: SourceInfo
    length: int | None
    warnings: list[str]

    def blocks(self) -> Iterator[Samples]:
        """Yields [samples, channels] float32, about a second each; may raise BreaksOff."""
        ...

    def close(self) -> None: ...


def cut(
    blocks: Iterable[Samples], spans: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, Samples]]:
    """The spans of a stream of blocks: of each, what lies in each block, with its number.

    Args:
        blocks: [samples, channels] each.
        spans: first sample and the one after the last; in order, without overlap.
    """
    position = number = 0
    for block in blocks:
        end = position + len(block)
        while number < len(spans) and spans[number][0] < end:
            first, last = spans[number]
            part = block[max(0, first - position) : last - position]
            if len(part):
                yield number, part
            if last > end:
                break
            number += 1
        position = end


class AudioReader:
    """Audio being decoded, about a second at a time; a context manager.

    Attributes:
        info: container, codec, rate and channels.
        name: the file's name without its folder, or what `open_audio` was told.
        length: samples per channel, where that is known beforehand; may be an estimate, for
            showing progress only.
        samples: per channel, handed out so far.
        warnings: what was wrong with the audio so far; complete once all blocks are read.
    """

    def __init__(
        self, decoder: Decoder, name: str, close_source: Callable[[], object] | None = None
    ) -> None:
        """Decodes the first block, so that what cannot be decoded is known at once.

        Raises:
            DecodeError: no sample could be decoded.
            UnsupportedAudio: the rate or the number of channels is out of range.
        """
        decoder.info.check()
        self.info = decoder.info
        self.name = name
        self.length = decoder.length
        self.samples = 0
        self.warnings = decoder.warnings
        self._decoder = decoder
        self._close_source = close_source
        self._decoded = decoder.blocks()
        self._screen = Screen(self.info.sample_rate, self.warnings)
        self._first = self._decode()

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to decode although nothing was wrong."""
        return self._first is None and not self.samples

    def blocks(self) -> Iterator[Samples]:
        """Yields [samples, channels] float32 at the source's rate; nominal range [-1, 1]."""
        block, self._first = self._first, None
        while block is not None or (block := self._decode()) is not None:
            self.samples += len(block)
            yield block
            block = None

    def close(self) -> None:
        self._decoder.close()
        if self._close_source is not None:
            self._close_source()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _decode(self) -> Samples | None:
        try:
            block = next(self._decoded, None)
        except BreaksOff as reason:
            if not self.samples:
                raise DecodeError(str(reason)) from None
            self.warnings.append(f"audio breaks off at {self._seconds():.2f} s: {reason}")
            return None
        return None if block is None else self._screen.push(block)

    def _seconds(self) -> float:
        return self.samples / self.info.sample_rate
