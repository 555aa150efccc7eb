"""The Realtime protocol, without I/O: client events in, server events out.

    connecting ── open() ──▶ open ── fail() ──▶ draining ── closed() ──▶ closed
        └──────────────── fail() ───────────────▶ ┘

Speech goes from its start to its end like this:

    (held back) ── long enough ──▶ speech_started ──┬── silence ──▶ speech_stopped, committed, item
         │                                          ├── commit ───▶ speech_stopped, committed, item
         └── too short: nothing is said             └── all else ─▶ speech_stopped

Whatever ends a session, each `speech_started` gets exactly one `speech_stopped`; `closed()`
returns those that no one can be told any more, for the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from service.errors import (
    EventRefused,
    MessageTooLarge,
    StreamTooFast,
    StreamTooLong,
    UnsupportedFrame,
)
from service.live.hub import Pushes
from service.live.protocol import LiveSession, State
from service.realtime.config import Config, described, updated
from service.realtime.items import Narrator
from service.realtime.messages import (
    NO_ANSWERS,
    OUT_OF_SCOPE,
    Append,
    NoFields,
    ServerEvent,
    Update,
    decode,
    decode_audio,
    validated,
)
from service.realtime.turns import InputBuffer, Turns
from vad import Segmentation
from vad.events import Event, StopReason
from vad.inference.engine import Frames

MIN_COMMIT_MS = 100  # what OpenAI's own server asks for
QUERY = frozenset({"model"})
APPEND = "input_audio_buffer.append"
HEAD = 256  # characters in which an event with audio says so, or else takes the long way


class RealtimeSession(LiveSession[ServerEvent]):
    """One session; the ids of its events and items derive from its own."""

    takes_audio = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._buffer = InputBuffer(Config().format)
        self._narrator = Narrator(self._session_id, self._buffer)
        self._config = Config()
        self._turns: Turns | None = None
        self._segments = 0
        self._append_id: str | None = None  # of the last event with audio
        self._serve: Mapping[str, Callable[[Mapping[str, Any]], list[ServerEvent]]] = {
            "session.update": self._update,
            APPEND: self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
        }

    @property
    def audio_ms(self) -> int:
        return self._buffer.end_ms

    def open(self, query: Iterable[tuple[str, str]]) -> list[ServerEvent]:
        """Any model may be asked for; the loaded one is told."""
        for name, _ in query:
            if name not in QUERY:
                return self.fail(
                    EventRefused("unknown_parameter", f"Unknown query parameter: {name!r}.", name)
                )
        self.state, self._opened_at = State.OPEN, self._clock()
        return [self._narrator.created(self._described())]

    def receive_bytes(self, data: bytes) -> list[ServerEvent]:
        """A binary frame, of which the protocol has none."""
        return self.fail(UnsupportedFrame("audio is sent as input_audio_buffer.append, in base64"))

    def receive_text(self, text: str) -> list[ServerEvent]:
        event_id: str | None = None
        try:
            if len(text.encode(errors="replace")) > self._limits.max_event_bytes:
                limit = self._limits.max_event_bytes
                raise MessageTooLarge(f"a message may have {limit} bytes")
            event = decode(text)
            event_id = event.event_id
            return self._handler(event.type)(event.values)
        except EventRefused as exc:
            return [self._narrator.error(exc, event_id)]
        except Exception as exc:
            return self.fail(exc, event_id)

    def audio_in(self, text: str) -> bytes | None:
        """The audio of an `input_audio_buffer.append`; what is wrong with one is told in turn."""
        if APPEND not in text[:HEAD] or len(text) > self._limits.max_event_bytes:
            return None
        try:
            event = decode(text)
            if event.type != APPEND:
                return None
            self._append_id = event.event_id
            return decode_audio(validated(Append, event.values).audio)
        except EventRefused:
            return None

    @property
    def bytes_per_second(self) -> int:
        return self._buffer.format.sample_rate * self._buffer.format.sample_bytes

    def feed(self, data: bytes) -> Pushes:
        """None where no turns are asked for."""
        room = self._buffer.room(self._limits.max_stream_s)
        if self._config.turn_detection is not None and self._turns is None:
            self._turns = self._begin(self._config.turn_detection.segmentation())
        samples = self._buffer.append(data[:room])
        self._full = len(data) > room
        self._check_lead()
        return [] if self._turns is None else [(self._turns.signal, self._turns.feed(samples))]

    def take(self, probabilities: Sequence[Frames]) -> list[ServerEvent]:
        out: list[ServerEvent] = []
        if self._turns is not None:
            [values] = probabilities
            out += self._reported(self._turns.take(values))
        if self._full:
            limit = self._limits.max_stream_s
            out += self.fail(StreamTooLong(f"a session may have {limit:g} s of audio"))
        return out

    def refuse(self, exc: Exception) -> list[ServerEvent]:
        if isinstance(exc, EventRefused):
            return [self._narrator.error(exc, self._append_id)]
        return self.fail(exc, self._append_id)

    def fail(self, exc: BaseException, event_id: str | None = None) -> list[ServerEvent]:
        if self._over:
            return []
        return [*self._narrator.speech(self._failed(exc)), self._narrator.error(exc, event_id)]

    # What clients ask for.

    def _handler(self, kind: str) -> Callable[[Mapping[str, Any]], list[ServerEvent]]:
        if kind in OUT_OF_SCOPE:
            raise EventRefused("not_supported", f"{kind} is not served: {NO_ANSWERS}.", "type")
        if kind not in self._serve:
            known = ", ".join(map(repr, self._serve))
            message = f"Invalid value: {kind[:64]!r}. Supported values are: {known}."
            raise EventRefused("invalid_value", message, "type")
        return self._serve[kind]

    def _update(self, values: Mapping[str, Any]) -> list[ServerEvent]:
        new, old = updated(self._config, validated(Update, values).session), self._config
        if new.format is not old.format and self._buffer.length_ms:
            message = f"Commit or clear the {self._buffer.length_ms} ms in the buffer first."
            raise EventRefused("invalid_value", message, "session.audio.input.format")
        out: list[ServerEvent] = []
        if new.turn_detection is None or new.format is not old.format:
            out = self._reported(self._finish_turns("flush"))
        elif self._turns is not None:
            self._turns.update(**new.turn_detection.changes())
        if new.format is not old.format:
            self._buffer.clear()
            self._buffer.format = new.format
        self._config = new
        return [*out, self._narrator.updated(self._described())]

    def _append(self, values: Mapping[str, Any]) -> list[ServerEvent]:
        pushes = self.feed(decode_audio(validated(Append, values).audio))
        return self.take(self._detector.engine.push_many(pushes))

    def _commit(self, values: Mapping[str, Any]) -> list[ServerEvent]:
        validated(NoFields, values)
        if (length := self._buffer.length_ms) < MIN_COMMIT_MS:
            raise EventRefused(
                "input_audio_buffer_commit_empty",
                f"Error committing input audio buffer: buffer too small. Expected at least "
                f"{MIN_COMMIT_MS}ms of audio, but buffer only has {length}ms of audio.",
            )
        out = [] if self._turns is None else self._reported(self._turns.flush())
        out += self._narrator.committed(self._buffer.end_ms)
        if self._turns is not None:
            self._turns.floor_ms = self._buffer.start_ms
        return out

    def _clear(self, values: Mapping[str, Any]) -> list[ServerEvent]:
        validated(NoFields, values)
        # A new stream, since what was cleared must not be heard in what comes next.
        out = self._reported(self._finish_turns("reset"))
        self._buffer.clear()
        return [*out, self._narrator.cleared()]

    def _described(self) -> dict[str, Any]:
        return described(self._config, self._session_id, self._detector.name)

    # What becomes of audio.

    def _begin(self, segmentation: Segmentation) -> Turns:
        form = self._buffer.format
        stream = self._detector.stream(
            form.sample_rate, encoding=form.encoding, segmentation=segmentation
        )
        return Turns(stream, self._buffer.end_ms, self._segments)

    def _check_lead(self) -> None:
        limit = self._limits.max_stream_lead_s
        if limit is not None and self.audio_ms / 1000 - (self._clock() - self._opened_at) > limit:
            raise StreamTooFast(f"a session may be {limit:g} s ahead of the clock")

    def _reported(self, events: Iterable[Event]) -> list[ServerEvent]:
        return self._narrator.speech(self.ledger.enter(events))

    def _finish_turns(self, reason: StopReason) -> list[Event]:
        turns, self._turns = self._turns, None
        if turns is None:
            return []
        events = turns.finish(reason)
        self._segments = turns.next_id
        return events

    def _finished(self, reason: StopReason) -> list[Event]:
        try:
            return self.ledger.enter(self._finish_turns(reason))
        except Exception as exc:
            self.failure = self.failure or exc
            return []
