from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import soundfile
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import Gauge
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from service import Settings, create_app
from service.errors import ServiceError, ShuttingDown, TooManyStreams
from service.limits import Quota
from service.live.registry import StreamRegistry
from vad import Detector

from .conftest import PATIENCE_S, SPEECH, EnergyDetector, EnergyEngine, pattern, pcm, rest, until

ROUTE = "/v1/vad/stream"
LOUD = pcm(pattern((0.5, 0.9)))


def open_streams(app: FastAPI) -> float | None:
    value: float | None = app.state.service.metrics.registry.get_sample_value("convad_open_streams")
    return value


def named(logs: list[Any], event: str) -> list[Any]:
    return [record for record in logs if record["event"] == event]


def test_a_whole_conversation(app: FastAPI, client: TestClient) -> None:
    data = pcm(SPEECH)
    with client.websocket_connect(f"{ROUTE}?threshold=0.6&probabilities=true") as socket:
        created = socket.receive_json()
        assert created["type"] == "session.created"
        assert created["params"]["threshold"] == 0.6
        assert open_streams(app) == 1
        for i in range(0, len(data), 5001):
            socket.send_bytes(data[i : i + 5001])
        socket.send_json({"type": "keepalive"})
        socket.send_json({"type": "end"})
        messages, code = rest(socket)
    assert code == 1000
    assert messages[-1] == {
        "type": "session.closed", "audio_ms": 4500, "speech_ms": 2120, "segments": 2
    }  # fmt: skip
    stops = [m for m in messages if m["type"] == "speech_stopped"]
    assert [(m["audio_start_ms"], m["audio_end_ms"]) for m in stops] == [(970, 2030), (2970, 4030)]
    values = [v for m in messages if m["type"] == "probabilities" for v in m["values"]]
    assert len(values) == 450
    assert open_streams(app) == 0
    sample = app.state.service.metrics.registry.get_sample_value
    assert sample("convad_audio_seconds_total", {"kind": "stream"}) == 4.5
    assert sample("convad_step_seconds_count") > 1


@pytest.mark.parametrize(
    ("query", "param"), [("threshold=2", "threshold"), ("channels=mix", "channels"), ("x=1", "x")]
)
def test_a_bad_query_is_told_and_closed(client: TestClient, query: str, param: str) -> None:
    with client.websocket_connect(f"{ROUTE}?{query}") as socket:
        [error], code = rest(socket)
    assert (error["code"], error["param"], error["fatal"]) == ("invalid-parameter", param, True)
    assert code == 1008


def test_bad_json_closes_with_1007(app: FastAPI, client: TestClient) -> None:
    with client.websocket_connect(ROUTE) as socket:
        socket.send_text("{")
        messages, code = rest(socket)
    assert [m["type"] for m in messages] == ["session.created", "error", "session.closed"]
    assert code == 1007
    sample = app.state.service.metrics.registry.get_sample_value
    assert sample("convad_rejections_total", {"reason": "malformed-message"}) == 1


@pytest.mark.parametrize("settings", [{"max_message_bytes": 100}])
def test_a_large_message_closes_with_1009(client: TestClient) -> None:
    with client.websocket_connect(ROUTE) as socket:
        socket.send_bytes(bytes(100))
        socket.send_bytes(bytes(101))
        messages, code = rest(socket)
    assert messages[1]["code"] == "message-too-large"
    assert code == 1009


@pytest.mark.parametrize("settings", [{"max_streams": 1}])
def test_no_more_streams_than_places(app: FastAPI, client: TestClient) -> None:
    with client.websocket_connect(ROUTE) as first:
        assert first.receive_json()["type"] == "session.created"
        with client.websocket_connect(ROUTE) as second:
            [error], code = rest(second)
        assert (error["code"], error["fatal"], code) == ("too-many-streams", True, 1013)
        assert error["retry_after"] == 5
        assert open_streams(app) == 1
    until(lambda: open_streams(app) == 0)
    with client.websocket_connect(ROUTE) as third:
        assert third.receive_json()["type"] == "session.created"


