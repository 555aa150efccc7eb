"""A real uvicorn on a real socket: what only shows there."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import WebSocket
from structlog.testing import capture_logs
from websockets.sync.client import ClientConnection, connect

from service.files import feed

from .conftest import (
    PATIENCE_S,
    EnergyEngine,
    answered,
    messages,
    pattern,
    pcm,
    running,
    until,
    wav,
)

LOUD = pcm(pattern((0.5, 0.9)))
ROOT = Path(__file__).parents[2]


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def start_speech(client: ClientConnection) -> None:
    assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "session.created"
    client.send(LOUD)
    assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "speech_started"


def ended_at_sigterm(
    server: Any, client: ClientConnection, chunks: int
) -> tuple[list[dict[str, Any]], int]:
    """What a client hears that says its last while the server is told to go."""
    start_speech(client)
    for _ in range(chunks):
        client.send(LOUD)
    client.send('{"type":"end"}')
    server.handle_exit(signal.SIGTERM, None)
    return messages(client)


@pytest.mark.parametrize("politely", [True, False])
def test_a_disconnect_in_mid_speech_is_logged(politely: bool) -> None:
    with running() as (_, port), capture_logs() as logs:
        metrics = f"http://127.0.0.1:{port}/metrics"
        with connect(f"ws://127.0.0.1:{port}/v1/vad/stream") as client:
            start_speech(client)
            assert "convad_open_streams 1.0" in httpx.get(metrics).text
            if not politely:
                client.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: any(record["event"] == "stream_closed" for record in logs))
        assert "convad_open_streams 0.0" in httpx.get(metrics).text
    [stopped] = [record for record in logs if record["event"] == "speech_stopped"]
    assert (stopped["reason"], stopped["audio_end_ms"]) == ("disconnect", 500)
    [closed] = [record for record in logs if record["event"] == "stream_closed"]
    assert closed["reason"] == "disconnect"


def test_sigterm_sends_the_last_stop_before_the_close() -> None:
    with running() as (server, port), connect(f"ws://127.0.0.1:{port}/v1/vad/stream") as client:
        start_speech(client)
        server.handle_exit(signal.SIGTERM, None)
        found, code = messages(client)
    assert [m["type"] for m in found] == ["speech_stopped", "error", "session.closed"]
    assert found[0]["reason"] == "shutdown"
    assert code == 1012


@pytest.mark.parametrize("max_queue_bytes", [2**20, 5000], ids=["read", "unread"])
def test_who_has_said_its_last_gets_its_last_answer_at_sigterm(max_queue_bytes: int) -> None:
    slow = EnergyEngine(seconds=0.05)
    with (
        running(slow, max_queue_bytes=max_queue_bytes) as (server, port),
        connect(f"ws://127.0.0.1:{port}/v1/vad/stream") as client,
    ):
        found, code = ended_at_sigterm(server, client, chunks=4)
    assert [m["type"] for m in found] == ["speech_stopped", "session.closed"]
    assert (found[0]["reason"], found[1]["audio_ms"], code) == ("end", 2500, 1000)


def test_who_has_more_to_say_than_the_grace_has_time_for_still_gets_its_stop() -> None:
    slow = EnergyEngine(seconds=0.5)
    with (
        running(slow, shutdown_grace_s=2) as (server, port),
        connect(f"ws://127.0.0.1:{port}/v1/vad/stream") as client,
    ):
        found, code = ended_at_sigterm(server, client, chunks=40)
    assert [m["type"] for m in found] == ["speech_stopped", "error", "session.closed"]
    assert (found[0]["reason"], code) == ("shutdown", 1012)
    assert 500 < found[2]["audio_ms"] < 20_500


@pytest.mark.parametrize("path", ["/v1/vad/stream", "/v1/realtime"])
def test_a_handshake_at_sigterm_is_told_of_the_restart(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    accept, arrived, listening = WebSocket.accept, threading.Event(), True

    async def late(self: WebSocket, *args: Any) -> None:
        arrived.set()
        while listening:  # so the sockets are asked to shut down before this handshake is done
            await asyncio.sleep(0.001)
        await accept(self, *args)

    monkeypatch.setattr(WebSocket, "accept", late)
    with running() as (server, port), ThreadPoolExecutor(1) as pool:
        coming = pool.submit(connect, f"ws://127.0.0.1:{port}{path}")
        assert arrived.wait(PATIENCE_S)
        server.handle_exit(signal.SIGTERM, None)
        until(lambda: not server.servers[0].is_serving())
        listening = False
        with coming.result(PATIENCE_S) as client:
            found, code = messages(client)
    assert [m["type"] for m in found] == ["error"]
    assert "shutting down" in json.dumps(found[0])
    assert code == 1012


def test_a_client_that_has_yet_to_give_its_key_is_told_of_the_restart() -> None:
    with (
        running(api_keys="alpha-key") as (server, port),
        connect(f"ws://127.0.0.1:{port}/v1/vad/stream") as client,
    ):
        until(lambda: len(server.server_state.tasks) == 1)
        server.handle_exit(signal.SIGTERM, None)
        found, code = messages(client)
    assert [m["code"] for m in found] == ["shutting-down"]
    assert code == 1012


def test_a_request_in_flight_is_answered_after_sigterm() -> None:
    with running() as (server, port), dial(port) as client:
        client.sendall(post(RAW, LOUD)[:-1])
        until(lambda: len(server.server_state.tasks) == 1)
        server.handle_exit(signal.SIGTERM, None)
        until(lambda: not server.started or not server.servers[0].is_serving())
        client.sendall(LOUD[-1:])
        status, body = answered(client)
    assert status == 200
    assert b'"label": "speech"' in body


def test_a_message_beyond_all_bounds_is_not_buffered() -> None:
    with running(max_message_bytes=1000) as (_, port):
        with connect(f"ws://127.0.0.1:{port}/v1/vad/stream") as client:
            client.send(bytes(1500))
            found, code = messages(client)
        assert (found[1]["code"], code) == ("message-too-large", 1009)
        with connect(f"ws://127.0.0.1:{port}/v1/vad/stream") as client:
            client.send(bytes(5000))
            _, code = messages(client)
        assert code == 1009


def test_a_client_that_goes_while_it_uploads_is_no_fault_of_the_server() -> None:
    with running() as (_, port), capture_logs() as logs:
        with dial(port) as client:
            client.sendall(
                b"POST /v1/vad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc"
            )
        until(lambda: any(record["event"] == "request" for record in logs))
    assert [r["status"] for r in logs if r["event"] == "request"] == ["499"]
    assert not [r for r in logs if r["log_level"] == "error"]


RAW = "/v1/vad?encoding=pcm_s16le&sample_rate=16000"
TALK = pcm(pattern(*[(1, 0), (1, 0.9)] * 20))


def test_ndjson_sends_what_is_final_before_the_end() -> None:
    arrived: list[float] = []
    with running(EnergyEngine(seconds=0.02)) as (_, port):
        url = f"http://127.0.0.1:{port}{RAW}&response_format=ndjson"
        with httpx.stream("POST", url, content=TALK) as response:
            for _ in response.iter_lines():
                arrived.append(time.monotonic())
    assert len(arrived) == 41
    assert arrived[-1] - arrived[0] > 0.5


@pytest.mark.parametrize(("format", "status"), [("json", "499"), ("ndjson", "200")])
def test_a_client_that_goes_stops_the_work(format: str, status: str) -> None:
    engine = EnergyEngine(seconds=0.1)
    once = pcm(pattern((0.5, 0.9), (40, 0)))  # nothing becomes final for a long time
    with running(engine) as (_, port), capture_logs() as logs:
        warm = engine.calls
        with dial(port) as client:
            client.sendall(post(f"{RAW}&response_format={format}", once))
            until(lambda: engine.calls > warm + 3)
        until(lambda: any(record["event"] == "request" for record in logs))
        calls = engine.calls
    [request] = [record for record in logs if record["event"] == "request"]
    assert request["status"] == status
    assert engine.calls == calls < warm + 30  # of 41


def test_a_long_request_does_not_outlive_the_grace() -> None:
    slow = EnergyEngine(seconds=0.2)
    with running(slow, shutdown_grace_s=1) as (server, port), dial(port) as client:
        warm = slow.calls
        client.sendall(post(RAW, TALK))
        until(lambda: slow.calls > warm)
        asked = time.monotonic()
        server.handle_exit(signal.SIGTERM, None)
        status, body = answered(client)
    assert time.monotonic() - asked > 0.5
    assert (status, json.loads(body)["type"].rpartition(":")[2]) == (503, "shutting-down")


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


PROCESS = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("conftest", sys.argv[1])
conftest = importlib.util.module_from_spec(spec)
sys.modules["conftest"] = conftest
spec.loader.exec_module(conftest)
from service import Settings, create_server, logs
settings = Settings(port=0, log_format="json")
logs.configure(settings)
logs.configure_stdlib(settings)
create_server(settings, conftest.EnergyDetector()).run()
"""


