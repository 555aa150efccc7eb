"""What a connection needs of a session, so that several protocols share one connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from service.ledger import Ledger
from vad.events import SpeechEvent, StopReason

MessageT = TypeVar("MessageT")


class LiveSession(Protocol[MessageT]):
    """A live stream's protocol, without I/O; its messages are of type `MessageT`.

    Attributes:
        close_code: for the WebSocket, once the session runs no more.
        reason: what ended it; None while it runs.
        failure: the unforeseen exception that ended it, for the log.
        audio_ms: received so far.
        ledger: what was reported so far.
    """

    close_code: int
    reason: StopReason | None
    failure: BaseException | None
    audio_ms: int
    ledger: Ledger

    @property
    def running(self) -> bool:
        """Whether it takes messages."""
        ...

    def open(self, query: Iterable[tuple[str, str]]) -> list[MessageT]:
        """The connection is made, with parameters in its URL."""
        ...

    def receive_text(self, text: str) -> list[MessageT]:
        """A text frame."""
        ...

    def receive_bytes(self, data: bytes) -> list[MessageT]:
        """A binary frame."""
        ...

    def fail(self, exc: BaseException) -> list[MessageT]:
        """Something other than the client ends the stream: shutdown, a limit, a fault."""
        ...

    def closed(self, reason: StopReason) -> list[SpeechEvent]:
        """The connection is gone. Returns events that the client was not told."""
        ...
