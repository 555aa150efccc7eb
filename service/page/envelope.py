"""A waveform's outline, computed while the audio streams past."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vad.frames import FRAMES_PER_SECOND

VALUES = 3  # least sample, greatest sample, root mean square
_SCALE = 32767


class Envelope:
    """Least sample, greatest sample and root mean square of every 10 ms of each channel.

    Args:
        sample_rate: of the audio, Hz. Bucket i holds the samples from i / 100 s on, and before
            (i + 1) / 100 s.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._buckets = 0  # that are complete
        self._held: list[NDArray[np.float32]] = []
        self._held_samples = 0
        self._start = 0  # sample with which what is held begins

    @property
    def seconds_held(self) -> float:
        """How much audio `take` would look at."""
        return self._held_samples / self._rate

    def push(self, block: NDArray[np.float32]) -> None:
        """Takes the next samples, [samples, channels] float32."""
        self._held.append(block)
        self._held_samples += len(block)

    def take(self, *, last: bool = False) -> NDArray[np.int16]:
        """The buckets that have become complete since the last call.

        Args:
            last: the audio has ended, so that the last bucket is complete too.

        Returns:
            [channels, buckets, 3] int16: full scale is 32767, what lies beyond is clipped.
        """
        if not self._held_samples:
            return np.zeros((0, 0, VALUES), np.int16)
        audio = np.concatenate(self._held)
        end = self._start + len(audio)
        until = end * FRAMES_PER_SECOND // self._rate
        if last and self._first_sample(until) < end:
            until += 1
        firsts = np.array([self._first_sample(i) for i in range(self._buckets, until + 1)])
        bounds = np.minimum(firsts - self._start, len(audio))
        rest = audio[bounds[-1] :]
        self._held, self._held_samples = [rest], len(rest)
        self._start += int(bounds[-1])
        self._buckets = until
        return _outline(audio[: bounds[-1]], bounds)

    def _first_sample(self, bucket: int) -> int:
        return -(-bucket * self._rate // FRAMES_PER_SECOND)


def _outline(audio: NDArray[np.float32], bounds: NDArray[np.int64]) -> NDArray[np.int16]:
    if len(bounds) == 1:
        return np.zeros((audio.shape[1], 0, VALUES), np.int16)
    firsts = bounds[:-1]
    least = np.minimum.reduceat(audio, firsts)
    greatest = np.maximum.reduceat(audio, firsts)
    squares = np.add.reduceat(np.square(audio, dtype=np.float64), firsts)
    rms = np.sqrt(squares / np.diff(bounds)[:, None])
    values = np.stack([least, greatest, rms], axis=2).transpose(1, 0, 2)
    scaled = np.rint(np.clip(values, -1, 1) * _SCALE)
    return np.ascontiguousarray(scaled, np.int16)