def test_a_real_process_ends_at_a_real_sigterm() -> None:
    conftest = str(Path(__file__).with_name("conftest.py"))
    command = [sys.executable, "-c", PROCESS, conftest]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        records = (json.loads(line) for line in process.stdout)
        address = next(r["event"] for r in records if "running on" in r["event"])
        port = address.split("://127.0.0.1:")[1].split()[0]
        with connect(f"ws://127.0.0.1:{port}/v1/vad/stream") as client:
            start_speech(client)
            process.terminate()
            found, code = messages(client)
        events = [record["event"] for record in records]
        process.wait(PATIENCE_S)
    assert (found[0]["reason"], code) == ("shutdown", 1012)
    assert process.returncode == 0
    assert events.index("draining") < events.index("stream_closed") < events.index("stopped")


def test_who_reads_no_lines_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file's thread waits for room then, of which the event loop alone could make some."""
    monkeypatch.setattr(feed, "ROOM", 4)
    data = wav(pattern(*[(0.02, 0.9), (0.02, 0)] * 500))
    query = "response_format=ndjson&min_silence_duration_ms=0&min_speech_duration_ms=0"
    with running(shutdown_grace_s=0.5) as (server, port):
        listener = server.servers[0].sockets[0]
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with dial(port) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            head = f"POST /v1/vad?{query} HTTP/1.1\r\nHost: localhost\r\n"
            client.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            service = server.config.app.state.service  # type: ignore[union-attr]
            until(lambda: bool(service.files._under_way) or bool(service.bodies._under_way))
            client.recv(1)
            started = time.monotonic()
            server.handle_exit(signal.SIGTERM, None)
            until(lambda: service.phase.value == "draining")
            until(lambda: not server.server_state.tasks)
    assert time.monotonic() - started < 0.5 + 5 + 5  # and what a busy machine takes
    gc.collect()  # asyncio reports what nobody awaited when it is collected
    assert not [record for record in caplog.records if record.exc_info]


def test_a_second_signal_ends_at_once(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env=os.environ | {"VAD_PORT": str(port), "VAD_SHUTDOWN_GRACE_S": "300"},
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: ready(port))
        with dial(port) as client:
            head = "POST /v1/vad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            client.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert b" 100 " in client.recv(100)  # it is under way
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):  # the request may still be sent
                process.wait(1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()


def ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz/ready").is_success
    except httpx.TransportError:
        return False
