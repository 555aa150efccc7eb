"""Live streams against servers that break off, refuse or vanish."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

from vad import SpeechStarted, SpeechStopped
from vad.client import Client, Refused, Retry, ServerFailed, StreamLost, TooLarge

from .conftest import WELCOME, playing, say

QUICK = Retry(first_s=0.01, tries=3)


def welcome(connection: ServerConnection, **limits: Any) -> None:
    connection.send(json.dumps({**WELCOME, "limits": limits}))


def start_then_vanish(connection: ServerConnection) -> None:
    welcome(connection)
    connection.recv()
    say(
        connection,
        "speech_started",
        segment_id=0,
        audio_start_ms=1,
        detected_at_ms=2,
        probability=1,
    )
    connection.recv()
    connection.socket.shutdown(socket.SHUT_RDWR)


def hear_to_the_end(heard: list[bytes]) -> Any:
    def act(connection: ServerConnection) -> None:
        welcome(connection, max_message_bytes=4)
        for message in connection:
            if isinstance(message, bytes):
                heard.append(message)
            elif json.loads(message)["type"] == "end":
                say(connection, "session.closed", audio_ms=1, speech_ms=0, segments=0)
                connection.close()

    return act


def test_a_connection_that_vanishes_ends_open_speech() -> None:
    with playing(start_then_vanish) as url, Client(url).stream(sample_rate=8000) as stream:
        stream.send(bytes(16))
        assert isinstance(next(stream), SpeechStarted)
        stream.send(bytes(16))
        assert next(stream) == SpeechStopped(0, 1, 2, 1, "disconnect")
        for _ in range(2):
            with pytest.raises(StreamLost) as lost:
                next(stream)
    assert (lost.value.code, lost.value.audio_ms, lost.value.segments) == (1006, 2, 1)


def test_a_new_connection_begins_with_a_whole_sample() -> None:
    heard: list[bytes] = []

    def busy(connection: ServerConnection) -> None:
        say(connection, "error", code="not-ready", message="loading", param=None, fatal=True)
        connection.close(1013)

    with playing(start_then_vanish, busy, hear_to_the_end(heard)) as url:
        client = Client(url, retry=QUICK)
        with client.stream(sample_rate=8000, reconnect=True, threshold=0.4) as stream:
            stream.send(b"abcdefgh")
            assert isinstance(next(stream), SpeechStarted)
            stream.send(b"ijk")  # half a sample is lost with the connection
            assert next(stream) == SpeechStopped(0, 1, 1, 1, "disconnect")
            stream.send(b"lmnopqrstu")
            stream.end()
            assert list(stream) == []
            assert stream.audio_ms == 1
            assert stream.summary is not None
            assert stream.summary.audio_ms == 2
        client.close()
    assert heard == [b"mnop", b"qrst", b"u"]


@pytest.mark.parametrize("welcomed", [False, True])
def test_a_service_that_names_a_time_is_tried_no_sooner(welcomed: bool) -> None:
    """In place of a welcome, and of a stream under way."""
    pauses: list[float] = []
    back = threading.Event()

    def go_away(connection: ServerConnection) -> None:
        if welcomed:
            welcome(connection)
        fatal = {"message": "bye", "param": None, "fatal": True}
        pauses.append(time.monotonic())
        say(connection, "error", code="shutting-down", retry_after=0.6, **fatal)
        connection.close(1012)

    def end(connection: ServerConnection) -> None:
        pauses.append(time.monotonic() - pauses.pop())
        back.set()
        hear_to_the_end([])(connection)

    with (
        playing(go_away, end) as url,
        Client(url, retry=QUICK) as client,
        client.stream(sample_rate=8000, reconnect=True) as stream,
    ):
        assert back.wait(60)
        stream.end()
        assert list(stream) == []
    [pause] = pauses
    assert pause >= 0.6


def test_a_time_beyond_patience_ends_the_stream() -> None:
    def go_away(connection: ServerConnection) -> None:
        welcome(connection)
        fatal = {"message": "bye", "param": None, "fatal": True}
        say(connection, "error", code="shutting-down", retry_after=3600, **fatal)
        connection.close(1012)

    with (
        playing(go_away) as url,
        Client(url, retry=QUICK).stream(reconnect=True) as stream,
        pytest.raises(StreamLost, match="bye") as lost,
    ):
        next(stream)
    assert lost.value.retry_after == 3600


def test_limits_are_errors_of_their_own_and_not_reconnected() -> None:
    def limit(connection: ServerConnection) -> None:
        welcome(connection)
        say(connection, "error", code="stream-too-long", message="8 h", param=None, fatal=True)
        say(connection, "session.closed", audio_ms=1, speech_ms=0, segments=0)
        connection.close(1009)

    with playing(limit) as url, Client(url, retry=QUICK).stream(reconnect=True) as stream:
        with pytest.raises(TooLarge, match="8 h"):
            next(stream)
        with pytest.raises(TooLarge, match="8 h"):
            stream.poll()


def test_a_loss_after_the_end_is_a_loss() -> None:
    def forget(connection: ServerConnection) -> None:
        welcome(connection)
        connection.recv()
        connection.close(1012)

    with playing(forget) as url, Client(url, retry=QUICK).stream(reconnect=True) as stream:
        stream.end()
        with pytest.raises(StreamLost, match="1012"):
            list(stream)


def test_a_proxy_that_finds_nobody_is_tried_again_after_a_loss_only() -> None:
    heard: list[bytes] = []
    with playing(start_then_vanish, 502, 500, 504, 503, hear_to_the_end(heard)) as url:
        client = Client(url, retry=Retry(first_s=0.01, tries=4))
        with client, client.stream(sample_rate=8000, reconnect=True) as stream:
            stream.send(b"ab")
            assert isinstance(next(stream), SpeechStarted)
            stream.send(b"cd")
            assert next(stream).type == "speech_stopped"
            stream.send(b"ef")
            stream.end()
            assert list(stream) == []
    assert heard == [b"ef"]
    with (
        playing(502) as url,
        Client(url, retry=QUICK) as client,
        pytest.raises(ServerFailed, match="502"),
        client.stream(reconnect=True),
    ):
        pass


def test_a_refusal_for_good_is_not_tried_again() -> None:
    with (
        playing(start_then_vanish, 404) as url,
        Client(url, retry=QUICK) as client,
        client.stream(reconnect=True) as stream,
    ):
        stream.send(b"ab")
        assert isinstance(next(stream), SpeechStarted)
        stream.send(b"cd")
        assert next(stream).type == "speech_stopped"
        with pytest.raises(Refused, match="404"):
            next(stream)
