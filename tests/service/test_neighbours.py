"""What one client takes is not taken from others: on a real socket, or in a real process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from websockets.sync.client import connect

from service import state
from service.files import feed
from service.http import detect

from .conftest import (
    PATIENCE_S,
    SPEECH,
    SPEECH_WAV,
    EnergyEngine,
    answered,
    pattern,
    rest,
    running,
    until,
    upload,
    wav,
)
from .test_server import dial, ready

MANY_SEGMENTS = "min_silence_duration_ms=0&min_speech_duration_ms=0"


def request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def deaf(port: int, sent: bytes) -> socket.socket:
    """A client that reads nothing of its answer."""
    client = dial(port)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(sent)
    return client


def test_who_reads_no_lines_does_not_keep_the_only_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "ROOM", 4)
    data = wav(pattern(*[(0.02, 0.9), (0.02, 0)] * 500))
    with running(file_workers=1, max_live_bodies=0, stream_stall_s=0.5) as (server, port):
        server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        path = f"/v1/vad?response_format=ndjson&{MANY_SEGMENTS}"
        with closing(deaf(port, request(path, data))):
            until(lambda: len(server.config.app.state.service.files._under_way) == 1)  # type: ignore[union-attr]
            url = f"http://127.0.0.1:{port}/v1/vad"
            assert httpx.post(url, content=SPEECH_WAV, timeout=PATIENCE_S).is_success


def test_few_large_answers_are_there_until_they_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LARGE_ANSWERS", 1)
    monkeypatch.setattr(detect, "LARGE", 1000)
    with running(stream_stall_s=1) as (server, port):
        server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        path, data = "/v1/vad?include=probabilities", wav(pattern((600, 0)))
        service = server.config.app.state.service  # type: ignore[union-attr]
        with closing(deaf(port, request(path, data))) as first:
            assert first.recv(1)  # its answer is there, and not read
            with closing(dial(port)) as second:
                second.sendall(request(path, SPEECH_WAV))
                time.sleep(0.2)
                assert not service.files._under_way  # it waits
                status, body = answered(second)  # until the first has lost its connection
        assert status == 200
        assert len(json.loads(body)["frames"]["probabilities"]) == 450
        until(lambda: not service.large_answers.locked())


def test_a_short_file_does_not_wait_for_long_ones() -> None:
    slow = EnergyEngine(seconds=0.02)
    long = wav(pattern((120, 0)))
    with running(slow) as (_, port):
        url, took = f"http://127.0.0.1:{port}/v1/vad", list[float]()

        def ask() -> None:
            assert httpx.post(url, content=long, timeout=PATIENCE_S).is_success
            took.append(time.monotonic())

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        before = slow.calls
        until(lambda: slow.calls > before + 4)
        assert httpx.post(url, content=SPEECH_WAV, timeout=PATIENCE_S).is_success
        answered_at = time.monotonic()
        for thread in threads:
            thread.join()
    assert answered_at < min(took)


@pytest.mark.parametrize("settings", [{"max_stream_open_s": 0.5}])
def test_a_stream_is_not_kept_open_for_ever_by_keepalives(client: TestClient) -> None:
    with client.websocket_connect("/v1/vad/stream") as stream:
        for _ in range(20):
            stream.send_json({"type": "keepalive"})
            time.sleep(0.05)
        found, code = rest(stream)
    assert (found[-2]["code"], code) == ("stream-too-long", 1008)


@pytest.mark.parametrize("settings", [{"max_requests_per_address": 1}])
def test_answers_give_their_places_back(client: TestClient) -> None:
    for _ in range(3):
        answer = client.post("/v1/vad?include=probabilities", files=upload(wav(SPEECH)))
        assert answer.status_code == 200


def test_a_process_tells_no_queries_and_leaves_no_files(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder, log = tmp_path / "tmp", tmp_path / "log"
    folder.mkdir()
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"],
            env=os.environ | {"VAD_PORT": str(port), "TMPDIR": str(folder)},
            stdout=out,
            stderr=out,
        )
    try:
        until(lambda: ready(port))
        query: Any = "token=confidential"
        httpx.get(f"http://127.0.0.1:{port}/version?{query}")
        httpx.get(f"http://127.0.0.1:{port}/nowhere?{query}")
        for path in ("/v1/vad/stream", "/nowhere"):
            with connect(f"ws://127.0.0.1:{port}{path}?{query}") as client, suppress(Exception):
                client.recv(timeout=PATIENCE_S)
        with closing(dial(port)) as upload:
            upload.sendall(request("/v1/vad", bytes(4 * 2**20))[:-1])  # more than stays in memory
            time.sleep(0.5)
            process.send_signal(signal.SIGKILL)
            process.wait()
    finally:
        process.kill()
        process.wait()
    assert "/version" in log.read_text()
    assert "confidential" not in log.read_text()
    assert list(folder.iterdir()) == []
