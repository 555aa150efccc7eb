"""`WS /v1/realtime`: the turn-detection subset of the OpenAI Realtime API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, WebSocket

from service.live.connection import Connection
from service.live.protocol import StreamLimits
from service.realtime.messages import (
    ErrorEvent,
    ServerEvent,
    SpeechStartedEvent,
    SpeechStoppedEvent,
)
from service.realtime.session import RealtimeSession
from service.security import bearer

router = APIRouter()
SUBPROTOCOL = "realtime"
# What a browser offers beside it, since it can't set headers.
KEY_PREFIX = "openai-insecure-api-key."
BETA_SUBPROTOCOL = "openai-beta.realtime-v1"
BETA_HEADER = ("OpenAI-Beta", "realtime=v1")


@router.websocket("/v1/realtime")
async def realtime(websocket: WebSocket) -> None:
    await RealtimeConnection(websocket, websocket.app.state.service).run()


class RealtimeConnection(Connection[ServerEvent]):
    """A connection that speaks the events of `service.realtime.messages`."""

    def _begin(self, limits: StreamLimits, session_id: str) -> RealtimeSession:
        name, value = BETA_HEADER
        asked = [part.strip() for part in self._websocket.headers.get(name, "").split(",")]
        beta = value in asked or BETA_SUBPROTOCOL in self._offered
        return RealtimeSession(self._service.detector, limits, session_id, beta=beta)

    def _subprotocol(self) -> str | None:
        return SUBPROTOCOL if SUBPROTOCOL in self._offered else None

    async def _authenticate(self) -> int | None:
        """As the base, but a browser may give its key as a subprotocol."""
        keys = self._service.keys
        given = [name for name in self._offered if name.startswith(KEY_PREFIX)]
        if keys and given and bearer(self._websocket) is None:
            return keys.find(given[0].removeprefix(KEY_PREFIX))
        return await super()._authenticate()

    def _encode(self, message: ServerEvent) -> Sequence[str]:
        return (message.model_dump_json(),)

    def _error_code(self, message: ServerEvent) -> str | None:
        return message.error.code if isinstance(message, ErrorEvent) else None

    def _record(self, message: ServerEvent) -> dict[str, Any] | None:
        if not isinstance(message, SpeechStartedEvent | SpeechStoppedEvent):
            return None
        fields = message.model_dump()
        if isinstance(message, SpeechStoppedEvent):
            fields["reason"] = message.reason
        return fields | {"type": fields["type"].rpartition(".")[2]}

    @property
    def _offered(self) -> list[str]:
        """The subprotocols that the client offers."""
        return list(self._websocket.scope.get("subprotocols", ()))
