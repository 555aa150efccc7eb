from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest

from service.live.ledger import Ledger
from service.live.messages import (
    Error,
    ServerMessage,
    SessionClosed,
    SessionCreated,
    SessionUpdated,
    encode,
)
from service.live.session import State, StreamLimits
from vad import Probabilities, SpeechDiscarded, SpeechStarted, SpeechStopped

from .conftest import SPEECH, EnergyDetector, opened, pattern, pcm, send, session, types

LOUD, QUIET = pattern((0.4, 0.9)), pattern((0.4, 0))


def only_error(messages: Sequence[ServerMessage]) -> Error:
    [error] = messages
    assert isinstance(error, Error)
    return error


def last_error(messages: Sequence[ServerMessage]) -> Error:
    [error] = [message for message in messages if isinstance(message, Error)]
    return error


def test_created_tells_what_holds() -> None:
    [created] = session().open([("sample_rate", "8000"), ("threshold", "0.6")])
    assert isinstance(created, SessionCreated)
    assert created.params["neg_threshold"] == 0.45
    assert created.params["sample_rate"] == 8000
    assert created.params["encoding"] == "pcm_s16le"
    assert (created.hop_ms, created.latency_ms, created.model) == (10, 10, "energy")
    assert created.limits == {
        "max_message_bytes": 2**20,
        "stream_idle_s": 60,
        "max_stream_s": 3600,
        "max_stream_lead_s": None,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", "2"),
        ("treshold", "0.5"),
        ("channels", "mix"),
        ("model", "x"),
        ("encoding", "mp3"),
    ],
)
def test_a_bad_query_is_fatal(name: str, value: str) -> None:
    made = session()
    error = only_error(made.open([(name, value)]))
    assert (error.code, error.param, error.fatal) == ("invalid-parameter", name, True)
    assert (made.state, made.close_code) == (State.DRAINING, 1008)


def test_a_stream_equals_the_file_whatever_the_pieces() -> None:
    detector = EnergyDetector()
    expected = [(s.start, s.end) for s in detector.detect(SPEECH, 16_000).speech]
    data = pcm(SPEECH)
    for size in (1, 333, 4096, len(data)):
        made, out = opened(detector), cast(list[ServerMessage], [])
        pieces = [data[i : i + size] for i in range(0, len(data), size)]
        for piece in pieces if size > 1 else [data[:1], data[1:]]:
            out += made.receive_bytes(piece)
        out += send(made, "end")
        stops = [m for m in out if isinstance(m, SpeechStopped)]
        assert [(m.audio_start_ms / 1000, m.audio_end_ms / 1000) for m in stops] == expected
        assert out[-1] == SessionClosed(4500, sum(round(1000 * (b - a)) for a, b in expected), 2)
        assert (made.state, made.close_code, made.reason) == (State.DRAINING, 1000, "end")


def test_an_end_without_audio() -> None:
    made = opened()
    assert send(made, "end") == [SessionClosed(0, 0, 0)]


@pytest.mark.parametrize("type", ["keepalive", "flush", "reset"])
def test_commands_without_audio_do_nothing(type: str) -> None:
    assert send(opened(), type) == []


@pytest.mark.parametrize("reason", ["flush", "reset", "end"])
def test_commands_close_the_open_segment(reason: str) -> None:
    made = opened()
    assert types(made.receive_bytes(pcm(LOUD))) == ["speech_started"]
    stopped = send(made, reason)[0]
    assert isinstance(stopped, SpeechStopped)
    assert (stopped.reason, stopped.audio_end_ms) == (reason, 400)


def test_a_short_start_is_discarded() -> None:
    made = opened(min_speech_duration_ms="500")
    out = made.receive_bytes(pcm(LOUD)) + made.receive_bytes(pcm(QUIET))
    assert types(out) == ["speech_started", "speech_discarded"]
    assert send(made, "end") == [SessionClosed(800, 0, 0)]


def test_probabilities_only_if_asked_for() -> None:
    assert types(opened().receive_bytes(pcm(QUIET))) == []
    [report] = opened(probabilities="true").receive_bytes(pcm(QUIET))
    assert isinstance(report, Probabilities)
    assert len(report.values) == 40


def test_update_before_audio_may_change_everything() -> None:
    made = opened()
    [updated] = send(made, "session.update", encoding="mulaw", sample_rate=8000, threshold=0.7)
    assert isinstance(updated, SessionUpdated)
    assert (updated.params["encoding"], updated.params["threshold"]) == ("mulaw", 0.7)
    made.receive_bytes(bytes([0xFF]) * 8000)
    assert made.audio_ms == 1000


def test_update_keeps_what_it_does_not_name() -> None:
    made = opened(speech_pad_ms="70", encoding="alaw")
    send(made, "session.update", threshold=0.7)
    [updated] = send(made, "session.update", min_silence_duration_ms=200)
    assert isinstance(updated, SessionUpdated)
    changed = {"threshold": 0.7, "min_silence_duration_ms": 200, "speech_pad_ms": 70}
    assert updated.params.items() >= (changed | {"encoding": "alaw"}).items()


