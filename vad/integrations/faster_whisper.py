"""convad chooses what faster-whisper hears: by `clip_timestamps`, or as its `vad_filter`.

Needs faster-whisper 1 (https://github.com/SYSTRAN/faster-whisper).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import faster_whisper.transcribe
import faster_whisper.vad

from vad.detector import Detector
from vad.errors import ParameterError
from vad.integrations.silero import SileroVAD, get_speech_timestamps

RATE = 16_000  # Hz: Whisper's


def clips(
    audio: Any, detector: Detector | None = None, *, chunk_s: float = 30
) -> list[dict[str, float]]:
    """What to give `BatchedInferencePipeline.transcribe` as `clip_timestamps`.

    Neighbouring segments go into one clip for as long as it stays within Whisper's window, for
    every clip costs as much as a whole one.

    Args:
        audio: [samples] at 16 kHz, as `faster_whisper.decode_audio` gives them.
        detector: None loads the default one.
        chunk_s: seconds of a clip, at most; longer speech is cut.

    Returns:
        `{"start", "end"}` of each in seconds, in order.

    Raises:
        ParameterError: chunks of no length, or no audio of one channel.
    """
    if not chunk_s > 0:
        raise ParameterError("chunk_s", f"must be positive, not {chunk_s!r}")
    found: list[dict[str, float]] = []
    for span in get_speech_timestamps(
        audio, SileroVAD(detector), sampling_rate=RATE, max_speech_duration_s=chunk_s
    ):
        start, end = span["start"] / RATE, span["end"] / RATE
        if found and end - found[-1]["start"] <= chunk_s:
            found[-1]["end"] = end
        else:
            found.append({"start": start, "end": end})
    return found


def install(detector: Detector | None = None) -> None:
    """From here on `vad_filter=True` and `vad_parameters` are convad's, in this process.

    faster-whisper has no way to be given a VAD: the function that its models call is replaced.

    Args:
        detector: None loads the default one.
    """
    model = SileroVAD(detector)

    def found(
        audio: Any, vad_options: Any = None, sampling_rate: int = RATE, **options: Any
    ) -> list[dict[str, int]]:
        asked = vad_options or faster_whisper.vad.VadOptions(**options)
        return get_speech_timestamps(audio, model, sampling_rate=sampling_rate, **asdict(asked))

    for module in (faster_whisper.vad, faster_whisper.transcribe):
        module.get_speech_timestamps = found
