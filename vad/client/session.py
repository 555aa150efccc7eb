"""A live stream as its client sees it, without I/O.

    connecting ── opened() ──▶ open ── `ending` ──▶ ending ── session.closed ──▶ done
        ▲                        │                     │
        │ opened()               ▼ lost()              ▼ lost()
        └───────────────────── broken                 over

One `Session` may outlive several connections. Each begins with nothing heard; times and
segment ids go on from where the last one broke off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vad.client.answers import taken
from vad.client.errors import (
    ConnectionFailed,
    Problem,
    Refused,
    StreamLost,
    Unavailable,
    problem_of_error,
    refusal,
)
from vad.events import Event, Probabilities, SpeechDiscarded, SpeechStarted, SpeechStopped
from vad.frames import samples_to_ms

_EVENTS: Mapping[str, type[Any]] = {
    "speech_started": SpeechStarted,
    "speech_stopped": SpeechStopped,
    "speech_discarded": SpeechDiscarded,
    "probabilities": Probabilities,
}
_WIDTHS: Mapping[str, int] = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}


@dataclass(frozen=True)
class SessionInfo:
    """What the service said when the stream was opened.

    Attributes:
        session_id: also in the service's log.
        model: name of the loaded weights.
        params: effective ones, derived values filled in.
        limits: `max_message_bytes`, `stream_idle_s`, `max_stream_s` …
        hop_ms: distance between probabilities.
        latency_ms: longest time from a frame's end to its probability, computing aside.
    """

    session_id: str
    model: str
    params: Mapping[str, Any]
    limits: Mapping[str, Any]
    hop_ms: int
    latency_ms: int


@dataclass(frozen=True)
class StreamSummary:
    """What a stream came to.

    Attributes:
        audio_ms: of audio.
        speech_ms: sum of the segments' durations, padding included.
        segments: their number, discarded ones aside.
    """

    audio_ms: int
    speech_ms: int
    segments: int


class Session:
    """One stream; not thread-safe.

    Args:
        params: of the stream, as its query names them; those that change are changed here too.

    Attributes:
        info: of the present connection; None before the first.
        summary: once the service has closed the stream in good order.
        ending: whether the service was told that no more audio comes.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = dict(params)
        self.info: SessionInfo | None = None
        self.summary: StreamSummary | None = None
        self.ending = False
        self._rate = int(params["sample_rate"])
        self._width = _WIDTHS.get(str(params["encoding"]), 1) * int(params.get("channels") or 1)
        self._bytes = 0  # sent to any connection
        self._torn = 0  # bytes that end a sample whose beginning is lost
        self._offset_ms = 0
        # By channel; None where there is but one.
        self._first_id: dict[int | None, int] = {}
        self._next_id: dict[int | None, int] = {}
        self._open: dict[tuple[int | None, int], SpeechStarted] = {}
        self._speech_ms = self._segments = 0
        self._fatal: Problem | None = None

    @property
    def audio_ms(self) -> int:
        """Audio sent so far."""
        return samples_to_ms(-(-self._bytes // self._width), self._rate)

    def opened(self, text: str) -> Problem | None:
        """The first message of a connection.

        Returns:
            Why the service won't have the stream, if it won't.

        Raises:
            ConnectionFailed: it is none of the service's messages.
        """
        values = _message(text)
        if values["type"] == "error":
            return problem_of_error(values)
        if values["type"] != "session.created":
            raise ConnectionFailed(f"expected session.created, not {values['type']}")
        try:
            self.info = taken(SessionInfo, values)
        except KeyError as exc:
            raise ConnectionFailed(f"a message of the service lacks {exc}") from exc
        limits = self.info.limits
        size = limits.get("max_message_bytes", 1) if isinstance(limits, dict) else None
        if not isinstance(size, int) or size < 1:
            raise ConnectionFailed(f"the service has strange limits: {limits!r:.80}")
        self._fatal = None
        return None

    @property
    def message_bytes(self) -> int | None:
        """The most bytes of audio that one message may have, where the service says so."""
        return None if self.info is None else self.info.limits.get("max_message_bytes")

    def drop(self, size: int) -> int:
        """How many of the next `size` bytes are of no use, and count as sent.

        They end a sample whose beginning went to a connection that is no more.
        """
        dropped = min(self._torn, size)
        self._torn -= dropped
        self._bytes += dropped
        return dropped

    def sent(self, size: int) -> None:
        """So many bytes of audio have gone out."""
        self._bytes += size

    def receive(self, text: str) -> Event | Refused | None:
        """Any later message.

        Returns:
            An event, its times and id counted from the first connection; or the refusal of a
            message, after which the stream goes on.

        Raises:
            ConnectionFailed: it is none of the service's messages.
        """
        values = _message(text)
        kind = values["type"]
        try:
            if kind in _EVENTS:
                lists = {n: tuple(v) for n, v in values.items() if isinstance(v, list)}
                return self._book(taken(_EVENTS[kind], values | lists))
            if kind == "session.closed" and self._fatal is None:
                audio_ms = self._offset_ms + int(values["audio_ms"])
                self.summary = StreamSummary(audio_ms, self._speech_ms, self._segments)
        except (KeyError, TypeError, ValueError) as exc:
            raise ConnectionFailed(f"a malformed {kind} of the service: {exc!r}") from exc
        if kind == "error":
            problem = problem_of_error(values)
            if not values.get("fatal"):
                return refusal(problem)
            self._fatal = problem
        return None  # an answer, or a message of a kind that a later service may send

    def lost(self, code: int, reason: str) -> tuple[list[SpeechStopped], Refused | StreamLost]:
        """The connection is gone, and it was not the stream's end.

        Returns:
            Ends of the segments that were open; and why, StreamLost where another connection
            may do better.
        """
        stops = [
            # The probability of its first frame is all that is known of the segment.
            SpeechStopped(
                start.segment_id,
                start.audio_start_ms,
                max(start.audio_start_ms, self.audio_ms),
                start.probability,
                "disconnect",
                start.channel,
            )
            for start in list(self._open.values())
        ]
        for stop in stops:
            self._count(stop)
        self._torn = -self._bytes % self._width
        self._offset_ms, self._first_id = self.audio_ms, dict(self._next_id)
        refused = None if self._fatal is None else refusal(self._fatal, code)
        if refused is not None and not isinstance(refused, Unavailable):
            return stops, refused
        why = self._fatal.detail if self._fatal else reason or "no close frame came"
        retry_after = self._fatal.retry_after if self._fatal else None
        totals = self.audio_ms, self._speech_ms, self._segments
        return stops, StreamLost(code, why, *totals, retry_after)

    def _book(self, event: Event) -> Event:
        if isinstance(event, Probabilities):
            return replace(event, from_ms=event.from_ms + self._offset_ms)
        number = event.segment_id + self._first_id.get(event.channel, 0)
        start_ms = event.audio_start_ms + self._offset_ms
        if isinstance(event, SpeechStarted):
            known_ms = event.detected_at_ms + self._offset_ms
            event = replace(
                event, segment_id=number, audio_start_ms=start_ms, detected_at_ms=known_ms
            )
        else:
            end_ms = event.audio_end_ms + self._offset_ms
            event = replace(event, segment_id=number, audio_start_ms=start_ms, audio_end_ms=end_ms)
        self._count(event)
        return event

    def _count(self, event: SpeechStarted | SpeechStopped | SpeechDiscarded) -> None:
        if isinstance(event, SpeechStarted):
            self._open[event.channel, event.segment_id] = event
            self._next_id[event.channel] = event.segment_id + 1
            return
        self._open.pop((event.channel, event.segment_id), None)
        if isinstance(event, SpeechStopped):
            self._segments += 1
            self._speech_ms += event.audio_end_ms - event.audio_start_ms


def _message(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("type"), str):
        raise ConnectionFailed(f"this is no message of convad's service: {text[:80]!r}")
    return values
