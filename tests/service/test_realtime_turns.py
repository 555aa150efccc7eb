from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.realtime.config import PCM, PCMA, ServerVad
from service.realtime.turns import InputBuffer, Turns
from vad import SpeechStarted, SpeechStopped, Stream
from vad.events import Event

from .conftest import EnergyDetector, EnergyEngine, pattern, pcm

RATE = PCM.sample_rate


def stream() -> Stream:
    segmentation = ServerVad().segmentation()
    return EnergyDetector().stream(RATE, encoding=PCM.encoding, segmentation=segmentation)


def sound(*spans: tuple[float, float]) -> bytes:
    return pcm(pattern(*spans, rate=RATE))


def push(turns: Turns, data: bytes) -> list[Event]:
    return turns.take(EnergyEngine().push(cast(Any, turns.signal), turns.feed(data)))


def spans(events: list[Event]) -> list[tuple[int, int]]:
    return [(e.audio_start_ms, e.audio_end_ms) for e in events if isinstance(e, SpeechStopped)]


def test_a_start_waits_for_the_minimum_of_speech() -> None:
    turns, since = Turns(stream(), 0, 0), 0
    assert push(turns, sound((1, 0))) == []
    data = sound((1, 0.9))
    for now in range(0, 1000, 10):
        told = push(turns, data[now * 48 : (now + 10) * 48])
        if told:
            since = now + 10
            break
    [started] = told
    assert isinstance(started, SpeechStarted)
    assert started.audio_start_ms == 700
    # 250 ms, and what the resampler holds back.
    assert 250 <= since <= 270


def test_a_click_is_never_told() -> None:
    turns = Turns(stream(), 0, 0)
    assert push(turns, sound((0.2, 0.9), (1, 0))) == []
    assert turns.finish("end") == []


def test_silence_within_the_minimum_does_not_count_as_speech() -> None:
    turns = Turns(stream(), 0, 0)
    assert push(turns, sound((0.1, 0.9), (0.4, 0))) == []
    # Speech again, half a second after the onset: the segment is longer than the minimum.
    [started] = push(turns, sound((0.1, 0.9)))
    assert isinstance(started, SpeechStarted)
    assert spans(push(turns, sound((1, 0)))) == [(0, 1100)]


def test_a_flush_tells_a_held_start_that_is_long_enough_and_no_other() -> None:
    turns = Turns(stream(), 0, 0)
    assert push(turns, sound((0.1, 0.9), (0.05, 0))) == []
    assert turns.flush() == []
    assert push(turns, sound((0.1, 0.9), (0.2, 0))) == []
    assert [type(e) for e in turns.flush()] == [SpeechStarted, SpeechStopped]


def test_times_and_ids_count_on_from_where_the_stream_starts() -> None:
    turns = Turns(stream(), 5000, 7)
    events = push(turns, sound((0.5, 0.9), (1, 0), (0.5, 0.9))) + turns.finish("shutdown")
    assert spans(events) == [(5000, 6000), (6200, 7000)]
    ids = [e.segment_id for e in events if isinstance(e, SpeechStarted | SpeechStopped)]
    assert ids == [7, 7, 8, 8]
    assert turns.next_id == 9


def test_no_start_lies_before_the_floor() -> None:
    turns = Turns(stream(), 0, 0)
    push(turns, sound((1, 0)))
    turns.floor_ms = 1000
    assert spans(push(turns, sound((0.5, 0.9), (1, 0)))) == [(1000, 2000)]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.03, 0.1, 0.24, 0.26, 0.6]), st.sampled_from([0, 0.2, 0.9])),
        max_size=10,
    ),
    st.lists(st.integers(1, 30_000), max_size=12),
    st.booleans(),
)
def test_what_is_told_is_what_the_stream_keeps(
    levels: list[tuple[float, float]], cuts: list[int], flush: bool
) -> None:
    data = sound(*levels)
    edges = [0, *sorted({cut * 2 for cut in cuts if cut * 2 < len(data)}), len(data)]
    plain, turns = stream(), Turns(stream(), 0, 0)
    kept: list[Event] = []
    told: list[Event] = []
    for start, end in pairwise(edges):
        kept += plain.push(data[start:end])
        told += push(turns, data[start:end])
    if flush:
        kept += plain.flush()
        told += turns.flush()
    kept += plain.finish()
    told += turns.finish("end")
    assert spans(told) == spans(kept)
    # Started, stopped, started, stopped …, each pair of one id.
    assert [type(e) for e in told] == [SpeechStarted, SpeechStopped] * (len(told) // 2)
    for started, stopped in zip(told[::2], told[1::2], strict=True):
        assert isinstance(started, SpeechStarted)
        assert isinstance(stopped, SpeechStopped)
        assert started.segment_id == stopped.segment_id
        assert started.audio_start_ms == stopped.audio_start_ms


def test_the_buffer_counts_whole_samples() -> None:
    buffer = InputBuffer(PCM)
    assert buffer.append(b"\1") == b""
    assert buffer.append(b"\2\3") == b"\1\2"
    assert buffer.append(bytes(47)) == b"\3" + bytes(47)
    assert (buffer.end_ms, buffer.length_ms) == (1, 1)
    buffer.append(b"\1")
    buffer.clear()
    assert buffer.append(b"\2\3") == b"\2\3"


@pytest.mark.parametrize("form", [PCM, PCMA])
def test_the_room_ends_at_the_limit(form: Any) -> None:
    buffer = InputBuffer(form)
    width = form.sample_bytes
    assert buffer.room(0.5) == form.sample_rate * width // 2
    buffer.append(bytes(width + 1))
    assert buffer.room(0.5) == form.sample_rate * width // 2 - width - 1
    buffer.append(bytes(buffer.room(0.5)))
    assert (buffer.room(0.5), buffer.end_ms) == (0, 500)


def test_changes_of_format_do_not_drift() -> None:
    buffer = InputBuffer(PCM)
    for i in range(3000):
        buffer.format = PCM if i % 2 else PCMA
        buffer.append(bytes(buffer.format.sample_bytes * buffer.format.sample_rate // 1000 * 7))
        buffer.clear()
    assert buffer.end_ms == buffer.start_ms == 21_000