def test_thresholds_may_change_in_mid_stream() -> None:
    made = opened()
    made.receive_bytes(pcm(QUIET))
    [updated] = send(made, "session.update", threshold=0.9, neg_threshold=None)
    assert isinstance(updated, SessionUpdated)
    assert updated.params["neg_threshold"] == 0.75
    assert made.receive_bytes(pcm(pattern((1, 0.4)))) == []  # 0.8 was speech before


@pytest.mark.parametrize(
    "change", [{"encoding": "alaw"}, {"sample_rate": 8000}, {"probabilities": True}]
)
def test_the_rest_may_not_change_in_mid_stream(change: dict[str, Any]) -> None:
    made = opened()
    made.receive_bytes(pcm(QUIET))
    error = only_error(send(made, "session.update", threshold=0.9, **change))
    assert (error.param, error.fatal) == (next(iter(change)), False)
    [updated] = send(made, "session.update")
    assert isinstance(updated, SessionUpdated)
    assert updated.params["threshold"] == 0.5


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ('{"type": "dance"}', "unknown-message", None),
        ('{"type": "audio"}', "unknown-message", None),
        ('{"type": "flush", "now": 1}', "invalid-parameter", "now"),
        ('{"type": "session.update", "threshold": "0.5"}', "invalid-parameter", "threshold"),
        ('{"type": "session.update", "threshold": 5}', "invalid-parameter", "threshold"),
        ('{"type": "session.update", "channels": 1}', "invalid-parameter", "channels"),
        (r'{"type": "session.update", "\ud800": 1}', "invalid-parameter", ""),
        (r'{"type": "\ud800"}', "unknown-message", None),
    ],
)
def test_a_mistake_in_a_message_leaves_the_stream_open(
    text: str, code: str, param: str | None
) -> None:
    made = opened()
    error = only_error(made.receive_text(text))
    assert (error.code, error.param, error.fatal) == (code, param, False)
    assert made.state is State.OPEN


def test_message_limit() -> None:
    made = session(limits=StreamLimits(6400, 60, 3600))
    made.open([])
    assert made.receive_bytes(bytes(6400)) == []
    assert last_error(made.receive_bytes(bytes(6401))).code == "message-too-large"
    assert (made.close_code, made.reason) == (1009, "limit")


def test_text_limit_counts_bytes() -> None:
    made = session(limits=StreamLimits(100, 60, 3600))
    made.open([])
    fits = json.dumps({"type": "é" * 42}, ensure_ascii=False)
    assert len(fits.encode()) == 96
    assert only_error(made.receive_text(fits)).code == "unknown-message"
    assert last_error(made.receive_text(fits + " " * 5)).code == "message-too-large"


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "mulaw", "alaw"])
def test_length_limit(encoding: str) -> None:
    made = session(limits=StreamLimits(2**20, 60, 0.5))
    made.open([("encoding", encoding), ("sample_rate", "8000")])
    width = {"pcm_s16le": 2, "pcm_f32le": 4}.get(encoding, 1)
    assert "error" not in types(made.receive_bytes(bytes(4000 * width)))
    assert "error" not in types(made.receive_bytes(b""))
    out = made.receive_bytes(bytes(1))
    assert types(out)[-2:] == ["error", "session.closed"]
    assert last_error(out).code == "stream-too-long"
    assert (made.audio_ms, made.close_code, made.reason) == (500, 1008, "limit")


@pytest.mark.parametrize("state", [State.CONNECTING, State.DRAINING])
def test_what_the_state_does_not_allow_gets_an_error(state: State) -> None:
    for message in ("audio", "session.update", "flush", "reset", "keepalive", "end"):
        made = session() if state is State.CONNECTING else opened()
        if state is State.DRAINING:
            send(made, "end")
        out = made.receive_bytes(b"") if message == "audio" else send(made, message)
        error = only_error(out)
        assert (error.code, error.fatal) == ("not-allowed", state is State.CONNECTING)
        assert message in error.message


def test_the_ledger_refuses_an_end_without_a_start() -> None:
    with pytest.raises(KeyError):
        Ledger().enter([SpeechDiscarded(0, 0, 10, "silence")])


def test_messages_on_the_wire() -> None:
    started = SpeechStarted(3, 100, 200, 1 / 3)
    assert encode(started) == (
        '{"type":"speech_started","segment_id":3,"audio_start_ms":100,"detected_at_ms":200,'
        '"probability":0.3333}'
    )
    assert json.loads(encode(Probabilities(0, 10, (1 / 3,))))["values"] == [0.3333]
    assert json.loads(encode(Error("c", "m", None, True))) == {
        "type": "error", "code": "c", "message": "m", "param": None, "fatal": True,
        "retry_after": None,
    }  # fmt: skip
