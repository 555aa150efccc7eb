"""From anything that holds audio to float32 blocks: [samples, channels], nominal range [-1, 1]."""

from __future__ import annotations

from vad.audio.channels import select_channels
from vad.audio.pcm import ENCODINGS, PcmDecoder, as_float
from vad.audio.reader import MAX_CHANNELS, MAX_RATE, MIN_RATE, AudioReader, SourceInfo
from vad.audio.resample import Resampler
from vad.audio.source import Source, load_mono, open_audio, read
from vad.config import Channels

__all__ = [
    "ENCODINGS",
    "MAX_CHANNELS",
    "MAX_RATE",
    "MIN_RATE",
    "AudioReader",
    "Channels",
    "PcmDecoder",
    "Resampler",
    "Source",
    "SourceInfo",
    "as_float",
    "load_mono",
    "open_audio",
    "read",
    "select_channels",
]
