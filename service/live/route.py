"""`WS /v1/vad/stream`, in the dialects that it knows, and what any other path is told."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, WebSocket

from service.errors import UnknownPath
from service.live.asterisk import AsteriskConnection
from service.live.connection import Connection
from service.live.messages import encode, error_of
from service.live.stream import StreamConnection
from service.live.twilio import TwilioConnection
from service.problems import problem_type

__all__ = ["Connection", "StreamConnection", "fallback", "router"]
router = APIRouter()
fallback = APIRouter()  # to be included behind all others
DIALECTS: Mapping[str, type[StreamConnection]] = {
    "twilio": TwilioConnection,
    "asterisk": AsteriskConnection,
}


@router.websocket("/v1/vad/stream")
async def stream(websocket: WebSocket) -> None:
    """With `protocol=` in a dialect; a name that is none is told as a wrong parameter."""
    kind = DIALECTS.get(websocket.query_params.get("protocol", ""), StreamConnection)
    await kind(websocket, websocket.app.state.service).run()


@router.websocket("/v1/vad/stream/twilio")
async def twilio(websocket: WebSocket) -> None:
    """Twilio allows no query in a stream's URL, so it has a path of its own."""
    await TwilioConnection(websocket, websocket.app.state.service).run()


@fallback.websocket("/{path:path}")
async def unknown(websocket: WebSocket) -> None:
    """Browsers are not told the status of a refused handshake: hence a proper close."""
    why = UnknownPath("no WebSocket is served here: see /v1/vad/stream")
    kind = problem_type(why)
    websocket.app.state.service.metrics.rejections.labels(reason=kind.slug).inc()
    await websocket.accept()
    await websocket.send_text(encode(error_of(why, fatal=True)))
    await websocket.close(kind.close_code)
