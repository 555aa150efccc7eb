"""Several real worker processes with the real model: one service to whoever looks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from .conftest import messages

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120  # two processes load torch, perhaps on a busy machine


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Service:
    """`vad serve --workers 2`, and what it wrote."""

    def __init__(self, log: Path, **settings: str) -> None:
        environment = os.environ | {
            "VAD_LOG_FORMAT": "json", "VAD_DEVICE": "cpu", "PYTHONUNBUFFERED": "1"
        }  # fmt: skip
        self._log = log
        command = [sys.executable, "-m", "vad.cli", "serve", "--port", "0", "--workers", "2"]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment | settings, stdout=out, stderr=out
            )
        until(lambda: len(self.events("ready")) == 2)
        [running] = [r for r in self.records() if "running on" in r["event"]]
        self.port = int(running["event"].split("://127.0.0.1:")[1].split()[0])

    def records(self) -> list[dict[str, Any]]:
        found = []
        for line in self._log.read_text().splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        return [record for record in self.records() if record["event"] == name]

    def pids(self) -> list[int]:
        return [record["pid"] for record in self.events("worker_started")]

    def get(self, path: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE_S).text

    def open(self, query: str = "") -> ClientConnection:
        address = f"ws://127.0.0.1:{self.port}/v1/vad/stream{query}"
        return connect(address, open_timeout=PATIENCE_S, close_timeout=PATIENCE_S)


@contextmanager
def service(log: Path, **settings: str) -> Iterator[Service]:
    made = Service(log, **settings)
    try:
        yield made
    finally:
        made.process.terminate()
        made.process.wait(PATIENCE_S)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Meanwhile, connections go to the other worker."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def speak(client: ClientConnection, audio: bytes) -> None:
    """Sends speech until it is noticed; the segment is open then."""
    assert receive(client)["type"] == "session.created"
    client.send(audio)
    assert receive(client)["type"] == "speech_started"


def receive(client: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.recv(timeout=PATIENCE_S))
    return found


@pytest.mark.timeout(900)
def test_workers_are_one_service(tmp_path: Path, data_dir: Path) -> None:
    audio, rate = soundfile.read(data_dir / "speech.wav", dtype="int16", always_2d=True)
    data = audio[: 2 * rate, 0].tobytes()
    query = f"?sample_rate={rate}&min_silence_duration_ms=600000"  # no stop before the end
    with service(tmp_path / "log", VAD_MAX_STREAMS="2") as served, ExitStack() as stack:
        first, second = served.pids()
        with paused(first):
            survivor = stack.enter_context(served.open(query))
            speak(survivor, data)
        with paused(second):
            victim = stack.enter_context(served.open(query))
            speak(victim, data)

        # The limit holds for both together, whichever is asked.
        for pid in (first, second):
            with paused(pid), served.open() as refused:
                [error], code = messages(refused)
                assert (error["code"], code) == ("too-many-streams", 1013)

        # So do the metrics.
        for pid in (first, second):
            with paused(pid):
                text = served.get("/metrics")
            assert "convad_open_streams 2.0" in text
            assert 'convad_rejections_total{reason="too-many-streams"} 2.0' in text

        # What a dead worker held is free again, and another takes over.
        os.kill(first, signal.SIGKILL)
        with suppress(ConnectionClosed):
            victim.recv(timeout=PATIENCE_S)
        heir = stack.enter_context(served.open(query))
        speak(heir, data)
        until(lambda: len(served.events("ready")) == 3)
        assert "convad_open_streams 2.0" in served.get("/metrics")
        [died] = served.events("worker_died")
        assert (died["pid"], died["exit_code"]) == (first, -signal.SIGKILL)

        # The end: everybody hears of it.
        asked = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        for client in (survivor, heir):
            found, code = messages(client)
            assert [m["type"] for m in found] == ["speech_stopped", "error", "session.closed"]
            assert (found[0]["reason"], code) == ("shutdown", 1012)
        assert served.process.wait(PATIENCE_S) == 0
        assert time.monotonic() - asked < 60


def test_a_model_that_is_missing_is_told_once() -> None:
    command = [sys.executable, "-m", "vad.cli", "serve", "--workers", "2", "--model", "no-such"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("no-such") == 1
    assert "Traceback" not in done.stderr
