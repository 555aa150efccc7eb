from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ServiceError, ShuttingDown, StreamIdle
from service.live.protocol import State, StreamLimits
from service.realtime.messages import (
    OUT_OF_SCOPE,
    Committed,
    ErrorEvent,
    ItemEvent,
    ServerEvent,
    SpeechStartedEvent,
    SpeechStoppedEvent,
)
from service.realtime.session import RealtimeSession
from vad import SpeechStopped

from .conftest import LIMITS, EnergyDetector, EnergyEngine
from .realtime_kit import (
    COMMITTED,
    LOUD,
    QUIET,
    append,
    commit,
    only_error,
    opened,
    send,
    sound,
    types,
)


@pytest.mark.parametrize("type", sorted(OUT_OF_SCOPE))
def test_what_concerns_answers_is_refused(type: str) -> None:
    error = only_error(send(opened(), type, event_id="mine"))
    assert (error.code, error.param, error.event_id) == ("not_supported", "type", "mine")
    assert type in error.message


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[]", "invalid_json", None),
        ("[" * 100_000, "invalid_json", None),
        ("{}", "missing_required_parameter", "type"),
        ('{"type": 1}', "missing_required_parameter", "type"),
        ('{"type": "dance"}', "invalid_value", "type"),
        ('{"type": "input_audio_buffer.clear", "event_id": 1}', "invalid_type", "event_id"),
        (
            r'{"type": "input_audio_buffer.clear", "event_id": "\ud800"}',
            "invalid_value",
            "event_id",
        ),
        (r'{"type": "\ud800"}', "invalid_value", "type"),
        ('{"type": "input_audio_buffer.clear", "now": 1}', "unknown_parameter", "now"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": 1}', "invalid_type", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "a"}', "invalid_value", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "AAA*"}', "invalid_value", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "AA==AA=="}', "invalid_value", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "é"}', "invalid_value", "audio"),
        ('{"type": "session.update"}', "missing_required_parameter", "session"),
        ('{"type": "session.update", "session": []}', "invalid_type", "session"),
    ],
)
def test_a_mistake_leaves_the_session_as_it_was(text: str, code: str, param: str | None) -> None:
    made = opened()
    assert types(append(made, LOUD)) == ["speech_started"]
    answer = made.receive_text(text)
    assert answer[0].model_dump_json()
    error = only_error(answer)
    assert (error.type, error.code, error.param) == ("invalid_request_error", code, param)
    assert made.running
    assert types(append(made, QUIET)) == ["speech_stopped", *COMMITTED]


def test_an_event_may_have_a_hundred_fields() -> None:
    made = opened()
    for count, code in ((98, "unknown_parameter"), (99, "invalid_value")):
        inner = {f"f{i}": 0 for i in range(count)}
        error = only_error(send(made, "session.update", session={"audio": inner}))
        assert error.code == code, count


def test_an_unknown_query_parameter_ends_it() -> None:
    made = RealtimeSession(EnergyDetector(), LIMITS, "sess_1")
    error = only_error(made.open([("intent", "transcription")]))
    assert (error.code, error.param) == ("unknown_parameter", "intent")
    assert (made.state, made.close_code) == (State.DRAINING, 1008)


def test_binary_frames_are_not_of_this_protocol() -> None:
    made = opened()
    append(made, LOUD)
    assert types(made.receive_bytes(LOUD)) == ["speech_stopped", "error"]
    assert made.close_code == 1003


@pytest.mark.parametrize(
    ("limits", "code", "close_code"),
    [
        (StreamLimits(2**10, 60, 3600, None, 30_000), "message_too_large", 1009),
        (StreamLimits(2**20, 60, 0.6), "stream_too_long", 1008),
        (StreamLimits(2**20, 60, 3600, 0.6), "stream_too_fast", 1008),
    ],
)
def test_limits_end_it(limits: StreamLimits, code: str, close_code: int) -> None:
    made = opened(limits=limits, clock=lambda: 0)
    assert types(append(made, LOUD)) == ["speech_started"]
    out = append(made, QUIET)
    assert types(out) == ["speech_stopped", "error"]
    error = cast(ErrorEvent, out[-1]).error
    assert (error.code, made.close_code, made.reason) == (code, close_code, "limit")
    assert not made.running


def test_a_session_may_be_filled_to_the_limit() -> None:
    made = opened(limits=StreamLimits(2**20, 60, 0.5))
    assert types(append(made, LOUD)) == ["speech_started"]
    assert append(made, b"") == []
    assert types(append(made, b"\0")) == ["speech_stopped", "error"]
    assert made.audio_ms == 500


