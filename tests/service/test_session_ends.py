"""Each start of speech gets exactly one end, whatever ends the stream."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ServiceError, ShuttingDown, StreamIdle, TooManyStreams
from service.live.messages import Error, ServerMessage, SessionClosed, encode
from service.live.session import State, StreamSession
from vad import SpeechDiscarded, SpeechStarted, SpeechStopped, Stream

from .conftest import EnergyDetector, EnergyEngine, opened, pattern, pcm, send, session, types

LOUD, QUIET = pattern((0.4, 0.9)), pattern((0.4, 0))


@pytest.mark.parametrize("text", ["", "{", "[]", '"end"', "{}", '{"type": 1}', "[" * 100_000])
def test_a_text_frame_that_is_no_message_ends_the_stream(text: str) -> None:
    made = opened()
    made.receive_bytes(pcm(LOUD))
    out = made.receive_text(text)
    assert types(out) == ["speech_stopped", "error", "session.closed"]
    assert (made.close_code, made.reason) == (1007, "error")


@pytest.mark.parametrize(
    ("exc", "reason", "code"),
    [
        (ShuttingDown("bye"), "shutdown", 1012),
        (StreamIdle("too long"), "limit", 1008),
        (RuntimeError("a secret"), "error", 1011),
    ],
)
def test_failing_tells_the_last_stop_before_the_error(
    exc: Exception, reason: str, code: int
) -> None:
    made = opened()
    made.receive_bytes(pcm(LOUD))
    stopped, error, closed = made.fail(exc)
    assert isinstance(stopped, SpeechStopped)
    assert stopped.reason == made.reason == reason
    assert isinstance(error, Error)
    assert error.fatal
    assert "secret" not in error.message
    assert closed == SessionClosed(400, 400, 1)
    assert made.close_code == code
    assert made.fail(exc) == []


def test_a_session_that_never_opened_gets_nothing_but_the_error() -> None:
    made = session()
    assert types(made.fail(TooManyStreams("full"))) == ["error"]
    assert made.close_code == 1013
    assert made.closed() == []


def test_a_gone_client_leaves_its_last_stop_to_the_log() -> None:
    made = opened()
    made.receive_bytes(pcm(LOUD))
    [stopped] = made.closed()
    assert isinstance(stopped, SpeechStopped)
    assert (stopped.reason, made.state) == ("disconnect", State.CLOSED)
    assert made.closed() == []


def test_an_engine_that_breaks_down_still_ends_its_segment() -> None:
    made = opened(EnergyDetector(EnergyEngine(fails_at=len(LOUD))))
    [started] = made.receive_bytes(pcm(LOUD))
    out = made.receive_bytes(pcm(LOUD))
    assert types(out) == ["speech_stopped", "error", "session.closed"]
    assert cast(SpeechStopped, out[0]).reason == "error"
    assert cast(SpeechStarted, started).segment_id == cast(SpeechStopped, out[0]).segment_id
    assert isinstance(made.failure, RuntimeError)
    assert made.close_code == 1011


def test_even_a_stream_that_cannot_finish_ends_its_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened()
    made.receive_bytes(pcm(LOUD))

    def broken(self: Stream, reason: str = "end") -> list[Any]:
        raise RuntimeError("can't")

    monkeypatch.setattr(Stream, "finish", broken)
    stopped, error, closed = send(made, "end")
    assert isinstance(stopped, SpeechStopped)
    assert (stopped.audio_end_ms, stopped.reason) == (400, "error")
    assert isinstance(error, Error)
    assert closed == SessionClosed(400, 400, 1)


# Whatever is sent in whatever order, by whatever the stream ends.

audio = st.tuples(
    st.just("audio"),
    st.sampled_from([LOUD, QUIET, LOUD[:1600], QUIET[:1600], LOUD[:7]]),
    st.integers(0, 3),
)
update = st.tuples(
    st.just("update"),
    st.fixed_dictionaries(
        {},
        optional={
            "threshold": st.sampled_from([0.2, 0.95, 5, "high"]),
            "min_speech_duration_ms": st.sampled_from([0, 100, 500]),
            "min_silence_duration_ms": st.sampled_from([0, 50, 300]),
            "speech_pad_ms": st.sampled_from([-200, 0, 300]),
            "max_speech_duration_s": st.sampled_from([None, 1]),
            "sample_rate": st.sampled_from([8000, 16_000]),
            "nonsense": st.just(1),
        },
    ),
)
command = st.tuples(st.just("command"), st.sampled_from(["flush", "reset", "keepalive", "dance"]))
ends = st.sampled_from(
    ["end", "disconnect", "garbage", ShuttingDown("bye"), StreamIdle("idle"), RuntimeError("x")]
)


def play(made: StreamSession, step: Any) -> list[ServerMessage]:
    if step[0] == "audio":
        return made.receive_bytes(pcm(step[1])[: len(step[1]) * 2 - step[2]])
    if step[0] == "update":
        return send(made, "session.update", **step[1])
    return send(made, step[1])


def finish(made: StreamSession, end: Any) -> list[ServerMessage]:
    if isinstance(end, ServiceError | RuntimeError):
        return made.fail(end)
    if end == "disconnect":
        return []
    return made.receive_text("{" if end == "garbage" else '{"type": "end"}')


@settings(deadline=None)
@given(
    st.lists(st.one_of(audio, audio, update, command), max_size=12),
    ends,
    st.sampled_from([np.inf, 1, 6400, 12_000]),
)
def test_each_start_gets_exactly_one_end(steps: list[Any], end: Any, fails_at: float) -> None:
    made = opened(EnergyDetector(EnergyEngine(fails_at)), probabilities="true")
    told: list[ServerMessage] = []
    for step in steps:
        told += play(made, step)
    told += finish(made, end)
    logged = made.closed()

    pending: set[int] = set()
    seen: set[int] = set()
    for event in [*told, *logged]:
        if isinstance(event, SpeechStarted):
            assert event.segment_id not in seen
            pending.add(event.segment_id)
            seen.add(event.segment_id)
        elif isinstance(event, SpeechStopped | SpeechDiscarded):
            pending.remove(event.segment_id)
            assert event.audio_start_ms <= event.audio_end_ms
            # A negative pad may put a start, told already, behind the end of all audio: discarded.
            assert isinstance(event, SpeechDiscarded) or event.audio_end_ms <= made.audio_ms
    assert not pending
    assert made.state is State.CLOSED
    if end == "disconnect" and made.failure is None:
        assert "session.closed" not in types(told)
    else:
        assert not logged
        stops = [e for e in told if isinstance(e, SpeechStopped)]
        spoken = sum(e.audio_end_ms - e.audio_start_ms for e in stops)
        [closed] = [i for i, message in enumerate(told) if isinstance(message, SessionClosed)]
        assert told[closed] == SessionClosed(made.audio_ms, spoken, len(stops))
        assert set(types(told[closed + 1 :])) <= {"error"}
    for message in told:
        assert json.loads(encode(message))["type"] == message.type
