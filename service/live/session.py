"""The service's own protocol of live streams: client messages in, server messages out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from service.errors import (
    FieldError,
    InvalidFields,
    MessageTooLarge,
    NotAllowed,
    StreamTooFast,
    StreamTooLong,
    Unauthorised,
    UnknownMessage,
)
from service.fields import (
    LONGEST,
    SEGMENTATION_NAMES,
    TOLD,
    StreamFields,
    check_model,
    parse_json,
    parse_text,
)
from service.live.hub import Pushes
from service.live.messages import (
    ServerMessage,
    SessionClosed,
    SessionCreated,
    SessionUpdated,
    decode,
    error_of,
)
from service.live.protocol import LiveSession, State, StreamLimits
from vad import Detector, Stream
from vad.analytics import analytics_of_spans
from vad.audio.pcm import Deinterleaver, sample_bytes
from vad.config import Segmentation
from vad.errors import ParameterError
from vad.events import Event, StopReason
from vad.inference.engine import Frames

__all__ = ["State", "StreamLimits", "StreamSession"]
COMMANDS = frozenset({"auth", "session.update", "flush", "reset", "keepalive", "end"})
# Mistakes in one message that leave the stream as it was; all others end it.
RECOVERABLE = (ParameterError, InvalidFields, UnknownMessage, NotAllowed)
_NOT_YET_OPEN = (State.CONNECTING, State.AUTH)
_STREAM_PARAMS = ("encoding", "sample_rate", "channels", "probabilities")
_OF_URL = frozenset({"channels", "include"})  # places were taken for the former


class StreamSession(LiveSession[ServerMessage]):
    """One stream, whose states `service.live.protocol` draws; messages that its state does not
    allow get an `Error`.

    Attributes:
        key: number of the key that a client gave in `auth`.
    """

    bytes_per_second = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.key: int | None = None
        self._authenticate: Callable[[str], int] | None = None
        self._fields = StreamFields()
        self._segmentation = Segmentation()
        self._streams: list[Stream] = []  # one a channel
        self._split: Callable[[bytes], list[bytes]] | None = None  # of several channels
        self._bytes = 0

    def use(self, detector: Detector) -> None:
        """Another model, before the stream is opened."""
        self._detector = detector

    def challenge(self, authenticate: Callable[[str], int]) -> list[ServerMessage]:
        """The client has yet to give its key, in its first message.

        Args:
            authenticate: the number of the key that a token is; raises Unauthorised.
        """
        self._authenticate = authenticate
        self.state = State.AUTH
        return []

    def open(self, query: Iterable[tuple[str, str]]) -> list[ServerMessage]:
        return self._guarded(lambda: self._opened(parse_text(StreamFields, query)))

    def receive_bytes(self, data: bytes) -> list[ServerMessage]:
        return self._guarded(lambda: self._audio(data))

    def receive_text(self, text: str) -> list[ServerMessage]:
        return self._guarded(lambda: self._command(text))

    @property
    def audio_ms(self) -> int:
        return self._streams[0].received_ms if self._streams else 0

    @property
    def channels(self) -> int:
        return self._fields.channels

    def feed(self, data: bytes) -> Pushes:
        if self.state is not State.STREAMING:
            self._begin()
        lead = self._limits.max_stream_lead_s
        seconds = (self._bytes + len(data)) / self.bytes_per_second
        if lead is not None and seconds - (self._clock() - self._opened_at) > lead:
            raise StreamTooFast(f"a stream may be {lead:g} s ahead of the clock")
        taken = data[: self._max_bytes - self._bytes]
        self._bytes += len(taken)
        self._full = len(data) > len(taken)
        parts = [taken] if self._split is None else self._split(taken)
        return [(s.signal, s.feed(part)) for s, part in zip(self._streams, parts, strict=True)]

    def take(self, probabilities: Sequence[Frames]) -> list[ServerMessage]:
        out: list[ServerMessage] = []
        for channel, stream in enumerate(self._streams):
            if events := stream.take(probabilities[channel]):
                out += self._booked(channel, events)
        if self._full:
            limit = self._limits.max_stream_s
            out += self.fail(StreamTooLong(f"a stream may have {limit:g} s of audio"))
        return out

    def refuse(self, exc: Exception) -> list[ServerMessage]:
        if self.state in _NOT_YET_OPEN or not isinstance(exc, RECOVERABLE):
            return self.fail(exc)
        return [error_of(exc, fatal=False)]

    def fail(self, exc: BaseException) -> list[ServerMessage]:
        if self._over:
            return []
        was_open = self.running
        out: list[ServerMessage] = [*self._failed(exc), error_of(exc, fatal=True)]
        return [*out, self._summary()] if was_open else out

    def _guarded(self, handle: Callable[[], list[ServerMessage]]) -> list[ServerMessage]:
        try:
            return handle()
        except Exception as exc:
            return self.refuse(exc)

    def _allow(self, kind: str) -> None:
        if self.state is State.AUTH if kind == "auth" else self.running:
            return
        if self.state is State.AUTH:
            raise Unauthorised('send a key first: {"type": "auth", "token": "…"}')
        raise NotAllowed(f"{kind} is not allowed while {self.state.name.lower()}")

    def _opened(self, fields: StreamFields) -> list[ServerMessage]:
        self._configure(fields, fields.segmentation())
        self.state, self._opened_at = State.OPEN, self._clock()
        if "analytics" in fields.include:
            self.ledger.spans = {}
        created = SessionCreated(
            session_id=self._session_id,
            model=self._detector.name,
            params=self._params(),
            limits=self._limits.told,
            hop_ms=self._detector.hop_ms,
            latency_ms=self._detector.latency_ms,
        )
        return [created]

    def _configure(self, fields: StreamFields, segmentation: Segmentation) -> None:
        check_model(fields.model, [self._detector.name])
        self._fields, self._segmentation = fields, segmentation
        width = sample_bytes(fields.encoding) * fields.channels
        self.bytes_per_second = width * fields.sample_rate
        self._max_bytes = int(self._limits.max_stream_s * fields.sample_rate) * width

    def _params(self) -> dict[str, Any]:
        own = {name: getattr(self._fields, name) for name in _STREAM_PARAMS}
        return self._segmentation.effective() | own

    def _command(self, text: str) -> list[ServerMessage]:
        if len(text.encode(errors="replace")) > self._limits.max_message_bytes:
            raise self._too_large()
        kind, values = decode(text)
        if kind not in COMMANDS:
            known = ", ".join(sorted(COMMANDS))
            raise UnknownMessage(f"no message is of type {kind[:64]!r}; known are {known}")
        self._allow(kind)
        if kind == "session.update":
            return self._update(values)
        if kind == "auth":
            return self._auth(values)
        if values:
            told = islice(values, TOLD)
            raise InvalidFields(*(FieldError(n[:LONGEST], f"{kind} has no fields") for n in told))
        if kind == "end":
            return self._end()
        if kind == "keepalive":
            return []
        return [*self._of_each(Stream.flush if kind == "flush" else Stream.reset)]

    def _auth(self, values: Mapping[str, Any]) -> list[ServerMessage]:
        token = values.get("token")
        if self._authenticate is None or not isinstance(token, str) or len(values) > 1:
            raise InvalidFields(FieldError("token", "must be a string, and the only field"))
        self.key = self._authenticate(token)
        self.state = State.CONNECTING
        return []

    def _update(self, values: Mapping[str, Any]) -> list[ServerMessage]:
        changes = parse_json(StreamFields, values)
        given = {name: getattr(changes, name) for name in changes.model_fields_set}
        thresholds = {n: v for n, v in given.items() if n in SEGMENTATION_NAMES}
        if fixed := sorted(given.keys() & _OF_URL):
            raise InvalidFields(*(FieldError(n, "is a parameter of the URL") for n in fixed))
        if not self._streams:
            fields = self._fields.model_copy(update=given)
            self._configure(fields, self._segmentation.updated(**thresholds))
        elif late := sorted(given.keys() - SEGMENTATION_NAMES):
            raise InvalidFields(*(FieldError(n, "can't change once audio came") for n in late))
        else:
            for stream in self._streams:
                self._segmentation = stream.update(**thresholds)
        return [SessionUpdated(self._params())]

    def _audio(self, data: bytes) -> list[ServerMessage]:
        if len(data) > self._limits.max_message_bytes:
            raise self._too_large()
        return self.take(self._detector.engine.push_many(self.feed(data)))

    def _begin(self) -> None:
        self._allow("audio")
        fields = self._fields
        self._streams = [
            self._detector.stream(
                fields.sample_rate,
                encoding=fields.encoding,
                segmentation=self._segmentation,
                probabilities=fields.probabilities,
            )
            for _ in range(fields.channels)
        ]
        if fields.channels > 1:
            self._split = Deinterleaver(fields.encoding, fields.channels).push
        self.state = State.STREAMING

    def _too_large(self) -> MessageTooLarge:
        return MessageTooLarge(f"a message may have {self._limits.max_message_bytes} bytes")

    def _end(self) -> list[ServerMessage]:
        events = self._of_each(lambda stream: stream.finish("end"))
        self.state, self.reason = State.DRAINING, "end"
        return [*events, self._summary()]

    def _summary(self) -> SessionClosed:
        analytics = None
        if self.ledger.spans is not None:
            own = {channel: self.ledger.spans.get(channel, []) for channel in range(self.channels)}
            analytics = asdict(analytics_of_spans(own, self.audio_ms))
        return SessionClosed(self.audio_ms, self.ledger.speech_ms, self.ledger.segments, analytics)

    def _of_each(self, call: Callable[[Stream], list[Event]]) -> list[Event]:
        """What a call says of each channel, booked."""
        return [
            event
            for channel, stream in enumerate(self._streams)
            for event in self._booked(channel, call(stream))
        ]

    def _booked(self, channel: int, events: list[Event]) -> list[Event]:
        if self.channels > 1:
            events = [replace(event, channel=channel) for event in events]
        return self.ledger.enter(events)

    def _finished(self, reason: StopReason) -> list[Event]:
        events: list[Event] = []
        for channel, stream in enumerate(self._streams):
            try:
                events += self._booked(channel, stream.finish(reason))
            except Exception as exc:
                self.failure = self.failure or exc
        return events
