"""Speech and commits as server events, and the items that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, Literal

from service.realtime.messages import (
    Cleared,
    Committed,
    ErrorEvent,
    Item,
    ItemEvent,
    ServerEvent,
    SessionCreated,
    SessionUpdated,
    SpeechStartedEvent,
    SpeechStoppedEvent,
    error_detail,
)
from service.realtime.turns import InputBuffer
from vad.events import Event, SpeechStarted, SpeechStopped

ItemKind = Literal["conversation.item.added", "conversation.item.done"]


class Narrator:
    """Tells a client what happens, and keeps the chain of items.

    Ids derive from the session's, so that log and client speak of the same.

    Args:
        session_id: `sess_…`.
        buffer: whose start moves on when it is committed.
    """

    def __init__(self, session_id: str, buffer: InputBuffer) -> None:
        self._suffix = session_id.removeprefix("sess_")[:16]
        self._buffer = buffer
        self._numbers = count()
        self._promised: str | None = None  # the item that the speech in the buffer becomes
        self._last: str | None = None

    def created(self, session: Mapping[str, Any]) -> ServerEvent:
        return SessionCreated(event_id=self._event_id(), session=session)

    def updated(self, session: Mapping[str, Any]) -> ServerEvent:
        return SessionUpdated(event_id=self._event_id(), session=session)

    def error(self, exc: BaseException, cause: str | None) -> ServerEvent:
        """An exception; `cause` is the id of the client's event, if it had one."""
        return ErrorEvent(event_id=self._event_id(), error=error_detail(exc, cause))

    def cleared(self) -> ServerEvent:
        """The buffer is empty, and nothing becomes of speech that was in it."""
        self._promised = None
        return Cleared(event_id=self._event_id())

    def speech(self, events: Iterable[Event]) -> list[ServerEvent]:
        """Starts and stops; what a silence has ended is committed."""
        out: list[ServerEvent] = []
        for event in events:
            if isinstance(event, SpeechStarted):
                out.append(self._started(event))
            elif isinstance(event, SpeechStopped):
                out.append(self._stopped(event))
                if event.reason == "silence":
                    out += self.committed(event.audio_end_ms)
        return out

    def committed(self, end_ms: int) -> list[ServerEvent]:
        """The buffer, up to a point in time, has become an item of the conversation."""
        item = Item(id=self._promised or self._new_id("item"))
        previous, self._last, self._promised = self._last, item.id, None
        self._buffer.start_ms = end_ms
        committed = Committed(event_id=self._event_id(), previous_item_id=previous, item_id=item.id)
        kinds: tuple[ItemKind, ...] = ("conversation.item.added", "conversation.item.done")
        return [
            committed,
            *(
                ItemEvent(
                    type=kind, event_id=self._event_id(), previous_item_id=previous, item=item
                )
                for kind in kinds
            ),
        ]

    def _started(self, event: SpeechStarted) -> ServerEvent:
        self._promised = self._new_id("item")
        return SpeechStartedEvent(
            event_id=self._event_id(),
            audio_start_ms=event.audio_start_ms,
            item_id=self._promised,
        )

    def _stopped(self, event: SpeechStopped) -> ServerEvent:
        assert self._promised is not None, event
        return SpeechStoppedEvent(
            event_id=self._event_id(),
            audio_end_ms=event.audio_end_ms,
            item_id=self._promised,
            reason=event.reason,
        )

    def _event_id(self) -> str:
        return self._new_id("event")

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{self._suffix}_{next(self._numbers)}"
