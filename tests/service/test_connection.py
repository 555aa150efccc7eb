"""The shell of a live stream, driven as an ASGI server would, one step of the loop at a time."""

from __future__ import annotations

import asyncio
from typing import Any

from service import Settings, create_app
from vad import Detector

SCOPE = {"type": "websocket", "path": "/v1/vad/stream", "query_string": b"", "headers": []}


def test_a_cancellation_is_heeded_whatever_comes_at_the_same_time(detector: Detector) -> None:
    """Such as that of a stalled stream, of which nobody reads any more."""

    async def run() -> None:
        app = create_app(Settings(), detector)

        async def one(steps: int) -> None:
            arriving, created = asyncio.Queue[Any](), asyncio.Event()
            arriving.put_nowait({"type": "websocket.connect"})

            async def send(message: Any) -> None:
                if "session.created" in message.get("text", ""):
                    created.set()

            task = asyncio.create_task(app(dict(SCOPE), arriving.get, send))
            await created.wait()
            for _ in range(10):  # until it waits for what comes next
                await asyncio.sleep(0)
            arriving.put_nowait({"type": "websocket.receive", "text": '{"type": "keepalive"}'})
            for _ in range(steps):
                await asyncio.sleep(0)
            for stream in list(app.state.service.streams._here):
                stream.cancel()
            done, _ = await asyncio.wait([task], timeout=10)
            assert done, f"lost after {steps} steps"

        async with app.router.lifespan_context(app):
            for steps in range(20):
                await one(steps)

    asyncio.run(run())
