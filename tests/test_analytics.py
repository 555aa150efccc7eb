"""What is told of a conversation equals its timetable."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from vad import CallAnalytics, Detector, Segmentation, call_analytics
from vad.analytics import Durations, Turn, analytics_of_spans
from vad.cli.main import app

from .call_kit import DURATION_S, call, sentences

NONE = Durations(0, 0.0, None, None, None)

# Two people: the first greets, pauses and goes on; the second answers after half a second; the
# first says "mhm" meanwhile; then the first cuts the second off, and both are silent at the end.
FIRST = [(1000, 3000), (3400, 5000), (7000, 7300), (9000, 12_000)]
SECOND = [(5500, 9600)]


def test_each_number_is_the_timetables() -> None:
    found = analytics_of_spans({0: FIRST, 1: SECOND}, 15_000)
    assert found.turns == [
        Turn(0, 1.0, 5.0, None, False),
        Turn(1, 5.5, 9.6, 0.5, False),
        Turn(0, 9.0, 12.0, -0.6, True),
    ]
    first, second = found.channels
    assert (first.talk, second.talk) == (6.9, 4.1)
    assert (first.talk_share, second.talk_share) == (round(6.9 / 11, 4), round(4.1 / 11, 4))
    assert (first.talk_ratio, second.talk_ratio) == (0.46, round(4.1 / 15, 4))
    assert (first.turns, second.turns, found.turns_per_minute) == (2, 1, 12.0)
    assert (first.longest_turn, second.longest_turn) == (4.0, 4.1)
    assert first.pauses == Durations(1, 0.4, 0.4, 0.4, 0.4)
    assert second.pauses == NONE
    assert (first.interruptions, second.interruptions, found.interruptions) == (1, 0, 1)
    assert first.responses == NONE  # its only one was an interruption
    assert second.responses == Durations(1, 0.5, 0.5, 0.5, 0.5)
    assert found.overlaps == Durations(2, 0.9, 0.45, 0.45, 0.6)
    assert found.dead_air == Durations(4, 4.9, 1.225, 0.75, 3.0)


@pytest.mark.parametrize(
    ("spans", "turns", "interruptions"),
    [
        ({0: [], 1: []}, [], 0),
        ({0: [(0, 1000)], 1: []}, [0], 0),  # a channel that is silent
        ({0: [(0, 1000)], 1: [(0, 1000)]}, [], 0),  # nobody ever speaks alone
        ({0: [(0, 1000)], 1: [(1000, 2000)]}, [0, 1], 0),  # without a gap
        ({0: [(0, 1000)], 1: [(881, 2000)]}, [0, 1], 0),  # an overlap that nobody notices
        ({0: [(0, 1000)], 1: [(880, 2000)]}, [0, 1], 1),
        ({0: [(0, 1000), (1000, 2000)], 1: []}, [0], 0),  # split, not paused
        ({0: [(0, 1000)], 1: [(300, 600)]}, [0], 0),  # "mhm"
        ({3: [(0, 1000)], 5: [(1500, 2000)], 9: [(2500, 3000)]}, [3, 5, 9], 0),
    ],
)
def test_who_has_the_floor(spans: Any, turns: list[int], interruptions: int) -> None:
    found = analytics_of_spans(spans, 3000)
    assert [turn.channel for turn in found.turns] == turns
    assert found.interruptions == interruptions
    assert [channel.channel for channel in found.channels] == sorted(spans)


def test_nothing_is_no_mistake() -> None:
    found = analytics_of_spans({0: []}, 0)
    assert (found.turns, found.dead_air, found.turns_per_minute) == ([], NONE, 0.0)
    assert json.dumps(asdict(found))


edges = st.lists(st.integers(0, 200), max_size=12, unique=True).map(sorted)
channel = edges.map(lambda e: [(10 * a, 10 * b) for a, b in zip(e[::2], e[1::2], strict=False)])


@given(channel, channel)
def test_what_must_hold_of_any_call(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> None:
    found = analytics_of_spans({0: one, 1: two}, 2000)
    heard = [{t for a, b in spans for t in range(a, b, 10)} for spans in (one, two)]
    assert found.overlaps.total == len(heard[0] & heard[1]) / 100
    assert found.dead_air.total == (200 - len(heard[0] | heard[1])) / 100
    for mine, own in zip(found.channels, heard, strict=True):
        assert mine.talk == len(own) / 100
        assert mine.turns == sum(turn.channel == mine.channel for turn in found.turns)
        assert mine.pauses.total + mine.talk <= 2
    if any(heard):
        assert sum(mine.talk_share for mine in found.channels) == pytest.approx(1, abs=1e-3)
    # Turns take turns, in order, and each is of its channel's speech.
    for before, after in zip(found.turns, found.turns[1:], strict=False):
        assert before.channel != after.channel
        assert after.response == pytest.approx(after.start - before.end)
        assert after.end > before.end
    # Who is called which changes nothing.
    swapped = analytics_of_spans({0: two, 1: one}, 2000)
    assert [(1 - t.channel, t.start, t.end) for t in swapped.turns] == [
        (t.channel, t.start, t.end) for t in found.turns
    ]
    assert (swapped.overlaps, swapped.dead_air) == (found.overlaps, found.dead_air)


def timetable(detector: Detector, data_dir: Path, params: Segmentation) -> CallAnalytics:
    """Of the call, from what is heard in each sentence alone, with a second of silence after it."""
    spans: dict[int, list[tuple[int, int]]] = {0: [], 1: []}
    for each, at, sound in sentences(data_dir):
        alone = np.concatenate([sound, np.zeros(16_000, np.int16)])
        found = detector.detect(alone, 16_000, segmentation=params)
        spans[each] += [
            (round(1000 * (at + s.start)), round(1000 * (at + s.end))) for s in found.speech
        ]
    return analytics_of_spans(spans, round(1000 * DURATION_S))


def check_near(found: dict[str, Any], expected: CallAnalytics) -> None:
    """Counts are the same, times are within 20 ms: what a sentence's neighbours may change."""

    def near(mine: Any, theirs: Any, where: str) -> None:
        if isinstance(theirs, dict):
            assert mine.keys() == theirs.keys(), where
            for name in theirs:
                near(mine[name], theirs[name], f"{where}.{name}")
        elif isinstance(theirs, list):
            assert len(mine) == len(theirs), where
            for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
                near(a, b, f"{where}[{i}]")
        elif isinstance(theirs, float):
            slack = 0.02 * (4 if where.endswith("total") or where.endswith("talk") else 1)
            assert mine == pytest.approx(theirs, abs=slack), where
        else:
            assert mine == theirs, where

    near(found, asdict(expected), "")


