"""convad as whisperX's VAD: `whisperx.load_model(…, vad_model=Vad())`.

Needs whisperx 3 (https://github.com/m-bain/whisperX).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whisperx.diarize import Segment
from whisperx.vads.vad import Vad as Base

from vad.detector import Detector
from vad.integrations.silero import SileroVAD, get_speech_timestamps


class Vad(Base):
    """Segments as whisperX's own Silero class asks for them, and as many.

    Args:
        vad_onset: speech starts at this probability.
        chunk_size: seconds; longer speech is cut.
        detector: whose network; None loads the default one.

    Raises:
        ValueError: an onset that is not between 0 and 1.
    """

    def __init__(
        self, vad_onset: float = 0.5, chunk_size: float = 30, detector: Detector | None = None
    ) -> None:
        super().__init__(vad_onset)
        self.vad_onset, self.chunk_size = vad_onset, chunk_size
        self._model = SileroVAD(detector)

    def __call__(self, audio: Mapping[str, Any], **_: Any) -> list[Segment]:
        """Where people speak in `audio["waveform"]`, of `audio["sample_rate"]` Hz, in seconds."""
        rate = audio["sample_rate"]
        found = get_speech_timestamps(
            audio["waveform"],
            self._model,
            self.vad_onset,
            rate,
            max_speech_duration_s=self.chunk_size,
        )
        return [Segment(each["start"] / rate, each["end"] / rate, "UNKNOWN") for each in found]

    @staticmethod
    def preprocess_audio(audio: Any) -> Any:
        """As it is."""
        return audio

    @staticmethod
    def merge_chunks(
        segments: list[Segment], chunk_size: float, onset: float = 0.5, offset: float | None = None
    ) -> list[dict[str, Any]]:
        """The base class's chunks of at most `chunk_size` seconds; none of no speech."""
        return Base.merge_chunks(segments, chunk_size, onset, offset) if segments else []
