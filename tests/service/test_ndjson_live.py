"""`ndjson` of a raw body: answered while the body still arrives, on a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from service.errors import ClientGone
from service.files.workers import Cancellation, Relay

from .conftest import SPEECH_WAV, EnergyEngine, check_problem, lines, pattern, pcm, until, wav
from .test_server import dial, running

ROUTE = "/v1/vad?response_format=ndjson"
PCM = f"{ROUTE}&encoding=pcm_s16le&sample_rate=16000"
TALK = wav(pattern(*[(1, 0), (1, 0.9)] * 10))
CHUNKED = (
    "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\n"
    "Transfer-Encoding: chunked\r\n"
)


class Upload:
    """A body that is sent by hand, and the lines that come back meanwhile."""

    def __init__(self, connection: socket.socket, path: str) -> None:
        connection.settimeout(60)
        self._connection = connection
        self._received = b""
        connection.sendall(CHUNKED.format(path).encode() + b"Connection: close\r\n\r\n")

    def send(self, data: bytes) -> None:
        """A chunk; the empty one is the last."""
        self._connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def line(self) -> dict[str, Any]:
        """The next line of the answer."""
        while b"}\n" not in self._received:
            assert self._receive(), self._received
        line, _, self._received = self._received.partition(b"}\n")
        found: dict[str, Any] = json.loads(line[line.index(b'{"type"') :] + b"}")
        return found

    def rest(self) -> list[dict[str, Any]]:
        while self._receive():
            pass
        found = []
        while b"}\n" in self._received:
            found.append(self.line())
        return found

    def _receive(self) -> bytes:
        data = self._connection.recv(65536)
        self._received += data
        return data


def test_the_first_line_comes_before_the_last_byte_is_sent() -> None:
    with running() as (_, port), dial(port) as connection:
        upload = Upload(connection, ROUTE)
        upload.send(TALK[: len(TALK) // 2])
        first = upload.line()
        upload.send(TALK[len(TALK) // 2 :])
        upload.send(b"")
        rest = upload.rest()
    assert (first["type"], first["label"], first["start"]) == ("segment", "non_speech", 0)
    assert [line["type"] for line in rest] == ["segment"] * 19 + ["summary"]
    assert rest[-1]["duration"] == 20


@pytest.mark.parametrize("name", ["speech.wav", "speech.opus", "speech.m4a", "speech.webm"])
def test_a_body_that_arrives_gives_what_a_stored_one_gives(
    client: TestClient, data_dir: Path, name: str
) -> None:
    """Of these, m4a has its index at the end, for which FFmpeg must seek."""
    data = (data_dir / name).read_bytes()
    pieces = (data[i : i + 5000] for i in range(0, len(data), 5000))
    path = f"{ROUTE}&threshold=0.1"
    *arriving, summary = lines(client.post(path, content=pieces))
    *stored, expected = lines(client.post(path, files={"file": (name, data)}))
    assert len(stored) > 5
    assert arriving == stored
    assert summary["duration"] == expected["duration"]
    assert summary["source"] == expected["source"]
    assert summary["warnings"] == expected["warnings"]


@pytest.mark.parametrize("settings", [{"max_live_bodies": 0}])
def test_without_a_place_a_body_is_stored_first(client: TestClient) -> None:
    assert lines(client.post(ROUTE, content=SPEECH_WAV))[-1]["duration"] == 4.5


def test_places_come_back(app: FastAPI, client: TestClient) -> None:
    for body in (SPEECH_WAV, b"junk"):
        client.post(ROUTE, content=body)
    assert app.state.service.live_bodies.taken == 0


def test_nothing_but_junk_has_its_own_status(client: TestClient) -> None:
    check_problem(client.post(ROUTE, content=b"junk"), 400, "undecodable-audio")
    check_problem(client.post(ROUTE, content=b""), 400, "undecodable-audio")
    check_problem(client.post(f"{ROUTE}&threshold=2", content=b"x"), 422, "invalid-parameter")


def test_a_body_that_grows_too_large_ends_in_an_error_line() -> None:
    with running(max_body_bytes=100_000) as (_, port), dial(port) as connection:
        upload = Upload(connection, PCM)
        upload.send(TALK[:96_000])
        assert upload.line()["type"] == "segment"
        upload.send(bytes(10_000))
        *_, last = upload.rest()
    assert (last["type"], last["problem"]["status"]) == ("error", 413)


def test_a_body_that_ceases_ends_in_an_error_line() -> None:
    with running(body_idle_s=1) as (_, port), dial(port) as connection:
        upload = Upload(connection, PCM)
        upload.send(TALK[:96_000])
        with sending(upload, bytes(320)):  # so that it ceases after the first line only
            assert upload.line()["type"] == "segment"
        *_, last = upload.rest()
    assert (last["type"], last["problem"]["status"]) == ("error", 408)


@contextmanager
def sending(upload: Upload, data: bytes) -> Iterator[None]:
    """Within this, `data` is sent over and over."""
    enough = threading.Event()

    def send() -> None:
        while not enough.wait(0.05):
            upload.send(data)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def test_a_client_that_goes_in_the_middle_stops_the_work() -> None:
    engine = EnergyEngine()
    with running(engine) as (server, port), capture_logs() as logs:
        with dial(port) as connection:
            upload = Upload(connection, PCM)
            upload.send(TALK[: len(TALK) // 2])
            upload.line()
        until(lambda: any(record["event"] == "request" for record in logs))
        calls = engine.calls
        time.sleep(0.2)
        assert engine.calls == calls
        service = server.config.app.state.service  # type: ignore[union-attr]
        assert service.live_bodies.taken == 0
    assert not [record for record in logs if record["log_level"] == "error"]


def test_a_client_that_reads_nothing_before_it_has_sent_all() -> None:
    syllables = pcm(pattern(*[(0.01, 0), (0.01, 0.9)] * 30))
    path = f"{PCM}&min_speech_duration_ms=0&min_silence_duration_ms=0&speech_pad_ms=0"
    with running() as (_, port), dial(port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        upload = Upload(connection, path)
        for _ in range(20):
            upload.send(syllables)
        upload.send(b"")
        *segments, last = upload.rest()
    assert last["type"] == "summary"
    assert len(segments) > 1000


def relayed(room: int, count: int, stop: Cancellation) -> tuple[Relay[int], threading.Thread]:
    relay: Relay[int] = Relay(stop, room)

    def work() -> None:
        with suppress(ClientGone):
            for i in range(count):
                relay.put(i)
        relay.end()

    thread = threading.Thread(target=work)
    thread.start()
    return relay, thread


def test_items_wait_for_whoever_is_slow_to_take_them() -> None:
    async def scenario() -> None:
        relay, thread = relayed(5, 5, Cancellation())
        thread.join(10)
        assert not thread.is_alive()
        assert [item async for item in relay] == list(range(5))

    asyncio.run(scenario())


def test_no_more_items_wait_than_there_is_room_for() -> None:
    async def scenario() -> None:
        relay, thread = relayed(2, 5, Cancellation())
        thread.join(0.2)
        assert thread.is_alive()
        assert [item async for item in relay] == list(range(5))
        thread.join(10)

    asyncio.run(scenario())


def test_cancellation_wakes_whoever_waits_for_room() -> None:
    async def scenario() -> None:
        stop = Cancellation()
        relay, thread = relayed(2, 5, stop)
        stop.cancel()
        thread.join(10)
        assert not thread.is_alive()
        assert [item async for item in relay] in ([], [0], [0, 1])

    asyncio.run(scenario())
