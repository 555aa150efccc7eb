"""What a stream reports. The field names are those of the WebSocket's messages.

Times are whole milliseconds of received audio since the start of the stream. Each
`SpeechStarted` is followed by exactly one `SpeechStopped` or `SpeechDiscarded` of its id. Where a
stream has several channels, `channel` says which one an event is of, and ids count from 0 in each;
else it is None.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

StopReason = Literal[
    "silence", "max_duration", "flush", "reset", "end", "disconnect", "shutdown", "limit", "error"
]


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech was found.

    Attributes:
        segment_id: counts from 0 within the stream.
        audio_start_ms: where it starts, padding included.
        detected_at_ms: how much audio had to arrive before that was known.
        probability: of the frame that opened the segment.
    """

    segment_id: int
    audio_start_ms: int
    detected_at_ms: int
    probability: float
    channel: int | None = None
    type: Literal["speech_started"] = field(default="speech_started", init=False)


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """A segment is final.

    Attributes:
        segment_id: that of its `SpeechStarted`.
        audio_start_ms, audio_end_ms: the segment, padding included.
        confidence: mean probability over the segment.
        reason: what ended it.
    """

    segment_id: int
    audio_start_ms: int
    audio_end_ms: int
    confidence: float
    reason: StopReason
    channel: int | None = None
    type: Literal["speech_stopped"] = field(default="speech_stopped", init=False)


@dataclass(frozen=True, slots=True)
class SpeechDiscarded:
    """A start that proved shorter than `min_speech_duration_ms`, or that padding trimmed away."""

    segment_id: int
    audio_start_ms: int
    audio_end_ms: int
    reason: StopReason
    channel: int | None = None
    type: Literal["speech_discarded"] = field(default="speech_discarded", init=False)


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Newly computed frames, reported only where asked for.

    Attributes:
        from_ms: start of the first frame.
        hop_ms: distance between frames.
        values: speech probabilities, one a frame.
    """

    from_ms: int
    hop_ms: int
    values: tuple[float, ...]
    channel: int | None = None
    type: Literal["probabilities"] = field(default="probabilities", init=False)


SpeechEvent = SpeechStarted | SpeechStopped | SpeechDiscarded
Event = SpeechEvent | Probabilities


def as_dict(event: Event) -> dict[str, Any]:
    """An event's fields; a stream of one channel says nothing of channels."""
    values = asdict(event)
    if event.channel is None:
        del values["channel"]
    return values