@pytest.mark.parametrize("settings", [{"stream_idle_s": 2}])
def test_an_idle_stream_is_closed(client: TestClient) -> None:
    with client.websocket_connect(ROUTE) as socket:
        socket.send_bytes(LOUD)
        messages, code = rest(socket)
    assert [m["type"] for m in messages[1:]] == [
        "speech_started", "speech_stopped", "error", "session.closed"
    ]  # fmt: skip
    assert messages[2]["reason"] == "limit"
    assert messages[3]["code"] == "stream-idle"
    assert code == 1008


@pytest.mark.parametrize("settings", [{"stream_idle_s": 2}])
def test_keepalive_keeps_it_open(client: TestClient) -> None:
    with client.websocket_connect(ROUTE) as socket:
        for _ in range(5):
            time.sleep(0.5)
            socket.send_json({"type": "keepalive"})
        socket.send_json({"type": "end"})
        messages, code = rest(socket)
    assert [m["type"] for m in messages] == ["session.created", "session.closed"]
    assert code == 1000


@pytest.mark.parametrize("detector", [EnergyDetector(EnergyEngine(fails_at=len(LOUD) // 2))])
def test_a_fault_closes_with_1011_and_is_logged(client: TestClient) -> None:
    with capture_logs() as logs:
        with client.websocket_connect(ROUTE) as socket:
            socket.send_bytes(LOUD)
            socket.send_bytes(LOUD)
            messages, code = rest(socket)
        until(lambda: bool(named(logs, "stream_closed")))
    assert [m["type"] for m in messages[1:]] == [
        "speech_started", "speech_stopped", "error", "session.closed"
    ]  # fmt: skip
    assert (messages[3]["code"], code) == ("internal", 1011)
    assert "secret" not in json.dumps(messages)
    [failure] = named(logs, "stream_failed")
    assert "secret" in str(failure["exc_info"])


def test_a_disconnect_in_mid_speech_is_told_to_the_log(app: FastAPI, client: TestClient) -> None:
    with capture_logs([merge_contextvars]) as logs:
        with client.websocket_connect(ROUTE) as socket:
            session_id = socket.receive_json()["session_id"]
            socket.send_bytes(LOUD)
            started = socket.receive_json()
            assert started["type"] == "speech_started"
        until(lambda: bool(named(logs, "stream_closed")))
    [stopped] = named(logs, "speech_stopped")
    assert (stopped["segment_id"], stopped["reason"]) == (started["segment_id"], "disconnect")
    assert (stopped["audio_end_ms"], stopped["session_id"]) == (500, session_id)
    [closed] = named(logs, "stream_closed")
    assert (closed["reason"], closed["audio_ms"], closed["segments"]) == ("disconnect", 500, 1)
    assert closed["request_id"]
    assert open_streams(app) == 0


def test_draining_ends_streams_and_takes_no_new_ones(app: FastAPI, client: TestClient) -> None:
    assert client.portal is not None
    with client.websocket_connect(ROUTE) as socket:
        assert socket.receive_json()["type"] == "session.created"
        socket.send_bytes(LOUD)
        assert socket.receive_json()["type"] == "speech_started"
        client.portal.call(app.state.service.drain)
        messages, code = rest(socket)
    assert [m["type"] for m in messages] == ["speech_stopped", "error", "session.closed"]
    assert messages[0]["reason"] == "shutdown"
    assert (messages[1]["code"], messages[1]["fatal"], code) == ("shutting-down", True, 1012)
    assert messages[1]["retry_after"] == 1
    with client.websocket_connect(ROUTE) as late:
        [error], code = rest(late)
    assert (error["code"], code) == ("shutting-down", 1012)


def test_the_real_detector_reports_what_the_file_route_does(
    data_dir: Path, real_detector: Detector
) -> None:
    audio, rate = soundfile.read(data_dir / "speech.wav", dtype="int16", always_2d=True)
    data = audio[:, 0].tobytes()
    query = f"encoding=pcm_s16le&sample_rate={rate}"
    with TestClient(create_app(Settings(), real_detector)) as client:
        found = client.post(f"/v1/vad?{query}", content=data).json()
        with client.websocket_connect(f"{ROUTE}?{query}") as socket:
            for i in range(0, len(data), 6400):
                socket.send_bytes(data[i : i + 6400])
            socket.send_json({"type": "end"})
            messages, _ = rest(socket)
    expected = [(s["start"], s["end"]) for s in found["segments"] if s["label"] == "speech"]
    stops = [m for m in messages if m["type"] == "speech_stopped"]
    assert expected
    assert [(m["audio_start_ms"] / 1000, m["audio_end_ms"] / 1000) for m in stops] == expected


class StuckStream:
    """A stream whose client does not take its last messages."""

    def __init__(self, registry: StreamRegistry, heeds: bool) -> None:
        self.registry, self.heeds = registry, heeds
        self.calls: list[str] = []

    def finish(self, why: ServiceError) -> None:
        self.calls.append("finish")

    def stop(self, why: ServiceError) -> None:
        self.calls.append("stop")
        if self.heeds:
            self.registry.release(self)

    def cancel(self) -> None:
        self.calls.append("cancel")
        self.registry.release(self)


def test_the_registry_cancels_only_who_does_not_heed() -> None:
    async def drain() -> tuple[StuckStream, StuckStream, StuckStream]:
        gauge = Gauge("g", "g", registry=None)
        registry = StreamRegistry(Quota("streams", 2, full=TooManyStreams), gauge)
        kind, stuck = StuckStream(registry, heeds=True), StuckStream(registry, heeds=False)
        outside = StuckStream(registry, heeds=True)
        registry.enter(outside)
        registry.admit(kind)
        registry.admit(stuck)
        assert len(registry) == 2
        with pytest.raises(TooManyStreams):
            registry.admit(StuckStream(registry, heeds=True))
        await registry.drain(ShuttingDown("bye"), 0.05)
        assert len(registry) == 0
        return kind, stuck, outside

    kind, stuck, outside = asyncio.run(drain())
    assert (kind.calls, stuck.calls) == (["finish", "stop"], ["finish", "stop", "cancel"])
    assert outside.calls == ["finish", "stop"]


def test_a_client_that_takes_nothing_does_not_hold_up_the_end(detector: Detector) -> None:
    """Its last events, which it can't be told, are in the log."""
    sent: list[Any] = []
    records: list[Any] = []

    async def serve() -> None:
        app = create_app(Settings(shutdown_grace_s=0.05), detector)
        arriving, stuck = asyncio.Queue[Any](), asyncio.Event()
        for message in (
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "bytes": LOUD},
        ):
            arriving.put_nowait(message)

        async def send(message: Any) -> None:
            if "speech_started" in message.get("text", ""):
                stuck.set()
                await asyncio.Event().wait()
            sent.append(message)

        scope = {"type": "websocket", "path": ROUTE, "query_string": b"", "headers": []}
        async with app.router.lifespan_context(app):
            with capture_logs() as logs:
                task = asyncio.create_task(app(scope, arriving.get, send))
                await asyncio.wait_for(stuck.wait(), PATIENCE_S)
                await app.state.service.drain()
                await asyncio.wait_for(task, PATIENCE_S)
                while not named(logs, "stream_closed"):
                    await asyncio.sleep(0.005)
            records.extend(logs)

    asyncio.run(serve())
    assert [m["type"] for m in sent] == ["websocket.accept", "websocket.send"]
    events = [r["event"] for r in records if r["event"].startswith("speech")]
    assert events == ["speech_started", "speech_stopped"]
    assert [r["reason"] for r in records if "reason" in r] == ["shutdown", "shutdown"]