def test_a_fault_is_not_explained_to_the_client() -> None:
    made = opened(EnergyEngine(fails_at=9000))
    append(made, LOUD)
    out = send(made, "input_audio_buffer.append", audio="AAAA" * 9000, event_id="mine")
    assert types(out) == ["speech_stopped", "error"]
    error = cast(ErrorEvent, out[-1]).error
    assert (error.type, error.code, error.event_id) == ("server_error", "internal", "mine")
    assert "secret" not in error.message
    assert isinstance(made.failure, RuntimeError)
    assert made.close_code == 1011


def test_a_gone_client_leaves_its_last_stop_to_the_log() -> None:
    made = opened()
    append(made, LOUD)
    [stopped] = made.closed()
    assert isinstance(stopped, SpeechStopped)
    assert (stopped.reason, stopped.audio_end_ms, made.state) == (
        "disconnect", 500, State.CLOSED
    )  # fmt: skip
    assert made.closed() == []


# However the audio is cut, and whatever else is sent.

TALK = sound((0.3, 0), (0.1, 0.9), (0.6, 0), (0.5, 0.9), (0.3, 0), (0.3, 0.9), (0.7, 0), (0.4, 0.9))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, len(TALK) - 1), max_size=30), st.integers(0, len(TALK)))
def test_the_cutting_of_the_audio_does_not_matter(cuts: list[int], committed_at: int) -> None:
    def told(edges: list[int]) -> list[ServerEvent]:
        made, out = opened(), cast(list[ServerEvent], [])
        for start, end in pairwise(edges):
            out += append(made, TALK[start:end])
            if end == committed_at:
                out += commit(made)
        return out + commit(made)

    whole = told(sorted({0, committed_at, len(TALK)}))
    assert told(sorted({0, committed_at, len(TALK), *cuts})) == whole
    assert "speech_stopped" in types(whole)


audio = st.tuples(st.just("audio"), st.sampled_from([LOUD, QUIET, LOUD[:4801], QUIET[:7]]))
update = st.tuples(
    st.just("update"),
    st.sampled_from(
        [
            {"turn_detection": None},
            {"turn_detection": {"type": "server_vad", "threshold": 0.2}},
            {"turn_detection": {"type": "server_vad", "silence_duration_ms": 0}},
            {"turn_detection": {"type": "semantic_vad"}},
            {"input_audio_format": "g711_ulaw"},
            {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm"}}}},
        ]
    ),
)
command = st.tuples(
    st.just("command"),
    st.sampled_from(["input_audio_buffer.commit", "input_audio_buffer.clear", "response.create"]),
)
ends = st.sampled_from([None, ShuttingDown("bye"), StreamIdle("idle"), RuntimeError("x")])


def play(made: RealtimeSession, step: Any) -> list[ServerEvent]:
    kind, what = step
    if kind == "audio":
        return append(made, what)
    return send(made, "session.update", session=what) if kind == "update" else send(made, what)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(audio, audio, update, command), max_size=14),
    ends,
    st.sampled_from([np.inf, 6400, 20_000]),
)
def test_each_start_gets_exactly_one_stop(
    steps: list[Any], end: ServiceError | RuntimeError | None, fails_at: float
) -> None:
    made = opened(EnergyEngine(fails_at))
    told = [event for step in steps if made.running for event in play(made, step)]
    if end is not None:
        told += made.fail(end)
    logged = made.closed()
    if end is not None or made.failure is not None:
        assert not logged

    speaking: str | None = None
    items: list[str | None] = [None]
    last_ms = 0
    for event in told:
        if isinstance(event, SpeechStartedEvent):
            assert speaking is None
            assert event.item_id not in items
            assert last_ms <= event.audio_start_ms <= made.audio_ms
            speaking, last_ms = event.item_id, event.audio_start_ms
        elif isinstance(event, SpeechStoppedEvent):
            assert event.item_id == speaking
            assert last_ms <= event.audio_end_ms <= made.audio_ms
            speaking, last_ms = None, event.audio_end_ms
        elif isinstance(event, Committed):
            assert speaking is None
            assert event.previous_item_id == items[-1]
            items.append(event.item_id)
        elif isinstance(event, ItemEvent):
            assert event.item.id == items[-1]
    # What was open when the client went; or what was still held back, and turned out long enough.
    kinds = [event.type for event in logged]
    assert (
        kinds == ["speech_stopped"]
        if speaking
        else kinds in ([], ["speech_started", "speech_stopped"])
    )
    assert made.state is State.CLOSED
    for event in told:
        assert json.loads(event.model_dump_json())["type"] == cast(Any, event).type
