"""The connection of `WS /v1/vad/stream`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from service.errors import Unauthorised
from service.fields import check_model
from service.live.connection import Connection
from service.live.messages import Error, ServerMessage, encode
from service.live.protocol import State, StreamLimits
from service.live.session import StreamSession
from service.security import bearer
from vad.events import SpeechEvent, as_dict


class StreamConnection(Connection[ServerMessage]):
    """A connection that speaks the messages of `service.live.messages`."""

    def _begin(self, limits: StreamLimits, session_id: str) -> StreamSession:
        self._own = StreamSession(self._service.detector, limits, session_id)
        return self._own

    async def _authenticate(self) -> int | None:
        """Checks the key; a client that can't set the header may send it in a message."""
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

    async def _prepare(self) -> None:
        """Has the model ready that the URL names, which may have to be loaded."""
        models, asked = self._service.models, self._websocket.query_params.get("model")
        check_model(asked, models.names)
        if asked not in (None, models.default.name):
            self._own.use(await asyncio.to_thread(models.get, asked))

    def _encode(self, message: ServerMessage) -> Sequence[str]:
        return (encode(message),)

    def _error_code(self, message: ServerMessage) -> str | None:
        return message.code if isinstance(message, Error) else None

    def _record(self, message: ServerMessage) -> dict[str, Any] | None:
        return as_dict(message) if isinstance(message, SpeechEvent) else None
