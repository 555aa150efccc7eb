"""convad as an activity detector of lhotse: recordings in, supervisions out.

Needs lhotse 1 (https://github.com/lhotse-speech/lhotse).
"""

from __future__ import annotations

from typing import Any

from lhotse.workflows.activity_detection import Activity, ActivityDetector
from numpy.typing import NDArray

from vad.detector import Detector
from vad.integrations.silero import SileroVAD, get_speech_timestamps


class Convad(ActivityDetector):
    """A supervision for each segment of speech of each channel: about as many as silero-vad's.

    Args:
        detector: whose network; None loads the default one.
        options: thresholds and durations, as for `vad.integrations.silero.get_speech_timestamps`.
    """

    def __init__(self, detector: Detector | None = None, **options: Any) -> None:
        self._model, self._options = SileroVAD(detector), options
        found = self._model.detector
        super().__init__("convad", found.sample_rate, found.device)

    def forward(self, track: NDArray[Any]) -> list[Activity]:
        """Start and duration in seconds of each segment of `track`, [samples] at 16 kHz."""
        rate = self._sampling_rate
        found = get_speech_timestamps(track, self._model, sampling_rate=rate, **self._options)
        return [
            Activity(each["start"] / rate, (each["end"] - each["start"]) / rate) for each in found
        ]
