"""Keeps the books of a stream, so that no start of speech stays without its end."""

from __future__ import annotations

from collections.abc import Iterable

from vad.events import Event, SpeechDiscarded, SpeechStarted, SpeechStopped, StopReason


class Ledger:
    """What a stream has reported.

    Attributes:
        speech_ms: sum of the segments' durations, padding included.
        segments: their number, discarded ones aside.
        spans: start and end of each in ms, by channel; None where nobody will ask for them.
    """

    def __init__(self) -> None:
        self.speech_ms = 0
        self.segments = 0
        self.spans: dict[int, list[tuple[int, int]]] | None = None
        self._pending: dict[tuple[int | None, int], SpeechStarted] = {}

    def enter(self, events: Iterable[Event]) -> list[Event]:
        """Books events that are about to be reported.

        Returns:
            The same events.

        Raises:
            KeyError: the end of a segment that never started or has ended before.
        """
        booked = list(events)
        for event in booked:
            if isinstance(event, SpeechStarted):
                self._pending[event.channel, event.segment_id] = event
            elif isinstance(event, SpeechStopped | SpeechDiscarded):
                del self._pending[event.channel, event.segment_id]
            if isinstance(event, SpeechStopped):
                self.segments += 1
                self.speech_ms += event.audio_end_ms - event.audio_start_ms
                if self.spans is not None:
                    span = event.audio_start_ms, event.audio_end_ms
                    self.spans.setdefault(event.channel or 0, []).append(span)
        return booked

    def settle(self, now_ms: int, reason: StopReason) -> list[Event]:
        """Ends what is still open, for a detector that can't any more.

        Args:
            now_ms: where the audio ends.
            reason: reported for each.
        """
        return self.enter([_end(start, now_ms, reason) for start in self._pending.values()])


def _end(start: SpeechStarted, now_ms: int, reason: StopReason) -> Event:
    at_ms = start.audio_start_ms
    if now_ms <= at_ms:  # a negative pad has put the start, told already, behind all audio
        return SpeechDiscarded(start.segment_id, at_ms, at_ms, reason, start.channel)
    # The probability of its first frame is all that is known of the segment.
    confidence = start.probability
    return SpeechStopped(start.segment_id, at_ms, now_ms, confidence, reason, start.channel)
