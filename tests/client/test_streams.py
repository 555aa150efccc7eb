"""Live streams: against the real service, and against servers that break off."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

from vad import Detector, Event, Segments, SpeechStarted, SpeechStopped, StreamClosed
from vad.client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    InvalidParameter,
    Retry,
    StreamLost,
    TooLarge,
    Unavailable,
)

from .conftest import WELCOME, playing, running, say

QUICK = Retry(first_s=0.01, tries=3)
PATIENT = Retry(first_s=0.2, longest_s=1, tries=200)


def chunks(audio: bytes, size: int) -> Iterable[bytes]:
    return (audio[i : i + size] for i in range(0, len(audio), size))


def stopped(events: Iterable[Event]) -> list[tuple[int, int]]:
    return [(e.audio_start_ms, e.audio_end_ms) for e in events if isinstance(e, SpeechStopped)]


def in_ms(found: Segments) -> list[tuple[int, int]]:
    return [(round(1000 * s.start), round(1000 * s.end)) for s in found.speech]


def paired(events: Iterable[Event]) -> bool:
    """Whether each start has its end."""
    open_ids: list[int] = []
    for event in events:
        if isinstance(event, SpeechStarted):
            open_ids.append(event.segment_id)
        elif event.type != "probabilities":
            open_ids.remove(event.segment_id)
    return not open_ids


@pytest.mark.parametrize(("size", "seconds"), [(640, 8), (7, 1), (10**6, 8)])
def test_any_chunks_give_what_the_library_gives(
    service: str, detector: Detector, pcm: bytes, size: int, seconds: int
) -> None:
    audio = pcm[: 32_000 * seconds]
    want = detector.detect(audio, 16_000, encoding="pcm_s16le")
    with Client(service) as client, client.stream() as stream:
        for chunk in chunks(audio, size):
            stream.send(chunk)
        stream.end()
        events = list(stream)
        assert stream.summary is not None
        assert (stream.summary.audio_ms, stream.summary.segments) == (
            1000 * seconds,
            len(want.speech),
        )
        with pytest.raises(StreamClosed):
            stream.send(b"more")
        assert list(stream) == []
    assert stopped(events) == in_ms(want)
    assert paired(events)


def test_async_sends_and_reads_at_once(service: str, pcm: bytes, expected: Segments) -> None:
    async def run() -> list[Event]:
        async with AsyncClient(service) as client, client.stream(probabilities=True) as stream:

            async def send() -> None:
                for chunk in chunks(pcm, 3200):
                    await stream.send(chunk)
                await stream.end()

            sending = asyncio.create_task(send())
            events = [event async for event in stream]
            await sending
            return events

    events = asyncio.run(run())
    assert stopped(events) == in_ms(expected)
    frames = [len(e.values) for e in events if e.type == "probabilities"]
    assert sum(frames) == 800


def test_commands(service: str, pcm: bytes) -> None:
    with Client(service) as client, client.stream(threshold=0.4) as stream:
        assert stream.info.params["threshold"] == 0.4
        stream.send(pcm[:64_000])
        stream.keepalive()
        stream.flush()
        stream.send(pcm[64_000:128_000])
        stream.reset()
        stream.update(threshold=0.6)
        stream.update(threshold=7)
        stream.end()
        events = []
        with pytest.raises(InvalidParameter, match="threshold"):
            events.extend(stream)
        events += list(stream)
        assert stream.audio_ms == 4000
    reasons = [event.reason for event in events if isinstance(event, SpeechStopped)]
    assert {"flush", "reset"} <= set(reasons)
    assert paired(events)


def test_events_can_be_taken_as_they_come(service: str, pcm: bytes) -> None:
    events: list[Event] = []
    with Client(service) as client, client.stream() as stream:
        assert stream.poll() == []
        for chunk in chunks(pcm[:96_000], 9600):
            stream.send(chunk)
        deadline = time.monotonic() + 60
        while not events:
            assert time.monotonic() < deadline
            events += stream.poll()
            time.sleep(0.01)
        stream.end()
        events += list(stream)
        assert stream.poll() == []
    assert paired(events)


def test_wrong_parameters_are_told_at_once(service: str) -> None:
    with Client(service) as client:
        for query in ({"threshold": 2}, {"treshold": 0.5}, {"encoding": "mp3"}):
            with pytest.raises(InvalidParameter) as wrong, client.stream(**query):  # type: ignore[arg-type]
                pass
            assert wrong.value.param == next(iter(query))
        with pytest.raises(StreamClosed):
            client.stream().send(b"")
        with pytest.raises(StreamClosed):
            _ = client.stream().info
    with pytest.raises(ConnectionFailed), Client("http://127.0.0.1:9").stream():
        pass


def test_a_full_service_is_tried_again(detector: Detector) -> None:
    with running(detector, max_streams=1) as port:
        client = Client(f"http://127.0.0.1:{port}", retry=Retry(tries=0))
        patient = Client(f"http://127.0.0.1:{port}", retry=PATIENT)
        with client.stream() as first:
            with pytest.raises(Unavailable), client.stream():
                pass
            timer = threading.Timer(0.3, first.end)
            timer.start()
            with patient.stream() as second:
                second.end()
                assert list(second) == []
            timer.join()
        client.close()
        patient.close()


@pytest.mark.parametrize("reconnect", [False, True])
def test_a_restart_in_mid_speech(detector: Detector, pcm: bytes, reconnect: bool) -> None:
    first, half = running(detector), 32_000  # 1 s: by then somebody speaks
    port = first.__enter__()
    client = Client(f"http://127.0.0.1:{port}", retry=PATIENT)
    with client, client.stream(reconnect=reconnect) as stream:
        stream.send(pcm[:half])
        events = [next(stream)]  # the start: so the server has heard it
        first.__exit__(None, None, None)
        if reconnect:
            with running(detector, port):
                for chunk in chunks(pcm[half:96_000], 3200):
                    stream.send(chunk)
                stream.end()
                events += list(stream)
            assert stream.summary is not None
            assert stream.summary.audio_ms == 3000
        else:
            with pytest.raises(StreamLost) as lost:
                events.extend(stream)
            with pytest.raises(StreamLost):
                stream.send(pcm[half:])
            assert (lost.value.code, lost.value.audio_ms, lost.value.segments) == (1012, 1000, 1)
    assert paired(events)
    ends = [event for event in events if isinstance(event, SpeechStopped)]
    # The server told of this end itself.
    assert (ends[0].reason, ends[0].audio_end_ms) == ("shutdown", 1000)
    assert len(ends) == 1 if not reconnect else len(ends) > 1
    assert all(event.audio_start_ms >= 1000 for event in ends[1:])
    assert [event.segment_id for event in ends] == list(range(len(ends)))


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


def test_a_handshake_may_be_refused_by_a_proxy() -> None:
    from .conftest import answering  # it answers POST only, so GET is its 501

    with answering() as (url, _), pytest.raises(Exception, match="501"), Client(url).stream():
        pass
