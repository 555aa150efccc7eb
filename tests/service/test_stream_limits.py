"""What a live stream may take, each at its boundary; and what happens to one that is stuck."""

from __future__ import annotations

import json
import socket
from contextlib import closing, suppress
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs
from websockets.sync.client import connect

from service.live import websockets
from service.live.messages import Error
from service.live.session import StreamLimits, StreamSession

from .conftest import (
    LOUD_PCM,
    PATIENCE_S,
    EnergyDetector,
    EnergyEngine,
    messages,
    pattern,
    pcm,
    rest,
    running,
    types,
    until,
)

ROUTE = "/v1/vad/stream"
SECOND = pcm(pattern((1, 0)))
MANY: dict[str, Any] = {"max_controls_per_s": 1e6}


def test_lead_over_real_time() -> None:
    now = 100.0
    limits = StreamLimits(2**20, 60, 3600, max_stream_lead_s=2)
    session = StreamSession(EnergyDetector(), limits, "sess_1", clock=lambda: now)
    session.open([])
    assert session.receive_bytes(SECOND) + session.receive_bytes(SECOND) == []
    now += 1
    assert session.receive_bytes(SECOND) == []
    [error, closed] = session.receive_bytes(bytes(2))
    assert isinstance(error, Error)
    assert (error.code, error.fatal, session.close_code) == ("stream-too-fast", True, 1008)
    assert (session.reason, closed.type) == ("limit", "session.closed")
    assert session.audio_ms == 3000


@pytest.mark.parametrize("settings", [{"max_stream_lead_s": 1}])
def test_lead_over_real_time_of_a_real_stream(client: TestClient) -> None:
    with client.websocket_connect(ROUTE) as stream:
        stream.send_bytes(LOUD_PCM)
        stream.send_bytes(SECOND * 20)
        messages, code = rest(stream)
    told = [m["type"] for m in messages]
    assert told[1:] == ["speech_started", "speech_stopped", "error", "session.closed"]
    assert (messages[0]["limits"]["max_stream_lead_s"], messages[2]["reason"]) == (1, "limit")
    assert (messages[3]["code"], code) == ("stream-too-fast", 1008)


@pytest.mark.parametrize("settings", [{"max_queue_bytes": 5000, "stream_stall_s": 0.2}])
@pytest.mark.parametrize("detector", [EnergyDetector(EnergyEngine(seconds=0.7))])
def test_a_full_queue_without_progress_ends_the_stream(client: TestClient) -> None:
    with client.websocket_connect(f"{ROUTE}?min_speech_duration_ms=0") as stream:
        for _ in range(5):
            stream.send_bytes(LOUD_PCM[:4000])
        messages, code = rest(stream)
    assert (messages[-2]["code"], messages[-2]["fatal"], code) == ("stream-stalled", True, 1013)
    events = [m["type"] for m in messages if m["type"].startswith("speech")]
    assert events == ["speech_started", "speech_stopped"]
    assert messages[-1]["audio_ms"] == 125  # what came after the one in hand was not taken


@pytest.mark.parametrize("settings", [{"max_queue_bytes": 5000, "stream_stall_s": 5}])
@pytest.mark.parametrize("detector", [EnergyDetector(EnergyEngine(seconds=0.05))])
def test_a_full_queue_with_progress_loses_nothing(client: TestClient) -> None:
    data = pcm(pattern((1, 0.9), (1, 0)))
    with client.websocket_connect(ROUTE) as stream:
        for i in range(0, len(data), 3000):
            stream.send_bytes(data[i : i + 3000])
        stream.send_json({"type": "end"})
        messages, code = rest(stream)
    assert code == 1000
    assert messages[-1]["audio_ms"] == 2000


def test_pings_are_answered_while_the_work_takes_long() -> None:
    slow = EnergyEngine(seconds=0.7)
    with (
        running(slow) as (_, port),
        connect(f"ws://127.0.0.1:{port}{ROUTE}") as client,
    ):
        assert json.loads(client.recv())["type"] == "session.created"
        before = slow.calls
        for _ in range(3):
            client.send(LOUD_PCM)
        assert client.ping().wait(PATIENCE_S)
        assert slow.calls <= before + 1  # it is still at the first of the messages before the ping
        assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "speech_started"


