"""An app around a detector that hears loudness, so that tests know what it must find."""

from __future__ import annotations

import io
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from fastapi import FastAPI
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from starlette.testclient import WebSocketTestSession
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from service import Settings, create_app, create_server
from service.files.decoding import DecodePool
from service.live.messages import ServerMessage, SessionCreated
from service.live.session import StreamLimits, StreamSession
from service.problems import Problem
from service.server import Server
from service.state import load
from vad import Detector
from vad.audio.sandbox import DecoderProcess
from vad.frames import HOP_SAMPLES, SAMPLE_RATE, frame_count
from vad.inference.engine import Engine

Audio = NDArray[np.float32]
# For what must come. Machines may be busy: it decides nothing but how late a failure shows.
PATIENCE_S = 100.0


@dataclass
class EnergySession:
    """What `vad.inference.engine.Signal` is to the engine."""

    engine: EnergyEngine
    pending: Audio
    samples: int = 0
    frames: int = 0
    skip: int = 0


class EnergyEngine:
    """Stands in for `vad.inference.engine.Engine`: a frame's probability is its loudness.

    Args:
        fails_at: number of samples after which it breaks down.
        seconds: that each call takes.

    Attributes:
        calls: how many there were.
    """

    architecture = SimpleNamespace(lookahead_ms=0, latency_ms=10, parameter_count=0)
    architecture.known_at_ms = lambda frame: 10 * frame + 20

    def __init__(self, fails_at: float = np.inf, seconds: float = 0) -> None:
        self.fails_at, self.seconds, self.calls = fails_at, seconds, 0
        # What is slow is no CPU: the event loop would wait for one.
        self.device = "cuda" if seconds else "cpu"

    def signal(self) -> EnergySession:
        return EnergySession(self, np.zeros(0, np.float32))

    def push(self, session: EnergySession, audio: Audio) -> Audio:
        self.calls += 1
        time.sleep(self.seconds)
        session.samples += len(audio)
        if session.samples > self.fails_at:
            raise RuntimeError("secret inside: the engine broke down")
        audio = np.concatenate([session.pending, audio])
        ready = len(audio) - len(audio) % HOP_SAMPLES
        session.pending = audio[ready:]
        values = _loudness(audio[:ready])
        skipped = min(session.skip, len(values))
        session.skip -= skipped
        session.frames += len(values) - skipped
        return values[skipped:]

    def push_many(self, pushes: Sequence[tuple[EnergySession, Audio]]) -> list[Audio]:
        return [self.push(session, audio) for session, audio in pushes]

    def flush(self, session: EnergySession, frames: int | None = None) -> Audio:
        total = frame_count(session.samples, SAMPLE_RATE) if frames is None else frames
        wanted = max(0, total - session.frames)
        tail = np.zeros((session.skip + wanted) * HOP_SAMPLES, np.float32)
        tail[: len(session.pending)] = session.pending[: len(tail)]
        found = _loudness(tail)[session.skip :]
        session.skip += wanted
        session.frames += wanted
        return found

    def forget(self, session: EnergySession) -> None:
        session.pending = np.zeros_like(session.pending)

    def warm_up(self) -> None:
        self.push(self.signal(), np.zeros(HOP_SAMPLES, np.float32))


def _loudness(audio: Audio) -> Audio:
    rms = np.sqrt((audio.reshape(-1, HOP_SAMPLES) ** 2).mean(axis=1))
    return cast(Audio, np.minimum(1, 2 * rms).astype(np.float32))


class EnergyDetector(Detector):
    """The real detector, but for its network."""

    def __init__(self, engine: EnergyEngine | None = None) -> None:
        self.name, self.sha256 = "energy", "0" * 64
        self.engine = cast(Engine, engine or EnergyEngine())


def pattern(*spans: tuple[float, float], rate: int = SAMPLE_RATE) -> Audio:
    """Loud and silent in turn.

    Args:
        spans: (seconds, amplitude).

    Returns:
        [samples] float32.
    """
    parts = [np.full(round(seconds * rate), level, np.float32) for seconds, level in spans]
    return np.concatenate([*parts, np.zeros(0, np.float32)])


