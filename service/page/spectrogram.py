"""A mel spectrogram as a picture's bytes, computed while the audio streams past."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vad.frames import HOP_MS, HOP_SAMPLES, SAMPLE_RATE

BANDS = 64
LOWEST_HZ, HIGHEST_HZ = 60.0, 7_600.0
FLOOR_DB = -100.0  # of full scale, which is byte 0; 0 dB is byte 255
_WINDOW = 400  # 25 ms
_FFT = 512


class Spectrogram:
    """Power in 64 mel bands, one column every `hop_ms`, each the mean over that time.

    Column i speaks of the audio from i · hop_ms on; the first band is the lowest.

    Args:
        hop_ms: a multiple of 10.
    """

    def __init__(self, hop_ms: int) -> None:
        self._per_column = hop_ms // HOP_MS
        # Windows lie around the middle of their 10 ms.
        self._audio = np.zeros((_WINDOW - HOP_SAMPLES) // 2, np.float32)
        self._frames = np.zeros((0, BANDS))
        window = np.hanning(_WINDOW + 1)[:-1]
        # A sine of full scale is at 0 dB.
        self._window = (2 * window / window.sum()).astype(np.float32)
        self._filters = _mel_filters()

    def push(self, audio: NDArray[np.float32]) -> bytes:
        """The columns that [samples] float32 at 16 kHz completed: 64 bytes each."""
        self._audio = np.concatenate([self._audio, audio])
        return self._columns(last=False)

    def finish(self) -> bytes:
        """The columns of the end, the last perhaps of less audio than the others."""
        self._audio = np.concatenate(
            [self._audio, np.zeros((_WINDOW - HOP_SAMPLES) // 2, np.float32)]
        )
        return self._columns(last=True)

    def _columns(self, *, last: bool) -> bytes:
        count = max(0, (len(self._audio) - _WINDOW) // HOP_SAMPLES + 1)
        if count:
            windows = np.lib.stride_tricks.sliding_window_view(self._audio, _WINDOW)
            spectrum = np.fft.rfft(
                windows[: count * HOP_SAMPLES : HOP_SAMPLES] * self._window, _FFT
            )
            power = np.square(np.abs(spectrum)) @ self._filters
            self._frames = np.concatenate([self._frames, power])
            self._audio = self._audio[count * HOP_SAMPLES :]
        whole = len(self._frames) // self._per_column * self._per_column
        ready, self._frames = self._frames[:whole], self._frames[whole:]
        found = ready.reshape(-1, self._per_column, BANDS).mean(axis=1)
        if last and len(self._frames):
            found = np.concatenate([found, self._frames.mean(axis=0, keepdims=True)])
        decibels = 10 * np.log10(np.maximum(found, 10 ** (FLOOR_DB / 10)))
        levels: NDArray[np.uint8] = np.rint(np.clip(1 - decibels / FLOOR_DB, 0, 1) * 255).astype(
            np.uint8
        )
        return levels.tobytes()


def _mel_filters() -> NDArray[np.float64]:
    """[spectrum, bands]: triangles of height 1 between centres that lie evenly on the mel scale.

    The scale is O'Shaughnessy's, 2595 log10(1 + f / 700) ("Speech communication", 1987).
    """
    low, high = (2595 * np.log10(1 + f / 700) for f in (LOWEST_HZ, HIGHEST_HZ))
    centres = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    frequencies = np.arange(_FFT // 2 + 1) * SAMPLE_RATE / _FFT
    rising = (frequencies[:, None] - centres[:-2]) / np.diff(centres)[:-1]
    falling = (centres[2:] - frequencies[:, None]) / np.diff(centres)[1:]
    filters: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    # The lowest bands are narrower than a bin: each has at least the nearest.
    nearest = np.abs(frequencies[:, None] - centres[1:-1]).argmin(axis=0)
    filters[nearest, np.arange(BANDS)] = np.maximum(filters[nearest, np.arange(BANDS)], 0.5)
    return filters
