"""The readers: there and back, others' files, and rubbish."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vad.config import Segmentation
from vad.errors import FormatError
from vad.formats import (
    READABLE,
    Interval,
    read_labels,
    recording_ids,
    render,
    render_many,
    rttm_ids,
)
from vad.segments import Segment, Segments


def pause(start: float, end: float, channel: int = 0) -> Segment:
    return Segment(None, channel, "non_speech", start, end, 0.9123456)


def speech(start: float, end: float, channel: int = 0, id: int = 0) -> Segment:
    return Segment(id, channel, "speech", start, end, 0.8765432)


def result(*segments: Segment, duration: float = 2.5, **more: Any) -> Segments:
    given = {"model": "convad-base", "params": Segmentation(), "name": "a b.wav", **more}
    return Segments(segments=list(segments), duration=duration, **given)


# ---------------------------------------------------------------- there and back

EDGES = st.lists(st.integers(1, 200_000_000), min_size=1, max_size=8, unique=True).map(sorted)
NAMES = st.text(max_size=12)


def tiling(edges: list[int], first_speaks: bool, channel: int) -> list[Segment]:
    seconds = [0.0, *(edge / 1000 for edge in edges)]
    return [
        speech(a, b, channel, i // 2) if (i % 2 == 0) == first_speaks else pause(a, b, channel)
        for i, (a, b) in enumerate(pairwise(seconds))
    ]


@settings(max_examples=100, deadline=None)
@given(EDGES, st.booleans(), NAMES, st.sampled_from(READABLE))
def test_there_and_back(edges: list[int], first_speaks: bool, name: str, format: str) -> None:
    segments = [
        *tiling(edges, first_speaks, 0),
        *tiling(edges, not first_speaks, 1),
    ]
    whole = result(*segments, duration=edges[-1] / 1000, name=name, channels=2)
    spoken = sorted((each.start, each.end, each.channel) for each in whole.speech)
    read = read_labels(render(whole, format), format)
    assert sorted((each.start, each.end) for each in read) == [each[:2] for each in spoken]
    assert {each.label.split(",")[0] for each in read} <= {"speech"}
    if format != "audacity":
        assert sorted((each.start, each.end, each.channel) for each in read) == spoken
    if format == "rttm" and read:
        assert read[0].file
        assert len(read[0].file.split()) == 1


PATHS = st.text(st.sampled_from("ab_ %.\n/é"), min_size=1, max_size=6)
ENDINGS = st.sampled_from(["", ".wav", ".mp3", ".WAV", ".txt", ".4"])
RECORDINGS = st.builds(str.__add__, PATHS, ENDINGS).filter(str.strip)


@given(st.lists(RECORDINGS, min_size=1, max_size=6, unique_by=lambda name: " ".join(name.split())))
def test_rttm_keeps_recordings_apart_and_they_are_found_again(names: list[str]) -> None:
    results = [result(speech(0, i + 1), duration=9, name=name) for i, name in enumerate(names)]
    ids = rttm_ids(names)
    read = read_labels(render_many(results, "rttm"), "rttm")
    assert [each.file for each in read] == ids
    if not any("_" in name or "%" in name for name in names):  # escapes by hand apart
        assert len(set(ids)) == len(names)
    for id, name in zip(ids, names, strict=True):
        assert id in recording_ids(name) | {"audio"}


LABELS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=20)


@given(LABELS, LABELS.filter(str.strip))
def test_textgrid_strings_hold_anything(tier: str, label: str) -> None:
    quoted = [text.replace('"', '""') for text in (tier, label)]
    text = (
        '"ooTextFile"\n"TextGrid"\n0\n1\n<exists>\n1\n'
        f'"IntervalTier"\n"{quoted[0]}"\n0\n1\n1\n0\n1\n"{quoted[1]}"\n'
    )
    assert read_labels(text, "textgrid") == [Interval(0.0, 1.0, label, 0, None, tier)]


@given(st.text(alphabet='\t\n "\\;!0123.<>-enaxistTextGridSPEAKER', max_size=80))
@settings(max_examples=200, deadline=None)
def test_rubbish_is_read_or_refused(text: str) -> None:
    for format in READABLE:
        for whole in (text, 'File type = "ooTextFile"\n"TextGrid" 0 1 <exists> 1 ' + text):
            try:
                intervals = read_labels(whole, format)
            except FormatError as error:
                intervals, complaint = [], str(error)
            else:
                complaint = "line"
            assert complaint.startswith("line")
            assert all(each.start <= each.end for each in intervals)


# ---------------------------------------------------------------- others' files

RTTM = """\ufeff;; a comment
SPKR-INFO meeting 1 <NA> <NA> <NA> unknown alice <NA>
SPEAKER meeting 1 6.69 0.43 <NA> <NA> alice <NA>
LEXEME meeting 1 6.69 0.2 yes lex alice <NA>

