"""A client of the Realtime protocol without a socket, and a server for those with one."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from openai import AsyncOpenAI

from service import Settings, create_server
from service.live.protocol import StreamLimits
from service.realtime.messages import ErrorDetail, ErrorEvent, ServerEvent, SessionCreated
from service.realtime.session import RealtimeSession
from service.server import Server
from vad import Detector

from .conftest import LIMITS, PATIENCE_S, EnergyDetector, EnergyEngine, pattern, pcm, until

RATE = 24_000


def sound(*spans: tuple[float, float]) -> bytes:
    return pcm(pattern(*spans, rate=RATE))


LOUD, QUIET = sound((0.5, 0.9)), sound((1, 0))


def opened(
    engine: EnergyEngine | None = None, limits: StreamLimits = LIMITS, **kwargs: Any
) -> RealtimeSession:
    made = RealtimeSession(EnergyDetector(engine), limits, "sess_1", **kwargs)
    [created] = made.open([("model", "gpt-realtime")])
    assert isinstance(created, SessionCreated), created
    return made


def send(made: RealtimeSession, type: str, **fields: Any) -> list[ServerEvent]:
    return made.receive_text(json.dumps({"type": type, **fields}))


def append(made: RealtimeSession, data: bytes) -> list[ServerEvent]:
    return send(made, "input_audio_buffer.append", audio=base64.b64encode(data).decode())


def commit(made: RealtimeSession) -> list[ServerEvent]:
    return send(made, "input_audio_buffer.commit")


def clear(made: RealtimeSession) -> list[ServerEvent]:
    return send(made, "input_audio_buffer.clear")


def detect_turns(made: RealtimeSession, **fields: Any) -> list[ServerEvent]:
    turns = {"type": "server_vad", **fields} if fields else None
    session = {"type": "realtime", "audio": {"input": {"turn_detection": turns}}}
    return send(made, "session.update", session=session)


def types(events: Sequence[ServerEvent]) -> list[str]:
    return [cast(Any, event).type.removeprefix("input_audio_buffer.") for event in events]


def only_error(events: Sequence[ServerEvent]) -> ErrorDetail:
    [event] = events
    assert isinstance(event, ErrorEvent)
    return event.error


COMMITTED = ["committed", "conversation.item.added", "conversation.item.done"]


@contextmanager
def running(detector: Detector | None = None, **settings: Any) -> Iterator[tuple[Server, str]]:
    """A server in a thread, and its address; it has ended when this ends."""
    server = create_server(Settings(port=0, **settings), detector or EnergyDetector())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield server, f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def openai(address: str, key: str = "any") -> AsyncOpenAI:
    return AsyncOpenAI(
        api_key=key, base_url=f"http://{address}/v1", websocket_base_url=f"ws://{address}/v1"
    )


async def stream(connection: Any, data: bytes, size: int) -> list[Any]:
    """Sends audio; all events up to an error that is provoked at the end."""
    for i in range(0, len(data), size):
        audio = base64.b64encode(data[i : i + size]).decode()
        await connection.input_audio_buffer.append(audio=audio)
    await connection.response.create()
    events = []
    while not events or events[-1].type != "error":
        events.append(await asyncio.wait_for(connection.recv(), 120))
    return events


def turns(events: list[Any], items: list[str]) -> list[tuple[int, int]]:
    """Start and end of each turn; checks that all that belongs to one has come, in order."""
    found, previous = [], None
    *talk, refusal = events
    assert refusal.error.code == "not_supported"
    prefix = "input_audio_buffer."
    pattern = [f"{prefix}speech_started", f"{prefix}speech_stopped", f"{prefix}committed", *items]
    assert [event.type for event in talk] == pattern * (len(talk) // len(pattern))
    for i in range(0, len(talk), len(pattern)):
        started, stopped, committed, *rest = talk[i : i + len(pattern)]
        assert started.item_id == stopped.item_id == committed.item_id
        assert {event.item.id for event in rest} == {started.item_id}
        assert committed.previous_item_id == previous
        previous = committed.item_id
        found.append((started.audio_start_ms, stopped.audio_end_ms))
    return found