@pytest.fixture(scope="module")
def call_file(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("call") / "call.wav"
    soundfile.write(path, call(data_dir), 16_000)
    return path


# The sentences' own pauses are bridged: the timetable is of sentences.
PARAMS = Segmentation(min_silence_duration_ms=400)


def test_a_call_of_two_recordings_is_told_by_library_and_command(
    detector: Detector, data_dir: Path, call_file: Path
) -> None:
    expected = timetable(detector, data_dir, PARAMS)
    assert [turn.channel for turn in expected.turns] == [0, 1, 0, 1, 0, 1]
    assert [turn.interruption for turn in expected.turns] == [False] * 5 + [True]
    found = call_analytics(detector.detect(call_file, channels="separate", segmentation=PARAMS))
    check_near(asdict(found), expected)

    words = ["detect", str(call_file), "--channels", "separate", "--analytics"]
    words += ["--min-silence-duration-ms", "400"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["analytics"] == json.loads(json.dumps(asdict(found)))
    lines = CliRunner().invoke(app, [*words, "-f", "ndjson"]).stdout.splitlines()
    assert json.loads(lines[-1])["analytics"]["turns"]


def test_formats_that_can_not_tell_it_say_so(call_file: Path) -> None:
    done = CliRunner().invoke(app, ["detect", str(call_file), "--analytics", "-f", "rttm"])
    assert done.exit_code != 0
    assert "json" in str(done.exception)
