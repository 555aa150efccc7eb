"""What every protocol of live streams has in common: its states, its limits, and what ends one.

connecting ── open() ──▶ open ── audio ──▶ streaming
  │ ▲  │                   │ end, fail()       │ end, fail()
  │ │  └── fail() ───▶ draining ◀──────────────┘
  │ │                      ▲ │
  │ └─ auth, right key     │ │ closed()
  ▼                        │ ▼
 auth ── anything else ────┘ closed
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar, Generic, TypeVar

from service.live.hub import Pushes
from service.live.ledger import Ledger
from service.problems import INTERNAL, problem_type
from service.settings import Settings
from vad import Detector
from vad.events import Event, SpeechEvent, StopReason
from vad.inference.engine import Frames

NORMAL_CLOSURE = 1000
MessageT = TypeVar("MessageT")


class State(Enum):
    """Where a stream is in its life; see the module's drawing."""

    CONNECTING = auto()
    AUTH = auto()
    OPEN = auto()
    STREAMING = auto()
    DRAINING = auto()
    CLOSED = auto()


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


class LiveSession(ABC, Generic[MessageT]):
    """A live stream's protocol, without I/O; its messages are of type `MessageT`.

    Whatever ends it, each start of speech that was reported gets exactly one end: from the
    detector's stream if it still can, else from the ledger. Not thread-safe: one call at a time.

    Args:
        detector: makes the streams that find the speech.
        limits: enforced here, but for idleness, which needs a clock.
        session_id: told to the client.
        clock: seconds, from any start; audio may be only so far ahead of it.

    Attributes:
        takes_audio: whether binary frames are audio.
        state: where it is.
        close_code: for the WebSocket, once the session runs no more.
        reason: what ended it; None while it runs.
        failure: the unforeseen exception that ended it, for the log.
        ledger: what was reported so far.
    """

    takes_audio: ClassVar[bool] = True

    def __init__(
        self,
        detector: Detector,
        limits: StreamLimits,
        session_id: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = State.CONNECTING
        self.close_code = NORMAL_CLOSURE
        self.reason: StopReason | None = None
        self.failure: BaseException | None = None
        self.ledger = Ledger()
        self._detector, self._limits, self._session_id = detector, limits, session_id
        self._clock, self._opened_at = clock, 0.0
        self._full = False  # it may have no more audio

    @property
    def running(self) -> bool:
        """Whether it takes messages."""
        return self.state in (State.OPEN, State.STREAMING)

    @property
    def channels(self) -> int:
        """Each takes a place among streams; told once it is open."""
        return 1

    @property
    @abstractmethod
    def audio_ms(self) -> int:
        """How much audio was received so far."""

    @property
    @abstractmethod
    def bytes_per_second(self) -> int:
        """How many bytes a second of incoming audio has."""

    @abstractmethod
    def open(self, query: Iterable[tuple[str, str]]) -> list[MessageT]:
        """The connection is made, with parameters in its URL."""

    @abstractmethod
    def receive_text(self, text: str) -> list[MessageT]:
        """A text frame, behind all audio that came before it."""

    @abstractmethod
    def receive_bytes(self, data: bytes) -> list[MessageT]:
        """A binary frame, which runs the network here and now."""

    def audio_in(self, text: str) -> bytes | None:
        """The audio that a text frame is; None if it is anything else."""
        return None

    # Audio in two halves, between which others share the network: see `vad.Stream`.

    @abstractmethod
    def feed(self, data: bytes) -> Pushes:
        """For the network: of each channel its signal, and its audio, [samples] at 16 kHz.

        Raises:
            Exception: for `refuse`.
        """

    @abstractmethod
    def take(self, probabilities: Sequence[Frames]) -> list[MessageT]:
        """What came of each."""

    # Its end.

    @abstractmethod
    def refuse(self, exc: Exception) -> list[MessageT]:
        """What an exception means here: a mistake that is told, or the end."""

    @abstractmethod
    def fail(self, exc: BaseException) -> list[MessageT]:
        """Something other than the client's wish ends it: shutdown, a limit, a fault."""

    def closed(self, reason: StopReason = "disconnect") -> list[SpeechEvent]:
        """The connection is gone.

        Returns:
            Events that the client was not told, if it went before the stream's end.
        """
        events = [] if self._over else self._final(reason)
        self.state = State.CLOSED
        return [event for event in events if isinstance(event, SpeechEvent)]

    @property
    def _over(self) -> bool:
        return self.state in (State.DRAINING, State.CLOSED)

    def _failed(self, exc: BaseException) -> list[Event]:
        """Ends it as an exception's row among the problems says."""
        kind = problem_type(exc)
        self.close_code = kind.close_code
        self.failure = exc if kind is INTERNAL else None
        return self._final(kind.stop_reason)

    def _final(self, reason: StopReason) -> list[Event]:
        """Ends every open segment, whatever state the detector is in."""
        events = self._finished(reason)
        self.state, self.reason = State.DRAINING, reason
        return events + self.ledger.settle(self.audio_ms, reason)

    @abstractmethod
    def _finished(self, reason: StopReason) -> list[Event]:
        """The last events of the detector's streams, booked; `failure` is what they raise."""
