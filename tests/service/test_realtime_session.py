from __future__ import annotations

from typing import Any, cast

import pytest

from service.realtime.messages import (
    Committed,
    SessionUpdated,
    SpeechStartedEvent,
    SpeechStoppedEvent,
)

from .realtime_kit import (
    COMMITTED,
    LOUD,
    QUIET,
    append,
    clear,
    commit,
    detect_turns,
    only_error,
    opened,
    send,
    sound,
    types,
)


def test_a_turn_from_start_to_item() -> None:
    made = opened()
    out = append(made, sound((1, 0), (0.5, 0.9), (1, 0), (0.5, 0.9), (1, 0)))
    assert types(out) == ["speech_started", "speech_stopped", *COMMITTED] * 2
    started, stopped, committed, added, done = cast(list[Any], out[:5])
    # The padding before, and the silence behind.
    assert (started.audio_start_ms, stopped.audio_end_ms) == (700, 2000)
    assert started.item_id == stopped.item_id == committed.item_id == added.item.id == done.item.id
    assert committed.previous_item_id is added.previous_item_id is None
    again, committed = cast(list[Any], out[5:8:2])
    assert again.audio_start_ms == 2200
    assert committed.item_id == again.item_id != started.item_id
    assert committed.previous_item_id == started.item_id
    ids = [event.event_id for event in out]
    assert len(set(ids)) == len(ids)


def test_parameters_are_obeyed_in_mid_stream() -> None:
    made = opened()
    append(made, QUIET)
    [updated] = detect_turns(made, threshold=0.95, prefix_padding_ms=100, silence_duration_ms=200)
    assert isinstance(updated, SessionUpdated)
    assert append(made, sound((1, 0.4), (1, 0))) == []  # 0.8 was speech before
    out = append(made, LOUD + QUIET)
    [started] = [e for e in out if isinstance(e, SpeechStartedEvent)]
    [stopped] = [e for e in out if isinstance(e, SpeechStoppedEvent)]
    assert (started.audio_start_ms, stopped.audio_end_ms) == (2900, 3700)


def test_a_commit_ends_open_speech_first() -> None:
    made = opened()
    assert types(append(made, LOUD)) == ["speech_started"]
    out = commit(made)
    assert types(out) == ["speech_stopped", *COMMITTED]
    stopped, committed = cast(list[Any], out[:2])
    assert stopped.audio_end_ms == 500
    assert stopped.item_id == committed.item_id
    # Speech goes on: another turn, which starts where the last ended.
    [started] = append(made, LOUD)
    assert cast(Any, started).audio_start_ms == 500


def test_a_commit_without_speech_makes_an_item_too() -> None:
    made = opened()
    assert append(made, QUIET) == []
    assert types(commit(made)) == COMMITTED
    # What is committed is no padding for what follows.
    [started] = append(made, LOUD)
    assert cast(Any, started).audio_start_ms == 1000


@pytest.mark.parametrize("ms", [0, 99])
def test_there_must_be_something_to_commit(ms: int) -> None:
    made = opened()
    append(made, bytes(48 * ms))
    error = only_error(commit(made))
    assert (error.code, error.type) == ("input_audio_buffer_commit_empty", "invalid_request_error")
    assert f"only has {ms}ms" in error.message
    append(made, bytes(48 * (100 - ms)))
    assert types(commit(made)) == COMMITTED


def test_a_clear_ends_open_speech_and_nothing_becomes_of_it() -> None:
    made = opened()
    append(made, LOUD)
    assert types(clear(made)) == ["speech_stopped", "cleared"]
    assert only_error(commit(made)).code == "input_audio_buffer_commit_empty"
    assert append(made, sound((0.1, 0))) == []
    [committed, *_] = commit(made)
    assert cast(Committed, committed).previous_item_id is None
    assert types(clear(made)) == ["cleared"]


def test_a_clear_drops_half_a_sample() -> None:
    made = opened()
    append(made, QUIET + b"\x7f")
    clear(made)
    assert append(made, QUIET) == []
    assert made.audio_ms == 2000


def test_without_turn_detection_only_commits_make_items() -> None:
    made = opened()
    append(made, LOUD)
    assert types(detect_turns(made)) == ["speech_stopped", "session.updated"]
    assert append(made, LOUD + QUIET + LOUD) == []
    assert types(commit(made)) == COMMITTED
    assert types(detect_turns(made, threshold=0.5)) == ["session.updated"]
    out = append(made, QUIET + LOUD + QUIET)
    assert [e.audio_start_ms for e in out if isinstance(e, SpeechStartedEvent)] == [3200]


def test_the_item_that_was_promised_is_the_one_that_comes() -> None:
    made = opened()
    [started] = append(made, LOUD)
    detect_turns(made)
    [committed, *_] = commit(made)
    assert cast(Any, committed).item_id == cast(Any, started).item_id


def test_the_format_may_change_while_the_buffer_is_empty() -> None:
    made = opened()
    mulaw = {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}
    append(made, LOUD + QUIET)
    error = only_error(send(made, "session.update", session=mulaw, event_id="e1"))
    assert (error.param, error.event_id) == ("session.audio.input.format", "e1")
    assert "Commit or clear" in error.message
    clear(made)
    assert types(send(made, "session.update", session=mulaw)) == ["session.updated"]
    silence = bytes([0xFF]) * 8000
    out = append(made, silence + bytes([0x80]) * 4000 + silence)
    assert types(out) == ["speech_started", "speech_stopped", *COMMITTED]
    started, stopped = cast(list[Any], out[:2])
    assert (started.audio_start_ms, stopped.audio_end_ms) == (2200, 3500)
