"""The manifest of NeMo's diarisation, line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vad import Segmentation, Segments
from vad.integrations.nemo import manifest
from vad.segments import Segment


def found(*spans: tuple[int, float, float]) -> Segments:
    return Segments(
        segments=[Segment(0, channel, "speech", start, end, 0.9) for channel, start, end in spans],
        duration=9.0,
        model="energy",
        params=Segmentation(),
        channels=2,
    )


def test_each_span_of_speech_is_a_line() -> None:
    call = found((0, 0.5, 2.0), (1, 1.75, 3.125), (0, 5.0, 6.0))
    lines = manifest([call, found((0, 1.0, 2.0))], ["calls/a.b.wav", Path("c.flac")]).splitlines()
    common = {"audio_filepath": "calls/a.b.wav", "label": "UNK", "uniq_id": "a.b"}
    assert [json.loads(line) for line in lines] == [
        {**common, "offset": 0.5, "duration": 2.625},
        {**common, "offset": 5.0, "duration": 1.0},
        {**common, "audio_filepath": "c.flac", "uniq_id": "c", "offset": 1.0, "duration": 1.0},
    ]


def test_a_recording_has_one_path() -> None:
    with pytest.raises(ValueError, match="longer"):
        manifest([found()], ["a.wav", "b.wav"])
