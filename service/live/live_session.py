"""What a connection needs of a session, so that several protocols share one connection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from service.live.hub import Pushes
from service.live.ledger import Ledger
from vad.events import SpeechEvent, StopReason
from vad.inference.signal import Frames

MessageT = TypeVar("MessageT")


class LiveSession(Protocol[MessageT]):
    """A live stream's protocol, without I/O; its messages are of type `MessageT`.

    Attributes:
        close_code: for the WebSocket, once the session runs no more.
        reason: what ended it; None while it runs.
        failure: the unforeseen exception that ended it, for the log.
        audio_ms: received so far.
        ledger: what was reported so far.
        takes_audio: whether binary frames are audio.
    """

    close_code: int
    reason: StopReason | None
    failure: BaseException | None
    audio_ms: int
    ledger: Ledger
    takes_audio: bool

    @property
    def channels(self) -> int:
        """Each takes a place among streams; told once it is open."""
        ...

    @property
    def running(self) -> bool:
        """Whether it takes messages."""
        ...

    def open(self, query: Iterable[tuple[str, str]]) -> list[MessageT]:
        """The connection is made, with parameters in its URL."""
        ...

    def receive_text(self, text: str) -> list[MessageT]:
        """A text frame, behind all audio that came before it."""
        ...

    def receive_bytes(self, data: bytes) -> list[MessageT]:
        """A binary frame, which runs the network here and now."""
        ...

    def audio_in(self, text: str) -> bytes | None:
        """The audio that a text frame is; None if it is anything else."""
        ...

    # Audio in two halves, between which others share the network: see `vad.Stream`.

    @property
    def bytes_per_second(self) -> int:
        """Of audio as it comes."""
        ...

    def feed(self, data: bytes) -> Pushes:
        """For the network: of each channel its signal, and its audio, [samples] at 16 kHz.

        Raises:
            Exception: for `refuse`.
        """
        ...

    def take(self, probabilities: Sequence[Frames]) -> list[MessageT]:
        """What came of each."""
        ...

    def refuse(self, exc: Exception) -> list[MessageT]:
        """What an exception means here, which may be the end."""
        ...

    def fail(self, exc: BaseException) -> list[MessageT]:
        """Something other than the client ends the stream: shutdown, a limit, a fault."""
        ...

    def closed(self, reason: StopReason) -> list[SpeechEvent]:
        """The connection is gone. Returns events that the client was not told."""
        ...
