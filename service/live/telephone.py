"""What telephone systems have in common that send a call's audio over a WebSocket.

The system's first message says what the audio is; then it is a stream like all others. What the
stream has to say goes out as the system's own commands: `live.twilio` and `live.asterisk`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from service.errors import FieldError, InvalidFields, Unauthorised
from service.live.messages import Error, ServerMessage, encode
from service.live.protocol import StreamLimits
from service.live.session import StreamSession
from service.live.stream import StreamConnection
from service.security import bearer

REASON_BYTES = 123  # of a close frame: RFC 6455 §5.5
_TOLD = ("encoding", "sample_rate", "channels")


class TelephoneSession(StreamSession):
    """A stream whose first messages say what it is.

    Attributes:
        greeted: whether that is known.
        audio: its encoding, its rate in Hz and how many channels it has.
        token: a key, where the system sends one in a message.
        parameters: of the stream, as the system sends them.
        events: whether the stream's own messages are wanted, too.
    """

    system: ClassVar[str]
    key_place: ClassVar[str]  # where an operator of the system writes the service's key

    greeted = False
    audio: tuple[str, int, int] = ("mulaw", 8000, 1)
    token: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    events = False

    @abstractmethod
    def greet(self, text: str | None) -> None:
        """A message before `greeted`; None is one of audio.

        Raises:
            StreamError, ServiceError: it is none that may come then.
        """

    @abstractmethod
    def commands(self, message: ServerMessage) -> list[str]:
        """What the system is told of a message."""

    def open(self, query: Iterable[tuple[str, str]]) -> list[ServerMessage]:
        """The system has said what comes; parameters stand in the URL, or among its own."""
        given = [(n, v) for n, v in (*query, *self.parameters) if n != "protocol"]
        own = [(n, v) for n, v in given if n != "events"]
        asked = [v for n, v in given if n == "events"]
        wrong = [
            FieldError(n, f"is told by {self.system}, not in the URL") for n, _ in own if n in _TOLD
        ]
        if asked not in ([], ["true"], ["false"]):
            wrong.append(FieldError("events", "must be true or false"))
        if wrong:
            return self.fail(InvalidFields(*wrong))
        self.events = asked == ["true"]
        return super().open(
            [*own, *((n, str(v)) for n, v in zip(_TOLD, self.audio, strict=True))],
        )


class TelephoneConnection(StreamConnection):
    """A connection that a telephone system makes."""

    session: Callable[..., TelephoneSession]

    def _begin(self, limits: StreamLimits, session_id: str) -> StreamSession:
        self._farewell = ""
        self._phone = self.session(self._service.detector, limits, session_id)
        return self._phone

    async def _authenticate(self) -> int | None:
        """Once the system has said what comes: its key may be among that."""
        while not self._phone.greeted:
            message = await self._next(self._service.settings.auth_timeout_s)
            self._phone.greet(message.get("text"))
        if not self._service.keys:
            return None
        token = self._token()
        if token is None and (token := bearer(self._websocket)) is None:  # as relays send it
            raise Unauthorised(f"a key is needed: {self._phone.key_place}")
        return self._service.keys.find(token)

    def _token(self) -> str | None:
        """The key that came otherwise than as `Authorization: Bearer`."""
        return self._phone.token

    def _encode(self, message: ServerMessage) -> Sequence[str]:
        if isinstance(message, Error) and message.fatal:
            self._farewell = message.message
        own = [encode(message)] if self._phone.events else []
        return [*self._phone.commands(message), *own]

    def _close_reason(self) -> str:
        return self._farewell.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore")
