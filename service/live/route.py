"""`WS /v1/vad/stream`, and what any other WebSocket path is told."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, WebSocket

from service.errors import Unauthorised, UnknownPath
from service.live.connection import Connection
from service.live.messages import Error, ServerMessage, encode, error_of
from service.live.protocol import State, StreamLimits
from service.live.session import StreamSession
from service.problems import problem_type
from service.security import bearer
from vad.events import SpeechEvent, as_dict

__all__ = ["Connection", "StreamConnection", "fallback", "router"]
router = APIRouter()
fallback = APIRouter()  # to be included behind all others


@router.websocket("/v1/vad/stream")
async def stream(websocket: WebSocket) -> None:
    await StreamConnection(websocket, websocket.app.state.service).run()


@fallback.websocket("/{path:path}")
async def unknown(websocket: WebSocket) -> None:
    """Browsers are not told the status of a refused handshake: hence a proper close."""
    why = UnknownPath("no WebSocket is served here: see /v1/vad/stream")
    kind = problem_type(why)
    websocket.app.state.service.metrics.rejections.labels(reason=kind.slug).inc()
    await websocket.accept()
    await websocket.send_text(encode(error_of(why, fatal=True)))
    await websocket.close(kind.close_code)


class StreamConnection(Connection[ServerMessage]):
    """A connection that speaks the messages of `service.live.messages`."""

    def _begin(self, limits: StreamLimits, session_id: str) -> StreamSession:
        self._own = StreamSession(self._service.detector, limits, session_id)
        return self._own

    async def _authenticate(self) -> int | None:
        """As the base, but a client that can't set the header may send its key in a message."""
        keys, session = self._service.keys, self._own
        if not keys or bearer(self._websocket) is not None:
            return await super()._authenticate()
        self._tell(session.challenge(keys.find))
        message = await self._next(self._service.settings.auth_timeout_s)
        text = message.get("text")
        self._tell(
            session.receive_bytes(message["bytes"]) if text is None else session.receive_text(text)
        )
        if session.state is not State.CONNECTING:
            raise Unauthorised("the client gave no key")  # and has been told so
        return session.key

    def _encode(self, message: ServerMessage) -> str:
        return encode(message)

    def _error_code(self, message: ServerMessage) -> str | None:
        return message.code if isinstance(message, Error) else None

    def _record(self, message: ServerMessage) -> dict[str, Any] | None:
        return as_dict(message) if isinstance(message, SpeechEvent) else None
