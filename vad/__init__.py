"""convad: finds where people speak in audio.

>>> from vad import Detector
>>> detector = Detector.load()                          # doctest: +SKIP
>>> detector.detect("meeting.mp3").speech               # doctest: +SKIP
"""

from vad.analysis import Analysis
from vad.config import DEFAULT_MODEL, PRESETS, Segmentation
from vad.detector import Detector
from vad.errors import (
    AudioError,
    AudioTooLong,
    CorruptModel,
    DataError,
    DecodeError,
    FormatError,
    MissingExtra,
    ModelError,
    ModelNotFound,
    ParameterError,
    StreamClosed,
    UnsupportedAudio,
    VadError,
)
from vad.events import Event, Probabilities, SpeechDiscarded, SpeechStarted, SpeechStopped
from vad.segments import Segment, Segments
from vad.stream import Stream

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_MODEL",
    "PRESETS",
    "Analysis",
    "AudioError",
    "AudioTooLong",
    "CorruptModel",
    "DataError",
    "DecodeError",
    "Detector",
    "Event",
    "FormatError",
    "MissingExtra",
    "ModelError",
    "ModelNotFound",
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
]
