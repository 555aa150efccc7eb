"""Live streams against the real service."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable

import pytest

from vad import Detector, Event, Segments, SpeechStarted, SpeechStopped, StreamClosed
from vad.client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    InvalidParameter,
    Retry,
    StreamLost,
    Unavailable,
)

from .conftest import running

PATIENT = Retry(first_s=0.2, longest_s=5, tries=200)


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
