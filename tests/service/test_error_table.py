"""Every row of `problems.PROBLEMS` that a client can cause, provoked through the front door."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession

from service import Settings, create_app
from service.problems import INTERNAL, PROBLEMS

from .conftest import (
    LOUD_PCM,
    PATIENCE_S,
    SPEECH_WAV,
    EnergyDetector,
    EnergyEngine,
    answered,
    check_problem,
    pattern,
    rest,
    running,
    upload,
    wav,
)

STREAM = "/v1/vad/stream"
SECONDS = wav(pattern((2, 0.9)))
Request = Callable[[TestClient], Any]


def post(path: str = "/v1/vad", **options: Any) -> Request:
    return lambda client: client.post(path, **({"content": SPEECH_WAV} | options))


def torn(client: TestClient) -> Any:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    return client.post("/v1/vad", content=b"--x\r\n", headers=headers)


# slug: (settings, what provokes it, status)
REQUESTS: dict[str, tuple[dict[str, Any], Request, int]] = {
    "undecodable-audio": ({}, post(content=b"text"), 400),
    "malformed-body": ({}, torn, 400),
    "unauthorised": ({"api_keys": "a-key-of-ours"}, post(), 401),
    "not-acceptable": ({}, post(headers={"Accept": "image/png"}), 406),
    "body-too-large": ({"max_body_bytes": 100}, post(), 413),
    "audio-too-long": ({"max_audio_s": 1}, post(content=SECONDS), 413),
    "decoded-too-large": ({"max_decoded_bytes": 4 * 16_000}, post(content=SECONDS), 413),
    "too-many-files": (
        {"max_files": 1}, post(content=None, files=upload(SPEECH_WAV, SPEECH_WAV)), 413
    ),
    "unsupported-media": ({}, post(headers={"Content-Type": "text/plain"}), 415),
    "unsupported-audio": ({}, post(content=wav(pattern((1, 0), rate=1000), 1000)), 415),
    "invalid-parameter": ({}, post("/v1/vad?threshold=7"), 422),
    "decode-too-slow": ({"max_decode_s": 1e-9}, post(), 504),
}  # fmt: skip


@pytest.mark.parametrize("slug", REQUESTS)
def test_requests(slug: str) -> None:
    settings, provoke, status = REQUESTS[slug]
    with TestClient(create_app(Settings(**settings), EnergyDetector())) as client:
        response = provoke(client)
        problem = check_problem(response, status, slug)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (problem.status, problem.instance) == (status, "/v1/vad")
    assert problem.request_id == response.headers["X-Request-ID"]


def test_a_fault_of_the_server_tells_nothing() -> None:
    broken = EnergyDetector(EnergyEngine(fails_at=20_000))
    with TestClient(create_app(Settings(), broken)) as client:
        problem = check_problem(client.post("/v1/vad", content=SECONDS), 500, "internal")
    assert "secret" not in problem.model_dump_json()


def test_before_the_start_and_after_the_end() -> None:
    app = create_app(Settings(), EnergyDetector())
    check_problem(TestClient(app).post("/v1/vad", content=SPEECH_WAV), 503, "not-ready")
    with TestClient(app) as client:
        assert client.portal is not None
        client.portal.call(app.state.service.drain)
        refused = client.post("/v1/vad", content=SPEECH_WAV)
        check_problem(refused, 503, "shutting-down")
        assert refused.headers["Retry-After"]


def raw(path: str, length: int, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()
        + body
    )


def test_a_body_that_stops_arriving() -> None:
    with running(body_idle_s=0.2) as (_, port):
        address = ("127.0.0.1", port)
        with socket.create_connection(address, timeout=PATIENCE_S) as client:
            client.sendall(raw("/v1/vad", 10, b"abc"))
            status, body = answered(client)
    assert (status, json.loads(body)["type"].rpartition(":")[2]) == (408, "body-too-slow")


def lines(*messages: Any) -> Callable[[WebSocketTestSession], None]:
    def send(stream: WebSocketTestSession) -> None:
        for message in messages:
            if isinstance(message, bytes):
                stream.send_bytes(message)
            elif isinstance(message, str):
                stream.send_text(message)
            else:
                stream.send_json(message)

    return send


Provoke = Callable[[WebSocketTestSession], None]
# slug: (settings, path, what provokes it, close code; None where the stream goes on)
STREAMS: dict[str, tuple[dict[str, Any], str, Provoke, int | None]] = {
    "unknown-message": ({}, STREAM, lines({"type": "dance"}), None),
    "not-allowed": ({}, STREAM, lines({"type": "auth", "token": "k"}), None),
    "invalid-parameter": ({}, f"{STREAM}?channels=9", lines(), 1008),
    "malformed-message": ({}, STREAM, lines("{"), 1007),
    "message-too-large": ({"max_message_bytes": 10}, STREAM, lines(bytes(11)), 1009),
    "unauthorised": ({"api_keys": "a-key-of-ours"}, STREAM, lines({"type": "end"}), 1008),
    "stream-idle": ({"stream_idle_s": 0.05}, STREAM, lines(), 1008),
    "stream-too-long": ({"max_stream_s": 0.1}, STREAM, lines(LOUD_PCM), 1008),
    "stream-too-fast": ({"max_stream_lead_s": 0.1}, STREAM, lines(LOUD_PCM), 1008),
    "not-found": ({}, "/v1/nowhere", lines(), 1008),
}


@pytest.mark.parametrize("slug", STREAMS)
def test_streams(slug: str) -> None:
    settings, path, provoke, code = STREAMS[slug]
    with (
        TestClient(create_app(Settings(**settings), EnergyDetector())) as client,
        client.websocket_connect(path) as stream,
    ):
        provoke(stream)
        if code is None:
            stream.send_json({"type": "end"})
        found, closed_with = rest(stream)
    [error] = [message for message in found if message["type"] == "error"]
    assert error["code"] == slug
    assert error["message"]
    assert (error["fatal"], closed_with) == (code is not None, code or 1000)


# Provoked in files of their own, next to their boundaries.
ELSEWHERE = {
    "too-many-requests", "too-many-requests-of-key", "too-many-streams-of-key",  # test_limits
    "stream-stalled", "too-many-messages",  # test_stream_limits
    "origin-not-allowed", "host-not-allowed",  # test_security
    "storage-full",  # test_file_limits
    "too-many-streams",  # test_streams
    "client-gone",  # test_server
    "jobs-off", "jobs-busy", "job-not-found", "too-many-jobs", "url-refused",  # test_jobs
    "too-many-jobs-of-client", "host-unavailable",  # test_jobs
    "unsupported-frame",  # test_telephone
}  # fmt: skip
HERE = {*REQUESTS, *STREAMS, "internal", "not-ready", "shutting-down", "body-too-slow"}
# What no client can cause through these routes: no labels are read, no extras are needed, a model
# is named but never loaded, and a decoder that crashes is the tests of `decoding`'s matter.
UNREACHABLE = {"malformed-labels", "not-installed", "model-not-found", "stream-error"}


def slugs() -> Iterator[str]:
    for kind in [*PROBLEMS.values(), INTERNAL]:
        yield kind.slug


def test_no_row_is_forgotten() -> None:
    assert set(slugs()) == HERE | ELSEWHERE | UNREACHABLE
