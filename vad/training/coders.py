"""Real lossy coders: some clips of each corpus go through one before they are stored.

Speech and what is no speech are coded alike, so that the coder's traces tell nothing.
"""

from __future__ import annotations

import io
import zlib

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from scipy.signal import resample_poly

from vad.frames import SAMPLE_RATE

Audio = NDArray[np.float32]

# libsndfile's coders that keep a file's length and place (measured: no lag at these settings).
CODERS = (("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "GSM610"))
ONE_IN = 10


def coded_now_and_then(audio: Audio, name: str) -> Audio:
    """One clip in ten through one of the coders; which one hangs on its name alone."""
    number = zlib.crc32(name.encode())
    if number % ONE_IN or len(audio) < SAMPLE_RATE // 2:  # under half a second coders add edges
        return audio
    return coded(audio, *CODERS[number // ONE_IN % len(CODERS)])


def coded(audio: Audio, container: str, coder: str) -> Audio:
    """Through a coder and back, [samples] float32 at 16 kHz; GSM 06.10 works at 8 kHz."""
    narrow = coder == "GSM610"
    sent = resample_poly(audio, 1, 2) if narrow else audio
    scale = np.float32(0.9 / (np.abs(sent).max() + 1e-9))
    file = io.BytesIO()
    rate = SAMPLE_RATE // 2 if narrow else SAMPLE_RATE
    sf.write(file, sent * scale, rate, format=container, subtype=coder)
    file.seek(0)
    got = sf.read(file, dtype="float32")[0] / scale
    got = (resample_poly(got, 2, 1) if narrow else got)[: len(audio)]
    return np.pad(got, (0, len(audio) - len(got))).astype(np.float32)
