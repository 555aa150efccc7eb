"""The stream's protocol without I/O: several connections look like one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vad.client import ConnectionFailed, InvalidParameter, StreamLost, TooLarge, Unavailable
from vad.client.session import Session
from vad.events import Probabilities, SpeechDiscarded, SpeechStarted, SpeechStopped

from .conftest import WELCOME

PARAMS = {"sample_rate": 8000, "encoding": "pcm_s16le"}


START = {
    "type": "speech_started",
    "segment_id": 0,
    "audio_start_ms": 1,
    "detected_at_ms": 2,
    "probability": 1,
}


def opened(**params: Any) -> Session:
    session = Session({**PARAMS, **params})
    assert session.opened(json.dumps(WELCOME)) is None
    return session


def receive(session: Session, type: str, **values: Any) -> Any:
    return session.receive(json.dumps({"type": type, **values}))


def start(session: Session, id: int, ms: int) -> SpeechStarted:
    values = {"segment_id": id, "audio_start_ms": ms, "detected_at_ms": ms + 50}
    event = receive(session, "speech_started", **values, probability=0.7)
    assert isinstance(event, SpeechStarted)
    return event


def stop(session: Session, id: int, start_ms: int, end_ms: int) -> SpeechStopped:
    values = {"segment_id": id, "audio_start_ms": start_ms, "audio_end_ms": end_ms}
    event = receive(session, "speech_stopped", **values, confidence=0.9, reason="silence")
    assert isinstance(event, SpeechStopped)
    return event


def test_one_connection_is_told_as_it_is() -> None:
    session = opened()
    assert session.info is not None
    assert (session.info.session_id, session.message_bytes) == ("sess_1", 1000)
    assert start(session, 0, 100) == SpeechStarted(0, 100, 150, 0.7)
    assert stop(session, 0, 100, 700) == SpeechStopped(0, 100, 700, 0.9, "silence")
    assert receive(session, "probabilities", from_ms=10, hop_ms=10, values=[0.5, 0.25]) == (
        Probabilities(10, 10, (0.5, 0.25))
    )
    assert receive(session, "of_a_later_service") is None
    assert receive(session, "session.closed", audio_ms=900, speech_ms=600, segments=1) is None
    assert session.summary is not None
    assert vars(session.summary) == {"audio_ms": 900, "speech_ms": 600, "segments": 1}


def test_times_and_ids_go_on_after_a_loss() -> None:
    session = opened()
    session.sent(16_000)  # 1 s
    start(session, 0, 100)
    stop(session, 0, 100, 400)
    start(session, 1, 500)
    stops, lost = session.lost(1006, "")
    assert stops == [SpeechStopped(1, 500, 1000, 0.7, "disconnect")]
    assert isinstance(lost, StreamLost)
    assert (lost.code, lost.audio_ms, lost.speech_ms, lost.segments) == (1006, 1000, 800, 2)
    assert session.opened(json.dumps(WELCOME)) is None
    assert start(session, 0, 100) == SpeechStarted(2, 1100, 1150, 0.7)
    event = receive(
        session, "speech_discarded", segment_id=0, audio_start_ms=100, audio_end_ms=150, reason="x"
    )
    assert event == SpeechDiscarded(2, 1100, 1150, "x")  # type: ignore[arg-type]
    assert receive(session, "probabilities", from_ms=0, hop_ms=10, values=[]).from_ms == 1000
    receive(session, "session.closed", audio_ms=300, speech_ms=0, segments=0)
    assert session.summary is not None
    assert vars(session.summary) == {"audio_ms": 1300, "speech_ms": 800, "segments": 2}


def test_each_channel_has_ids_of_its_own() -> None:
    session = opened(channels=2)
    session.sent(4 * 8000)
    assert session.audio_ms == 1000
    values = {"audio_start_ms": 10, "detected_at_ms": 60, "probability": 0.7}
    for channel in (0, 1):
        event = receive(session, "speech_started", segment_id=0, channel=channel, **values)
        assert (event.channel, event.segment_id) == (channel, 0)
    stops, _ = session.lost(1012, "")
    assert [(stop.channel, stop.segment_id) for stop in stops] == [(0, 0), (1, 0)]
    session.opened(json.dumps(WELCOME))
    again = receive(session, "speech_started", segment_id=0, channel=1, **values)
    assert (again.channel, again.segment_id, again.audio_start_ms) == (1, 1, 1010)


def test_refusals() -> None:
    session = opened()
    values = {"code": "invalid-parameter", "message": "threshold: no", "param": "threshold"}
    found = receive(session, "error", **values, fatal=False)
    assert isinstance(found, InvalidParameter)
    assert found.param == "threshold"
    receive(session, "error", code="stream-too-long", message="8 h", param=None, fatal=True)
    receive(session, "session.closed", audio_ms=0, speech_ms=0, segments=0)
    assert session.summary is None  # it did not end in good order
    assert isinstance(session.lost(1009, "")[1], TooLarge)

    session = opened()
    bye = {"code": "shutting-down", "message": "bye", "param": None, "retry_after": 1}
    receive(session, "error", **bye, fatal=True)
    _, why = session.lost(1012, "")
    assert isinstance(why, StreamLost)
    assert "bye (1012)" in str(why)
    assert why.retry_after == 1
    for told, understood in ((5, 5), (-1, 0), (None, None), ("soon", None)):
        text = json.dumps({"type": "error", "code": "too-many-streams", "retry_after": told})
        problem = Session(PARAMS).opened(text)
        assert problem is not None
        assert problem.code == "too-many-streams"
        assert problem.retry_after == understood


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": 3}', '{"type": "session.created"}'])
def test_a_stranger_is_told_from_the_service(text: str) -> None:
    with pytest.raises(ConnectionFailed):
        Session(PARAMS).opened(text)


@pytest.mark.parametrize("limits", [[], None, {"max_message_bytes": 0}, {"max_message_bytes": "1"}])
def test_limits_that_no_audio_can_keep_are_refused(limits: Any) -> None:
    with pytest.raises(ConnectionFailed, match="limits"):
        Session(PARAMS).opened(json.dumps({**WELCOME, "limits": limits}))


@pytest.mark.parametrize(
    "values",
    [
        {"type": "session.closed"},
        {"type": "session.closed", "audio_ms": []},
        {"type": "speech_started", "segment_id": "x"},
        START | {"segment_id": None},
        START | {"audio_start_ms": "now"},
    ],
)
def test_malformed_messages_are_the_connections_fault(values: dict[str, Any]) -> None:
    with pytest.raises(ConnectionFailed):
        opened().receive(json.dumps(values))


def test_a_busy_service_ends_a_stream_so_that_it_can_begin_anew() -> None:
    session = opened()
    receive(session, "error", code="too-slow", message="stuck", param=None, fatal=True)
    _, why = session.lost(1013, "")
    assert isinstance(why, StreamLost)
    assert not isinstance(why, Unavailable)


@given(
    st.sampled_from([("pcm_s16le", 2), ("pcm_f32le", 4), ("mulaw", 1)]),
    st.lists(st.lists(st.integers(0, 50), max_size=5), min_size=1, max_size=5),
)
def test_every_connection_gets_whole_samples_and_every_byte_counts_once(
    encoding: tuple[str, int], connections: list[list[int]]
) -> None:
    name, width = encoding
    session = opened(encoding=name)
    position = 0
    for n, sizes in enumerate(connections):
        if n:
            session.lost(1006, "")
            assert session.audio_ms == -(-position // width) * 1000 // 8000 or position
        first = True
        for size in sizes:
            dropped = session.drop(size)
            position += dropped
            if size > dropped:
                if first:
                    assert position % width == 0
                first = False
                session.sent(size - dropped)
                position += size - dropped
    assert abs(session.audio_ms - position / width / 8) <= 1
