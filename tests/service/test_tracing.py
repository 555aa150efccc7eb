"""Traces: what spans there are, whose children, and that none are made unless asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service import tracing
from service.app import create_app
from service.settings import Settings
from vad import Detector

pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry is not installed: 'convad[otel]'")

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(tracing, "from_environment", lambda: tracing.Tracing(provider))
    yield kept
    provider.shutdown()


def test_a_file_is_a_request_with_its_parts(
    exporter: Any, detector: Detector, data_dir: Path
) -> None:
    with TestClient(create_app(Settings(), detector)) as client:
        answer = client.post(
            "/v1/vad",
            content=(data_dir / "speech.mp3").read_bytes(),
            headers={"Content-Type": "audio/mpeg", "traceparent": f"00-{TRACE}-{PARENT}-01"},
        )
        assert answer.is_success
        refused = client.post("/v1/vad", content=b"no audio", headers={"Content-Type": "audio/x"})
        assert refused.status_code == 400
        spans = {span.name: span for span in exporter.get_finished_spans()[:5]}
    assert set(spans) == {"POST /v1/vad", "file", "decode", "inference", "format"}
    request, file = spans["POST /v1/vad"], spans["file"]
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == PARENT
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["convad.request_id"] == answer.headers["X-Request-ID"]
    assert file.parent.span_id == request.context.span_id
    assert file.attributes["codec"] == "mp3"
    assert file.attributes["audio_s"] == pytest.approx(answer.json()["duration"], abs=0.01)
    for name in ("decode", "inference", "format"):
        assert spans[name].parent.span_id == file.context.span_id
    assert spans["decode"].start_time == file.start_time
    assert request.start_time <= file.start_time <= file.end_time <= request.end_time


def test_a_stream_is_a_span_and_slow_turns_are(
    exporter: Any, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "SLOW_TICK_S", 0.0)
    with (
        TestClient(create_app(Settings(), detector)) as client,
        client.websocket_connect("/v1/vad/stream?sample_rate=16000") as socket,
    ):
        socket.send_bytes(bytes(32_000))
        socket.send_json({"type": "end"})
        while socket.receive_json()["type"] != "session.closed":
            pass
    spans = exporter.get_finished_spans()
    stream = next(span for span in spans if span.name == "WS /v1/vad/stream")
    assert stream.attributes["websocket.close_code"] == 1000
    ticks = [span for span in spans if span.name == "tick"]
    assert ticks
    assert all(span.attributes["streams"] == 1 for span in ticks)
    assert not any(span.parent for span in ticks)


def test_the_environment_turns_it_on() -> None:
    assert tracing.from_environment({}) is None
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    assert tracing.from_environment({**where, "OTEL_SDK_DISABLED": "true"}) is None
    on = tracing.from_environment(where)
    assert on is not None
    on.close()


def test_nothing_is_imported_otherwise() -> None:
    code = "import sys, service.app as a; a.create_app(); print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
