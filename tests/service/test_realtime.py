"""Any WebSocket client against a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from service import Settings, create_app

from .conftest import PATIENCE_S, EnergyDetector, until
from .realtime_kit import LOUD, running

PATH = "/v1/realtime?model=gpt-realtime"


def receive(client: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(client.recv(timeout=PATIENCE_S)))


def rest(client: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """All events up to the close, and its code."""
    found = []
    with suppress(ConnectionClosed):
        while True:
            found.append(receive(client))
    return found, client.close_code


def say(client: ClientConnection, data: bytes) -> None:
    audio = base64.b64encode(data).decode()
    client.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


def start_speech(client: ClientConnection) -> None:
    assert receive(client)["type"] == "session.created"
    say(client, LOUD)
    assert receive(client)["type"] == "input_audio_buffer.speech_started"


def test_a_browser_gives_its_key_as_a_subprotocol() -> None:
    def offer(*names: str) -> Any:
        offered = [Subprotocol(name) for name in names]
        return connect(f"ws://{address}{PATH}", subprotocols=offered)

    with running(api_keys=("secret",)) as (_, address):
        with offer("realtime", "openai-insecure-api-key.secret") as client:
            assert client.subprotocol == "realtime"
            assert receive(client)["session"]["type"] == "realtime"
        for names in (["realtime", "openai-insecure-api-key.wrong"], ["realtime"]):
            with offer(*names) as client:
                [error], code = rest(client)
            assert (error["error"]["code"], code) == ("unauthorised", 1008)


def test_mistakes_are_told_and_counted() -> None:
    with running() as (server, address), connect(f"ws://{address}{PATH}") as client:
        assert client.subprotocol is None
        assert receive(client)["type"] == "session.created"
        client.send("{")
        error = receive(client)
        assert (error["type"], error["error"]["code"]) == ("error", "invalid_json")
        client.send('{"type": "response.create", "event_id": "mine"}')
        assert receive(client)["error"]["event_id"] == "mine"
        client.send('{"type": "input_audio_buffer.clear"}')
        assert receive(client)["type"] == "input_audio_buffer.cleared"
        app: Any = server.config.app
        sample = app.state.service.metrics.registry.get_sample_value
        assert sample("convad_rejections_total", {"reason": "invalid_json"}) == 1


@pytest.mark.parametrize(
    ("message", "code", "close_code"),
    [("x" * 60_000, "message_too_large", 1009), (b"audio", "unsupported_frame", 1003)],
)
def test_some_mistakes_end_it(message: str | bytes, code: str, close_code: int) -> None:
    limits = {"max_message_bytes": 50_000, "max_append_bytes": 30_000}
    with running(**limits) as (_, at), connect(f"ws://{at}{PATH}") as client:
        start_speech(client)
        client.send(message)
        (stopped, error), closed = rest(client)
    assert stopped["type"] == "input_audio_buffer.speech_stopped"
    assert (error["error"]["code"], closed) == (code, close_code)


def test_sigterm_sends_the_last_stop_before_the_close() -> None:
    with running() as (server, address), connect(f"ws://{address}{PATH}") as client:
        start_speech(client)
        server.handle_exit(signal.SIGTERM, None)
        (stopped, error), code = rest(client)
    assert stopped["type"] == "input_audio_buffer.speech_stopped"
    assert stopped["audio_end_ms"] == 500
    assert (error["error"]["type"], error["error"]["code"]) == ("server_error", "shutting_down")
    assert code == 1012


def test_a_disconnect_in_mid_speech_is_told_to_the_log() -> None:
    with running() as (_, address), capture_logs() as logs:
        with connect(f"ws://{address}{PATH}") as client:
            start_speech(client)
        until(lambda: any(record["event"] == "stream_closed" for record in logs))
    [stopped] = [record for record in logs if record["event"] == "speech_stopped"]
    assert (stopped["reason"], stopped["audio_end_ms"]) == ("disconnect", 500)


def test_events_that_a_client_does_not_take_are_in_the_log() -> None:
    records: list[Any] = []
    audio = base64.b64encode(LOUD).decode()
    append = json.dumps({"type": "input_audio_buffer.append", "audio": audio})

    async def serve() -> None:
        app = create_app(Settings(shutdown_grace_s=0.05), EnergyDetector())
        arriving, stuck = asyncio.Queue[Any](), asyncio.Event()
        arriving.put_nowait({"type": "websocket.connect"})
        arriving.put_nowait({"type": "websocket.receive", "text": append})

        async def send(message: Any) -> None:
            if "speech_started" in message.get("text", ""):
                stuck.set()
                await asyncio.Event().wait()

        scope = {"type": "websocket", "path": "/v1/realtime", "query_string": b"", "headers": []}
        async with app.router.lifespan_context(app):
            with capture_logs() as logs:
                task = asyncio.create_task(app(scope, arriving.get, send))
                await asyncio.wait_for(stuck.wait(), PATIENCE_S)
                await app.state.service.drain()
                await asyncio.wait_for(task, PATIENCE_S)
                while not any(record["event"] == "stream_closed" for record in logs):
                    await asyncio.sleep(0.005)
            records.extend(logs)

    asyncio.run(serve())
    started, stopped = [r for r in records if r["event"].startswith("speech")]
    assert (started["event"], started["audio_start_ms"]) == ("speech_started", 0)
    assert (stopped["event"], stopped["reason"]) == ("speech_stopped", "shutdown")


def test_an_event_may_carry_15_mib_of_audio() -> None:
    """As OpenAI documents; the session goes on with what comes next."""
    quiet = bytes(15 * 2**20 - len(LOUD) - len(LOUD) % 2)
    with running() as (_, address), connect(f"ws://{address}{PATH}", max_size=None) as client:
        assert receive(client)["type"] == "session.created"
        say(client, quiet + LOUD)
        started = receive(client)
        assert started["type"] == "input_audio_buffer.speech_started"
        begins = len(quiet) / 48  # ms at 24 kHz, 16 bit
        assert started["audio_start_ms"] == pytest.approx(begins, abs=400)
        client.send('{"type": "input_audio_buffer.clear"}')
        kinds = [receive(client)["type"] for _ in range(2)]
        assert "input_audio_buffer.cleared" in kinds
        say(client, bytes(16 * 2**20))
        *_, error = rest(client)[0]
        assert error["error"]["code"] == "message_too_large"
