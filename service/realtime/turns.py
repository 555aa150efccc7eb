"""What becomes of a Realtime session's audio: the length of its buffer, and its turns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from service.realtime.config import InputFormat
from vad import Stream
from vad.events import Event, SpeechDiscarded, SpeechStarted, SpeechStopped, StopReason
from vad.frames import samples_to_ms
from vad.inference.engine import Audio, Frames, Signal

TICKS = 24_000  # a second: a multiple of each format's rate, so that no change of it drifts


class InputBuffer:
    """How much audio is in the input buffer and how much ever was; the audio is not kept.

    Attributes:
        format: of what is appended next.
        start_ms: since the start of the session, where what is in it starts.
    """

    def __init__(self, form: InputFormat) -> None:
        self.format = form
        self.start_ms = 0
        self._ticks = 0
        self._rest = b""

    @property
    def end_ms(self) -> int:
        """How much audio was ever appended, in milliseconds."""
        return samples_to_ms(self._ticks, TICKS)

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    def append(self, data: bytes) -> bytes:
        """Counts audio, which may end in the middle of a sample.

        Returns:
            The samples that it completes.
        """
        joined = self._rest + data
        whole = len(joined) - len(joined) % self.format.sample_bytes
        self._rest = joined[whole:]
        self._ticks += whole // self.format.sample_bytes * (TICKS // self.format.sample_rate)
        return joined[:whole]

    def room(self, max_s: float) -> int:
        """Bytes after which the session has so many seconds of audio."""
        ticks = int(max_s * TICKS) - self._ticks
        samples = ticks // (TICKS // self.format.sample_rate)
        return samples * self.format.sample_bytes - len(self._rest)

    def clear(self) -> None:
        """Forgets what is in it, half a sample included; time goes on."""
        self._rest = b""
        self.start_ms = self.end_ms


class Turns:
    """Speech in a stream that is one stretch of a session.

    The protocol can't take a start back, so a start waits until its segment is too long to be
    discarded; a discarded one is never told. Times count from the start of the session.

    Args:
        stream: of which nobody else takes events.
        since_ms: where it starts in the session.
        first_id: of its segments.

    Attributes:
        next_id: for the stream that follows.
        floor_ms: no start is told to lie before it: what was there is out of the buffer.
    """

    def __init__(self, stream: Stream, since_ms: int, first_id: int) -> None:
        self.next_id = first_id
        self.floor_ms = since_ms
        self._stream = stream
        self._since_ms = since_ms
        self._held: SpeechStarted | None = None

    @property
    def signal(self) -> Signal:
        """What the engine knows of the stream."""
        return self._stream.signal

    def feed(self, data: bytes) -> Audio:
        """Takes bytes and gives audio for the network; see `Stream.feed`."""
        return self._stream.feed(data)

    def take(self, probabilities: Frames) -> list[Event]:
        """Gives the events that come of probabilities; see `Stream.take`."""
        return self._told(self._stream.take(probabilities))

    def flush(self) -> list[Event]:
        """Ends what is open; the stream goes on."""
        return self._told(self._stream.flush())

    def finish(self, reason: StopReason) -> list[Event]:
        """No more audio."""
        return self._told(self._stream.finish(reason))

    def update(self, **changes: float) -> None:
        """Changes thresholds, from the next frame on."""
        self._stream.update(**changes)

    def _told(self, events: Iterable[Event]) -> list[Event]:
        told: list[Event] = []
        for event in events:
            if isinstance(event, SpeechStarted):
                self._held = self._moved_start(event)
            elif isinstance(event, SpeechDiscarded):
                self._held = None
            elif isinstance(event, SpeechStopped):
                told += self._release()
                told.append(self._moved_stop(event))
        return told + (self._release() if self._stream.confirmed is not None else [])

    def _release(self) -> list[Event]:
        held, self._held = self._held, None
        return [] if held is None else [held]

    def _moved_start(self, event: SpeechStarted) -> SpeechStarted:
        self.next_id += 1
        return replace(
            event,
            segment_id=self.next_id - 1,
            audio_start_ms=max(self.floor_ms, self._since_ms + event.audio_start_ms),
            detected_at_ms=self._since_ms + event.detected_at_ms,
        )

    def _moved_stop(self, event: SpeechStopped) -> SpeechStopped:
        # Segments of a stream do not overlap, so this is the last that started.
        return replace(
            event,
            segment_id=self.next_id - 1,
            audio_start_ms=max(self.floor_ms, self._since_ms + event.audio_start_ms),
            audio_end_ms=self._since_ms + event.audio_end_ms,
        )