def masked(opcode: int, payload: bytes = b"") -> bytes:
    """A frame; masked with zeros, which changes nothing."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


@pytest.mark.parametrize(
    "frame",
    [masked(9), masked(10), masked(2), masked(1, b'{"type":"flush"}'), masked(1, b'{"type":"x"}')],
    ids=["ping", "pong", "empty", "flush", "unknown"],
)
@pytest.mark.parametrize("keys", [(), ("secret",)], ids=["open", "before-the-key"])
def test_a_flood_is_read_slowly_and_ends_while_others_are_served(
    frame: bytes, keys: tuple[str, ...]
) -> None:
    if keys and frame[0] & 15 in (1, 2):
        pytest.skip("before its key a client may send one message, which ends it")
    with (
        running(api_keys=keys, max_controls_per_s=200) as (server, port),
        capture_logs() as logs,
        closing(DeafClient(port)) as flooder,
        connect(
            f"ws://127.0.0.1:{port}{ROUTE}", additional_headers={"Authorization": "Bearer secret"}
        ) as innocent,
    ):
        assert json.loads(innocent.recv(timeout=PATIENCE_S))["type"] == "session.created"
        flooder._socket.settimeout(0.02)
        with suppress(OSError):
            flooder._socket.send(frame * 100_000)
        innocent.send(LOUD_PCM)
        assert json.loads(innocent.recv(timeout=PATIENCE_S))["type"] == "speech_started"
        until(lambda: any(r["event"] == "stream_closed" for r in logs))
        [connection] = [c for c in server.server_state.connections if c.close_sent]
        assert len(connection._unread) < 2**20
    closed = next(r for r in logs if r["event"] == "stream_closed")
    assert (closed["reason"], closed["code"]) == ("limit", 1008)


class DeafClient:
    """Asks and asks, and reads no answer; a raw socket, since others read behind one's back."""

    # Each is answered with all parameters, which fills the way back soon.
    FRAME = masked(1, b'{"type":"session.update"}')

    def __init__(self, port: int, frame: bytes = FRAME) -> None:
        self._frame = frame
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", port))
        self._socket.sendall(
            f"GET {ROUTE} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        self._socket.settimeout(0.1)
        self._rest = b""

    def ask(self) -> None:
        """Sends as much as goes at once, if the server still takes anything."""
        data = self._rest or self._frame * 500
        with suppress(OSError):
            self._rest = data[self._socket.send(data) :]

    def close(self) -> None:
        self._socket.close()


def test_a_slow_reader_of_events_ends_alone() -> None:
    settings = MANY | {"max_queue_bytes": 20_000, "stream_stall_s": 0.5}
    with running(**settings) as (server, port), capture_logs() as logs:
        # Connections inherit it; else the kernel would keep megabytes before anybody waits.
        listener = server.servers[0].sockets[0]
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

        def given_up() -> bool:
            deaf.ask()
            return "stream_not_listening" in [record["event"] for record in logs]

        with (
            closing(DeafClient(port)) as deaf,
            connect(f"ws://127.0.0.1:{port}{ROUTE}") as neighbour,
        ):
            assert json.loads(neighbour.recv(timeout=PATIENCE_S))["type"] == "session.created"
            until(given_up)
            neighbour.send(LOUD_PCM)
            neighbour.send(json.dumps({"type": "end"}))
            found, code = messages(neighbour)
            metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S).text
    assert [m["type"] for m in found] == ["speech_started", "speech_stopped", "session.closed"]
    assert code == 1000
    assert "convad_open_streams 2.0" not in metrics  # its place is free again
    [closed] = [r for r in logs if r["event"] == "stream_closed" and r["code"] == 1013]
    assert closed["reason"] == "limit"


def test_who_takes_nothing_and_sends_nothing_is_given_up_too() -> None:
    with running(**MANY, stream_stall_s=0.5) as (server, port), capture_logs() as logs:
        server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with closing(DeafClient(port)) as deaf:
            for _ in range(20):  # less than its queue takes, and answered by megabytes
                deaf.ask()
            until(lambda: any(r["event"] == "stream_closed" for r in logs))
    [closed] = [r for r in logs if r["event"] == "stream_closed"]
    assert (closed["reason"], closed["code"]) == ("limit", 1013)
    assert [r for r in logs if r["event"] == "stream_not_listening"]
    told = server._service.metrics.registry.get_sample_value(
        "convad_rejections_total", {"reason": "stream-stalled"}
    )
    assert told == 1  # it was tried once


def test_pongs_do_not_pile_up_for_who_reads_nothing() -> None:
    with running(**MANY, stream_idle_s=10 * PATIENCE_S) as (server, port):
        server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with closing(DeafClient(port, masked(9, bytes(125)))) as deaf:
            until(lambda: len(server.server_state.connections) == 1)
            for _ in range(100):  # 6 MB of them
                deaf.ask()
            [connection] = server.server_state.connections
            waiting = connection.transport.get_write_buffer_size()
    assert 0 < waiting < 2**20


def test_who_does_not_take_the_last_words_loses_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websockets, "LINGER_S", 0.5)
    with running(**MANY, stream_stall_s=0.5) as (server, port):
        server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with closing(DeafClient(port)) as deaf:
            until(lambda: len(server.server_state.connections) == 1)
            for _ in range(20):
                deaf.ask()
            until(lambda: not server.server_state.connections)


def test_unknown_paths_get_a_clear_close(client: TestClient) -> None:
    with client.websocket_connect("/v1/vad/steam?x=1") as stream:
        [error], code = rest(stream)
    assert (error["code"], error["fatal"], code) == ("not-found", True, 1008)
    assert "/v1/vad/stream" in error["message"]


def test_a_lead_without_a_limit_is_none() -> None:
    session = StreamSession(EnergyDetector(), StreamLimits(2**20, 60, 3600), "sess_1")
    session.open([])
    assert types(session.receive_bytes(SECOND * 30)) == []
