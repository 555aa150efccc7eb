"""convad as the VAD of a pipecat pipeline.

    transport_or_aggregator_params = …(vad_analyzer=ConvadVADAnalyzer())

Needs pipecat-ai 1 (https://github.com/pipecat-ai/pipecat).
"""

from __future__ import annotations

import numpy as np
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams

from vad.detector import Detector
from vad.errors import ParameterError
from vad.integrations.silero.model import WINDOW_MS, SileroVAD


class ConvadVADAnalyzer(VADAnalyzer):
    """In place of pipecat's SileroVADAnalyzer, at any rate of which 32 ms are whole samples.

    Args:
        sample_rate: Hz; None takes the pipeline's.
        params: confidence, times and volume from which pipecat makes turns.
        detector: whose network; None loads the default one.
    """

    def __init__(
        self,
        *,
        sample_rate: int | None = None,
        params: VADParams | None = None,
        detector: Detector | None = None,
    ) -> None:
        super().__init__(sample_rate=sample_rate, params=params)
        self._model = SileroVAD(detector)

    def num_frames_required(self) -> int:
        """Samples of 32 ms, silero's chunk.

        Raises:
            ParameterError: a rate at which these are no whole number.
        """
        rate: int = self.sample_rate
        samples, rest = divmod(rate * WINDOW_MS, 1000)
        if rest or not samples:
            raise ParameterError(
                "sample_rate",
                f"must have whole chunks of {WINDOW_MS} ms, as 8000, 16000, 24000 and 48000 have; "
                f"it is {rate}",
            )
        return samples

    def voice_confidence(self, buffer: bytes) -> float:
        """The largest probability of the frames that became known with this chunk, 0 to 1.

        Args:
            buffer: 16-bit samples of one channel, as many as are required.
        """
        return float(self._model(np.frombuffer(buffer, "<i2"), self.sample_rate).item())
