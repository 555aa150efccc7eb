"""Every format by example, the readable ones also there and back."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from vad.audio import SourceInfo
from vad.config import Segmentation
from vad.errors import ParameterError
from vad.formats import (
    FORMATS,
    MEDIA_TYPES,
    ndjson_segment,
    ndjson_summary,
    read_labels,
    render,
    render_many,
    to_dict,
)
from vad.segments import Segment, Segments


def pause(start: float, end: float, channel: int = 0) -> Segment:
    return Segment(None, channel, "non_speech", start, end, 0.9123456)


def speech(start: float, end: float, channel: int = 0, id: int = 0) -> Segment:
    return Segment(id, channel, "speech", start, end, 0.8765432)


def result(*segments: Segment, duration: float = 2.5, **more: Any) -> Segments:
    given = {"model": "convad-base", "params": Segmentation(), "name": "a b.wav", **more}
    return Segments(segments=list(segments), duration=duration, **given)


ONE = result(pause(0, 0.48), speech(0.48, 2.0), pause(2.0, 2.5))
TWO = result(
    *(speech(0, 0.25), pause(0.25, 2.5)),
    *(pause(0, 0.1, 1), speech(0.1, 2.5, 1)),
    channels=2,
    name='c "d" <&>\n.wav',
)


@pytest.mark.parametrize("format", ["", "JSON", "xml"])
def test_an_unknown_format_is_named(format: str) -> None:
    for call in (lambda: render(ONE, format), lambda: render_many([ONE], format)):
        with pytest.raises(ParameterError) as caught:
            call()
        assert caught.value.param == "format"
    with pytest.raises(ParameterError, match="these can: rttm, textgrid, audacity"):
        read_labels("", "srt")


def test_every_format_has_a_media_type_of_its_own() -> None:
    assert set(MEDIA_TYPES) == set(FORMATS)
    assert len(set(MEDIA_TYPES.values())) == len(FORMATS)


# ---------------------------------------------------------------- JSON


def test_json_is_the_contract_without_id_and_timing() -> None:
    whole = to_dict(
        result(
            *(pause(0, 0.48), speech(0.48, 2.0), pause(2.0, 2.5)),
            duration=2.50004,
            source=SourceInfo("wav", "pcm_s16le", 8000, 1),
            warnings=["broke off"],
        )
    )
    assert json.loads(json.dumps(whole)) == whole
    assert list(whole) == [
        *("model", "duration", "source", "params", "speech_ratio", "segments", "warnings")
    ]
    assert (whole["model"], whole["duration"]) == ("convad-base", 2.5)
    assert whole["source"] == {
        "container": "wav",
        "codec": "pcm_s16le",
        "sample_rate": 8000,
        "channels": 1,
        "start": 0.0,
    }
    assert whole["params"] == Segmentation().effective()
    assert whole["speech_ratio"] == 0.608
    assert whole["segments"][:2] == [
        {
            **{"segment_id": None, "channel": 0, "label": "non_speech"},
            **{"start": 0, "end": 0.48, "confidence": 0.9123},
        },
        {
            **{"segment_id": 0, "channel": 0, "label": "speech"},
            **{"start": 0.48, "end": 2.0, "confidence": 0.8765},
        },
    ]
    assert whole["warnings"] == ["broke off"]
    assert json.loads(render(ONE, "json")) == to_dict(ONE)
    assert json.loads(render_many([ONE, TWO], "json")) == {
        "results": [{"file": " ".join(r.name.split())} | to_dict(r) for r in (ONE, TWO)]
    }


def test_json_has_frames_only_where_they_were_kept() -> None:
    values = np.array([0.123456, 1.0], dtype=np.float32)
    one = to_dict(result(probabilities={3: values}))
    assert one["frames"] == {"hop_ms": 10, "probabilities": [0.1235, 1.0]}
    two = to_dict(result(probabilities={1: values[1:], 0: values[:1]}, channels=2))
    assert two["frames"]["probabilities"] == [[0.1235], [1.0]]
    assert "frames" not in to_dict(ONE)


def test_ndjson_is_segments_and_then_a_summary() -> None:
    lines = [json.loads(line) for line in render(ONE, "ndjson").splitlines()]
    expected = to_dict(ONE)
    assert lines[:-1] == [{"type": "segment", **each} for each in expected.pop("segments")]
    assert lines[-1] == {"type": "summary", **expected}
    streamed = "".join(map(ndjson_segment, ONE.segments)) + ndjson_summary(ONE)
    assert streamed == render(ONE, "ndjson")


def test_ndjson_of_several_files_names_them() -> None:
    lines = [json.loads(line) for line in render_many([ONE, TWO], "ndjson").splitlines()]
    assert [line["file"] for line in lines] == ["a b.wav"] * 4 + ['c "d" <&> .wav'] * 5


# ---------------------------------------------------------------- the others by example


def test_rttm() -> None:
    assert render(ONE, "rttm") == ("SPEAKER a_b 1 0.480 1.520 <NA> <NA> speech 0.8765 <NA>\n")
    assert render(result(speech(0, 1), name=" "), "rttm").startswith("SPEAKER audio 1 ")
    fields = [line.split(" ") for line in render_many([ONE, TWO], "rttm").splitlines()]
    assert [row[1:3] for row in fields] == [
        ["a_b", "1"],
        ['c_"d"_<&>_', "1"],
        ['c_"d"_<&>_', "2"],
    ]


def test_srt() -> None:
    late = result(speech(0.48, 2.0), speech(3599.9994, 36_000.25), duration=36_001)
    assert render(late, "srt") == (
        "1\n00:00:00,480 --> 00:00:02,000\n[speech]\n\n"
        "2\n00:59:59,999 --> 10:00:00,250\n[speech]\n\n"
    )


def test_vtt_is_in_order_and_escaped() -> None:
    assert render_many([ONE, TWO], "vtt") == (
        "WEBVTT\n"
        '\n00:00:00.000 --> 00:00:00.250\n[speech, c "d" &lt;&amp;&gt; .wav, channel 0]\n'
        '\n00:00:00.100 --> 00:00:02.500\n[speech, c "d" &lt;&amp;&gt; .wav, channel 1]\n'
        "\n00:00:00.480 --> 00:00:02.000\n[speech, a b.wav]\n"
    )
    assert render(result(pause(0, 2.5)), "vtt") == "WEBVTT\n"


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(render_many([ONE, TWO], "csv"))))
    assert len(rows) == 7
    assert rows[0] == {
        **{"file": "a b.wav", "channel": "0", "segment_id": "", "label": "non_speech"},
        **{"start": "0.000", "end": "0.480", "confidence": "0.9123"},
    }
    assert (rows[6]["file"], rows[6]["channel"]) == ('c "d" <&> .wav', "1")


def test_audacity() -> None:
    assert render(ONE, "audacity") == "0.480\t2.000\tspeech\n"
    assert render(TWO, "audacity").splitlines()[1] == "0.100\t2.500\tspeech, channel 1"


def test_textgrid() -> None:
    assert render(result(speech(0, 1), pause(1, 2.5)), "textgrid").splitlines() == [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        "xmax = 2.500",
        "tiers? <exists>",
        "size = 1",
        "item []:",
        "    item [1]:",
        '        class = "IntervalTier"',
        '        name = "speech"',
        "        xmin = 0",
        "        xmax = 2.500",
        "        intervals: size = 2",
        "        intervals [1]:",
        "            xmin = 0.000",
        "            xmax = 1.000",
        '            text = "speech"',
        "        intervals [2]:",
        "            xmin = 1.000",
        "            xmax = 2.500",
        '            text = ""',
    ]
    assert read_labels(render(result(duration=0.0), "textgrid"), "textgrid") == []


def test_textgrid_of_several_has_a_tier_for_each_as_long_as_the_longest() -> None:
    short = result(speech(0, 1), duration=1.0004, name="short.wav")
    text = render_many([short, TWO], "textgrid")
    assert text.count("        xmax = 2.500\n") == 3 + 3  # tiers, and their last intervals
    assert [(each.tier, each.channel, each.end) for each in read_labels(text, "textgrid")] == [
        ("speech, short.wav", 0, 1.0),
        ('speech, c "d" <&> .wav, channel 0', 1, 0.25),
        ('speech, c "d" <&> .wav, channel 1', 2, 2.5),
    ]


def test_a_name_of_undecodable_bytes_still_makes_utf8() -> None:
    odd = result(speech(0, 1), name="a\udcff.wav")
    for format in FORMATS:
        assert render_many([odd, odd], format).encode()