SPEAKER meeting <NA> 7.55 0 <NA> <NA> bob 0.8 <NA>
"""


def test_reads_the_speakers_of_an_rttm_file() -> None:
    assert read_labels(RTTM.replace("\n", "\r\n"), "rttm") == [
        Interval(6.69, 7.12, "alice", 0, "meeting"),
        Interval(7.55, 7.55, "bob", None, "meeting"),
    ]


def test_reads_audacity_labels() -> None:
    text = "0.5\t1.25\thello\tworld\n\\\t100.0\t2000.0\n2\t2\n\n3\t4\t\u2028\n"
    assert read_labels(text, "audacity") == [
        Interval(0.5, 1.25, "hello\tworld"),
        Interval(2.0, 2.0, ""),
        Interval(3.0, 4.0, "\u2028"),
    ]


LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 ! seconds, it's "known"
xmax = 2.3
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "Mary"
        xmin = 0
        xmax = 2.3
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = .5
            text = ""
        intervals [2]:
            xmin = 5e-1
            xmax = 2.3
            text = "a ""quoted"" 1
2"
    item [2]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 2.3
        points: size = 1
        points [1]:
            number = 1.5
            mark = "ding"
    item [3]:
        class = "IntervalTier"
        name = "John"
        xmin = 0
        xmax = 2.3
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 2.3
            text = "hm"
"""
SHORT = """File type = "ooTextFile short"
"TextGrid"

0
2.3
<exists>
3
"IntervalTier"
"Mary"
0
2.3
2
0
0.5
""
0.5
2.3
"a ""quoted"" 1
2"
"TextTier" "bell" 0 2.3 1 1.5 "ding"
"IntervalTier" "John" 0 2.3 1 0 2.3 "hm"
"""


@pytest.mark.parametrize("text", [LONG, SHORT], ids=["long", "short"])
def test_reads_both_forms_of_textgrid(text: str) -> None:
    assert read_labels(text, "textgrid") == [
        Interval(0.5, 2.3, 'a "quoted" 1\n2', 0, None, "Mary"),
        Interval(0.0, 2.3, "hm", 1, None, "John"),
    ]


@pytest.mark.parametrize(
    ("format", "text", "message"),
    [
        ("rttm", "\nhello there", "line 2: an RTTM line cannot begin with 'hello'"),
        ("rttm", "SPEAKER a 1 0 1", "line 1: .* at least 8 fields, not 5"),
        ("rttm", "SPEAKER a 0 0 1 - - b - -", "line 1: .* from 1, not from 0"),
        ("rttm", f"SPEAKER a {'9' * 5000} 0 1 - - b -", "line 1: the channel must be"),
        ("rttm", "SPEAKER a 1 x 1 - - b - -", "line 1: 'x' is not a time"),
        ("rttm", "SPEAKER a 1 0 nan - - b - -", "line 1: 'nan' is not a time"),
        ("rttm", "SPEAKER a 1 3 -1 - - b - -", "line 1: ends at 2 s, before its start at 3 s"),
        ("audacity", "1\t2\ta\n1 2 b", "line 2: a label is start, end and text between tabs"),
        ("audacity", "2\t1\ta", "line 1: ends at 1 s"),
        ("audacity", "1,5\t2\ta", "line 1: '1,5' is not a time"),
        ("textgrid", "", 'line 1: the TextGrid ends where "ooTextFile" should come'),
        ("textgrid", '\n"other"', "line 2: a TextGrid begins with"),
        ("textgrid", '"ooTextFile"\n"Pitch 1"', "line 2: a Praat file, but no TextGrid"),
        ("textgrid", LONG.replace("2.3\ntiers", '"x"\ntiers'), "line 5: .* in place of the end of"),
        ("textgrid", LONG.replace("= 3\n", "= 3.5\n"), "line 7: the number of tiers must be"),
        ("textgrid", LONG.replace("= .5", "= 1e999"), "line 17: '1e999' is not a time"),
        ("textgrid", LONG.replace("= 5e-1", "= 3"), "line 21: ends at 2.3 s, before its start"),
        ("textgrid", LONG.replace('"TextTier"', '"Other"'), "line 25: 'Other' is no class of tier"),
        ("textgrid", LONG[:-20], "line 42: the TextGrid ends where an interval's text should"),
    ],
)
def test_what_does_not_parse_is_located(format: str, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_labels(text, format)
