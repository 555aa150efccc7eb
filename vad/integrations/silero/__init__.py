"""silero-vad's Python interface, answered by convad.

    from vad.integrations.silero import load_silero_vad, read_audio, get_speech_timestamps

Names, parameters, defaults and units are those of silero-vad 6.2.3
(https://github.com/snakers4/silero-vad). Where torch is installed, audio and probabilities are
tensors as there; where it is not, numpy arrays. docs/dropins.md says what differs.
"""

from __future__ import annotations

from vad.integrations.silero.audio import collect_chunks, drop_chunks, read_audio, save_audio
from vad.integrations.silero.iterator import VADIterator
from vad.integrations.silero.model import SileroVAD, SileroVADSequence, load_silero_vad, onnx_file
from vad.integrations.silero.timestamps import (
    get_speech_timestamps,
    get_speech_timestamps_from_probs,
    get_speech_timestamps_sequence,
)

__all__ = [
    "SileroVAD",
    "SileroVADSequence",
    "VADIterator",
    "collect_chunks",
    "drop_chunks",
    "get_speech_timestamps",
    "get_speech_timestamps_from_probs",
    "get_speech_timestamps_sequence",
    "load_silero_vad",
    "onnx_file",
    "read_audio",
    "save_audio",
]
