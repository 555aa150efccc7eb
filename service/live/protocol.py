"""The states of a live stream, what each allows, and what ends one.

connecting ── open() ──▶ open ── audio ──▶ streaming
  │ ▲  │                   │ end, fail()       │ end, fail()
  │ │  └── fail() ───▶ draining ◀──────────────┘
  │ │                      ▲ │
  │ └─ auth, right key     │ │ closed()
  ▼                        │ ▼
 auth ── anything else ────┘ closed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from service.errors import (
    InvalidFields,
    NotAllowed,
    UnknownMessage,
)
from service.settings import Settings
from vad.errors import ParameterError

NORMAL_CLOSURE = 1000


class State(Enum):
    """Where a stream is in its life; see the module's drawing."""

    CONNECTING = auto()
    AUTH = auto()
    OPEN = auto()
    STREAMING = auto()
    DRAINING = auto()
    CLOSED = auto()


COMMANDS = frozenset({"auth", "session.update", "flush", "reset", "keepalive", "end"})
_RUNNING = COMMANDS - {"auth"} | {"audio"}
ALLOWED: Mapping[State, frozenset[str]] = {
    State.CONNECTING: frozenset(),
    State.AUTH: frozenset({"auth"}),
    State.OPEN: _RUNNING,
    State.STREAMING: _RUNNING,
    State.DRAINING: frozenset(),
    State.CLOSED: frozenset(),
}
# Mistakes in one message that leave the stream as it was; all others end it.
RECOVERABLE = (ParameterError, InvalidFields, UnknownMessage, NotAllowed)
EVENT_BYTES = 4096  # of an event, audio aside


@dataclass(frozen=True)
class StreamLimits:
    """What a stream may take.

    Attributes:
        max_message_bytes: of one message.
        stream_idle_s: without a message.
        max_stream_s: of audio.
        max_stream_lead_s: of audio ahead of the clock; None sets no limit.
        max_append_bytes: of audio in one event of the Realtime protocol.
    """

    max_message_bytes: int
    stream_idle_s: float
    max_stream_s: float
    max_stream_lead_s: float | None = None
    max_append_bytes: int = 15 * 2**20

    @property
    def told(self) -> dict[str, Any]:
        """The limits that `session.created` tells a client."""
        return {name: value for name, value in vars(self).items() if name != "max_append_bytes"}

    @property
    def max_event_bytes(self) -> int:
        """The most bytes of one message of the Realtime protocol, whose audio is in base64."""
        return max(self.max_message_bytes, 4 * (self.max_append_bytes + 2) // 3 + EVENT_BYTES)

    @classmethod
    def of(cls, settings: Settings) -> StreamLimits:
        """The limits that an operator has set."""
        return cls(
            settings.max_message_bytes,
            settings.stream_idle_s,
            settings.max_stream_s,
            settings.max_stream_lead_s,
            settings.max_append_bytes,
        )
