"""convad: finds where people speak in audio.

>>> from vad import Detector
>>> detector = Detector.load()                          # doctest: +SKIP
>>> detector.detect("meeting.mp3").speech               # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from vad.config import DEFAULT_MODEL, PRESETS, Segmentation
from vad.errors import (
    AudioError,
    AudioTooLong,
    CorruptModel,
    DataError,
    DecodedTooLarge,
    DecodeError,
    DecoderCrashed,
    DecodeTooSlow,
    FormatError,
    MissingExtra,
    ModelError,
    ModelNotFound,
    OutputError,
    ParameterError,
    StreamClosed,
    UnsupportedAudio,
    VadError,
)
from vad.events import Event, Probabilities, SpeechDiscarded, SpeechStarted, SpeechStopped

if TYPE_CHECKING:
    from vad.analytics import CallAnalytics, call_analytics
    from vad.audio import read
    from vad.detection.recording import Analysis
    from vad.detection.stream import Stream
    from vad.detector import Detector
    from vad.segments import Segment, Segments

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_MODEL",
    "PRESETS",
    "Analysis",
    "AudioError",
    "AudioTooLong",
    "CallAnalytics",
    "CorruptModel",
    "DataError",
    "DecodeError",
    "DecodeTooSlow",
    "DecodedTooLarge",
    "DecoderCrashed",
    "Detector",
    "Event",
    "FormatError",
    "MissingExtra",
    "ModelError",
    "ModelNotFound",
    "OutputError",
    "ParameterError",
    "Probabilities",
    "Segment",
    "Segmentation",
    "Segments",
    "SpeechDiscarded",
    "SpeechStarted",
    "SpeechStopped",
    "Stream",
    "StreamClosed",
    "UnsupportedAudio",
    "VadError",
    "call_analytics",
    "read",
]

# What needs numpy is imported when it is first asked for.
_LAZY = {
    "Analysis": "vad.detection.recording",
    "CallAnalytics": "vad.analytics",
    "Detector": "vad.detector",
    "Segment": "vad.segments",
    "Segments": "vad.segments",
    "Stream": "vad.detection.stream",
    "call_analytics": "vad.analytics",
    "read": "vad.audio",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return found
