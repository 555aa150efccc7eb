"""The real service on a real socket, and servers that play a part."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import soundfile
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from service import Settings, create_server
from vad import Detector, Segments

Span = tuple[int | None, str, float, float]
WELCOME = {
    "type": "session.created",
    "session_id": "sess_1",
    "model": "m",
    "params": {},
    "limits": {"max_message_bytes": 1000},
    "hop_ms": 10,
    "latency_ms": 40,
    "of_a_later_service": 1,
}


@contextmanager
def running(detector: Detector, port: int = 0, **settings: Any) -> Iterator[int]:
    """The service in a thread; its port."""
    server = create_server(Settings(port=port, **settings), detector)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(60)
        assert not thread.is_alive()


@contextmanager
def in_thread(server: Server | ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(10)


@contextmanager
def playing(*acts: Callable[[ServerConnection], None] | int) -> Iterator[str]:
    """A WebSocket server whose n-th connection is the n-th act's; a number refuses it with that."""
    left = list(acts)

    def refuse(connection: ServerConnection, _: Request) -> Response | None:
        if not isinstance(left[0], int):
            return None
        return connection.respond(HTTPStatus(left.pop(0)), "an HTML page of some proxy")

    def handle(connection: ServerConnection) -> None:
        act = left.pop(0)
        assert not isinstance(act, int)
        act(connection)

    with (
        serve(handle, "127.0.0.1", 0, process_request=refuse) as server,
        in_thread(server),
    ):
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
    assert not left


@contextmanager
def answering(*answers: tuple[int, dict[str, str], str]) -> Iterator[tuple[str, list[bytes]]]:
    """An HTTP server that gives these answers in turn; its URL, and the bodies that came."""
    left, bodies = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self._body())
            status, headers, text = left.pop(0)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def _body(self) -> bytes:
            if "Content-Length" in self.headers:
                return self.rfile.read(int(self.headers["Content-Length"]))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, in_thread(server):
        yield f"http://127.0.0.1:{server.server_port}", bodies
    assert not left


def say(connection: ServerConnection, type: str, **values: Any) -> None:
    connection.send(json.dumps({"type": type, **values}))


def spans(found: Segments) -> list[Span]:
    return [(s.segment_id, s.label, s.start, s.end) for s in found.segments]


@pytest.fixture(scope="package")
def service(detector: Detector) -> Iterator[str]:
    with running(detector) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="package")
def pcm(data_dir: Path) -> bytes:
    """The first eight seconds of a real recording, 16-bit at 16 kHz."""
    audio, rate = soundfile.read(data_dir / "speech.wav", dtype="int16", frames=8 * 16_000)
    assert rate == 16_000
    return bytes(audio.tobytes())


@pytest.fixture(scope="package")
def expected(detector: Detector, pcm: bytes) -> Segments:
    """What the library finds in it."""
    found = detector.detect(pcm, 16_000, encoding="pcm_s16le", probabilities=True)
    assert len(found.speech) > 1
    return found
