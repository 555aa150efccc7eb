"""A call whose timetable is known: two recordings, a channel each, laid at given times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000
DURATION_S = 26.0
# Sentences of tests/data/speech.wav, [start, end] in seconds, with a little silence around.
GREETING, QUESTION, ANSWER, STORY = (21.45, 24.73), (10.1, 11.46), (7.1, 9.98), (15.4, 21.4)
# channel, sentence, when it begins in the call
TIMETABLE = (
    (0, GREETING, 1.0),  # says hello
    (1, ANSWER, 5.0),  # answers
    (0, QUESTION, 9.0),
    (1, STORY, 11.5),  # goes on and on
    (0, ANSWER, 13.0),  # a word in between, while the other goes on
    (0, GREETING, 21.5),  # after it
    (1, QUESTION, 24.0),  # cuts in, and talks on after
)


def sentences(data_dir: Path) -> list[tuple[int, float, NDArray[np.int16]]]:
    """Of each line of the timetable its channel, its time and its sound."""
    speech, rate = soundfile.read(data_dir / "speech.wav", dtype="int16")
    assert rate == RATE
    return [
        (channel, at, speech[round(start * RATE) : round(end * RATE)])
        for channel, (start, end), at in TIMETABLE
    ]


def call(data_dir: Path) -> NDArray[np.int16]:
    """[samples, 2] at 16 kHz."""
    made = np.zeros((round(DURATION_S * RATE), 2), np.int16)
    for channel, at, sound in sentences(data_dir):
        begin = round(at * RATE)
        made[begin : begin + len(sound), channel] = sound
    return made