def wav(audio: Audio, rate: int = SAMPLE_RATE) -> bytes:
    """Audio, [samples] or [samples, channels], as a 16-bit WAV file."""
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def pcm(audio: Audio) -> bytes:
    """Audio as headerless pcm_s16le."""
    return (audio * 32767).astype("<i2").tobytes()


def until(condition: Callable[[], bool]) -> None:
    """Waits until something holds; fails if it doesn't within `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# 1 s of silence, 1 s loud, 1 s of silence, 1 s loud, half a second of silence.
SPEECH = pattern((1, 0), (1, 0.9), (1, 0), (1, 0.9), (0.5, 0))
SPEECH_WAV = wav(SPEECH)
LOUD_PCM = pcm(pattern((0.5, 0.9)))


def spoken(answer: dict[str, Any]) -> list[tuple[float, float]]:
    return [(s["start"], s["end"]) for s in answer["segments"] if s["label"] == "speech"]


def upload(*files: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("file", (f"{i}.wav", data, "audio/wav")) for i, data in enumerate(files)]


def rest(socket: WebSocketTestSession) -> tuple[list[dict[str, Any]], int]:
    """All messages of a stream up to its close, and the code of that."""
    found = []
    while (message := socket.receive())["type"] == "websocket.send":
        found.append(json.loads(message["text"]))
    return found, message["code"]


@contextmanager
def running(engine: EnergyEngine | None = None, **settings: Any) -> Iterator[tuple[Server, int]]:
    """A server in a thread, and its port; it has ended when this ends."""
    detector = EnergyDetector(engine)
    server = create_server(Settings(port=0, **settings), detector)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def answered(client: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer, which may come in pieces."""
    response = HTTPResponse(client)
    response.begin()
    return response.status, response.read()


def messages(client: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """All messages up to the close, and its code."""
    found = []
    with suppress(ConnectionClosed):
        while True:
            found.append(json.loads(client.recv(timeout=PATIENCE_S)))
    assert client.close_code is not None
    return found, client.close_code


def check_problem(response: Any, status: int, slug: str) -> Problem:
    assert response.status_code == status, response.text
    found = Problem.model_validate(response.json(), extra="forbid")
    assert found.type.endswith(f":{slug}")
    return found


def lines(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


LIMITS = StreamLimits(max_message_bytes=2**20, stream_idle_s=60, max_stream_s=3600)


def session(detector: Detector | None = None, limits: StreamLimits = LIMITS) -> StreamSession:
    return StreamSession(detector or EnergyDetector(), limits, "sess_1")


def opened(detector: Detector | None = None, **query: str) -> StreamSession:
    made = session(detector)
    [created] = made.open(query.items())
    assert isinstance(created, SessionCreated), created
    return made


def send(made: StreamSession, type: str, **fields: Any) -> list[ServerMessage]:
    return made.receive_text(json.dumps({"type": type, **fields}))


def types(messages: Sequence[ServerMessage]) -> list[str]:
    return [message.type for message in messages]


@pytest.fixture(scope="session", autouse=True)
def decoders_outlive_their_apps() -> Iterator[None]:
    """Each app starts a process, and each test an app: here they leave them to the next."""
    spare: list[DecoderProcess] = []

    def spawn(pool: DecodePool) -> DecoderProcess:
        limit = pool._limits.memory_bytes
        kept = next((p for p in spare if p.alive and p.memory_bytes == limit), None)
        if kept is None:
            return DecoderProcess(limit)
        spare.remove(kept)
        return kept

    def close(pool: DecodePool) -> None:
        with pool._lock:
            pool._closed = True
            spare.extend(pool._idle)
            pool._idle.clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DecodePool, "_spawn", spawn)
        patch.setattr(DecodePool, "close", close)
        yield
    for process in spare:
        process.close()


@pytest.fixture
def settings() -> dict[str, Any]:
    """What a test may override, by parametrising this fixture."""
    return {}


@pytest.fixture
def detector() -> Detector:
    return EnergyDetector()


@pytest.fixture
def app(settings: dict[str, Any], detector: Detector) -> FastAPI:
    return create_app(Settings(**settings), detector)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="session")
def real_detector() -> Detector:
    return load(Settings(device="cpu"))
