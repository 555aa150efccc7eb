"""Starts and ends in a stream of chunks."""

from __future__ import annotations

from typing import Any

from vad.errors import ParameterError
from vad.integrations.silero.arrays import rows
from vad.integrations.silero.model import WINDOW_MS
from vad.integrations.silero.values import check, rate_of


class VADIterator:
    """Tells of starts and ends of speech in a stream, as silero-vad's.

    Positions are the instants themselves: what the model's probabilities come late is taken off.

    Args:
        model: what `load_silero_vad` gives; its stream is started anew.
        threshold: speech starts at this probability and may end below 0.15 less.
        sampling_rate: 8000 or 16000 Hz, or any other of which 32 ms are whole samples.
        min_silence_duration_ms: that ends speech.
        speech_pad_ms: taken from starts and added to ends.

    Raises:
        ParameterError: one of these is no number or out of range.
    """

    def __init__(
        self,
        model: Any,
        threshold: float = 0.5,
        sampling_rate: int = 16000,
        min_silence_duration_ms: int = 100,
        speech_pad_ms: int = 30,
    ) -> None:
        check(
            threshold=threshold,
            min_silence_duration_ms=min_silence_duration_ms,
            speech_pad_ms=speech_pad_ms,
        )
        sampling_rate = rate_of("sampling_rate", sampling_rate)
        if sampling_rate * WINDOW_MS % 1000:
            raise ParameterError(
                "sampling_rate", f"has no whole chunks of {WINDOW_MS} ms: {sampling_rate} Hz"
            )
        self.model = model
        self.threshold = threshold
        self.sampling_rate = sampling_rate
        self.min_silence_samples = sampling_rate * min_silence_duration_ms / 1000
        self.speech_pad_samples = sampling_rate * speech_pad_ms / 1000
        self._late = sampling_rate * getattr(model, "delay_ms", 0) / 1000
        self.reset_states()

    def reset_states(self) -> None:
        """The next chunk is the first of another stream."""
        self.model.reset_states()
        self.triggered = False
        self.temp_end = 0
        self.current_sample = 0

    def __call__(
        self, x: Any, return_seconds: bool = False, time_resolution: int = 1
    ) -> dict[str, Any] | None:
        """The next chunk, of 32 ms.

        Args:
            x: [samples] or [1, samples].
            return_seconds: positions in seconds, not in samples.
            time_resolution: decimal places of these.

        Returns:
            `{"start": …}` or `{"end": …}` where it shows one, else None.

        Raises:
            ParameterError: as the model's.
        """
        check(time_resolution=time_resolution)
        chunk = rows(x)
        if len(chunk) != 1:
            raise ParameterError("x", f"must be one stream, not a batch of {len(chunk)}")
        probability = float(self.model(x, self.sampling_rate).item())
        begins, self.current_sample = self.current_sample, self.current_sample + chunk.shape[1]
        if probability >= self.threshold:
            self.temp_end = 0
            if self.triggered:
                return None
            self.triggered = True
            at = begins - self.speech_pad_samples
            return {"start": self._position(at, return_seconds, int(time_resolution))}
        if not self.triggered or probability >= self.threshold - 0.15:
            return None
        self.temp_end = self.temp_end or self.current_sample
        # One chunk more, as in `get_speech_timestamps`.
        if self.current_sample - self.temp_end < self.min_silence_samples + chunk.shape[1]:
            return None
        at = self.temp_end - chunk.shape[1] + self.speech_pad_samples
        self.temp_end, self.triggered = 0, False
        return {"end": self._position(at, return_seconds, int(time_resolution))}

    def _position(self, sample: float, seconds: bool, places: int) -> float:
        sample = max(0, sample - self._late)
        return round(sample / self.sampling_rate, places) if seconds else int(sample)
