"""From one channel's events to the segments that tile its audio."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vad.detection.probabilities import Values, as_probabilities, check_end, past_frame, unit
from vad.errors import ParameterError
from vad.events import Event, SpeechDiscarded, SpeechStarted, SpeechStopped
from vad.frames import HOP_MS
from vad.segments import Segment


@dataclass(frozen=True, slots=True)
class _Start:
    """A start that waits for its stop or discard."""

    segment_id: int
    ms: int
    sum: float  # of the probabilities before the frame in which it lies
    last: float  # probability of the last frame that begins before it


class Tiler:
    """Turns one channel's events into segments that tile its audio, as they become final.

    A frame that speech touches counts for that speech; what lies between has the mean of its
    other frames, or if there are none, of the last that it touches.

    Args:
        channel: the number that the segments get.
    """

    # How far back an event can point, in frames: to the cut that max_speech_duration_s made,
    # when the piece before it was shorter than min_speech_duration_ms (at most 10 minutes).
    # Of an end nothing need be remembered, however long its silence was: the sum there follows
    # from the confidence of its stop.
    KEPT = 60_001

    def __init__(self, channel: int = 0) -> None:
        self.channel = channel
        self._count = 0
        self._frames = 0
        self._sums = np.zeros(1)  # before each of the last frames; of the next frame comes last
        self._end_ms = 0
        self._end_sum = 0.0
        self._awaited: SpeechStarted | None = None  # starts later than the frames received
        self._start: _Start | None = None

    def push(self, probabilities: Values, events: Iterable[Event]) -> list[Segment]:
        """Takes the next frames and the events that a segmenter made of them.

        Args:
            probabilities: [frames] within 0 to 1; none after the segmenter's `flush`.
            events: what the segmenter returned for them.

        Returns:
            The segments that became final, in time order.

        Raises:
            ParameterError: not one-dimensional, or a value outside 0 to 1.
        """
        self._remember(as_probabilities(probabilities))
        self._locate_start()
        final: list[Segment] = []
        for event in events:
            if isinstance(event, SpeechStarted):
                self._awaited = event
                self._locate_start()
            elif isinstance(event, SpeechStopped):
                final += self._stop(event)
            elif isinstance(event, SpeechDiscarded):
                self._awaited = self._start = None
        if len(self._sums) > 2 * self.KEPT:
            self._sums = self._sums[-self.KEPT :].copy()
        return final

    def finish(self, duration_ms: int) -> list[Segment]:
        """The silence at the end, if there is any.

        Args:
            duration_ms: of the audio; it lies in the last frame.

        Raises:
            ParameterError: `duration_ms` lies elsewhere, or a segment is still open because the
                segmenter was not flushed.
        """
        check_end("duration_ms", duration_ms, self._frames)
        if self._start or self._awaited or duration_ms < self._end_ms:
            raise ParameterError("duration_ms", "flush the segmenter to the same end first")
        if duration_ms == self._end_ms:
            return []
        total = float(self._sums[-1])
        last = total - float(self._sums[-2])
        return [self._pause(duration_ms, self._frames, total, last)]

    def _remember(self, probabilities: NDArray[np.float64]) -> None:
        self._frames += len(probabilities)
        # One chain of additions, so that chunking does not show even in the last digit.
        added = np.cumsum(np.concatenate([self._sums[-1:], probabilities]))
        self._sums = np.concatenate([self._sums, added[1:]])

    def _sum_before(self, frame: int) -> float:
        return float(self._sums[frame - self._frames - 1])

    def _locate_start(self) -> None:
        event = self._awaited
        if event is None or past_frame(event.audio_start_ms) > self._frames:
            return
        ms = event.audio_start_ms
        if ms == self._end_ms and ms % HOP_MS == 0:  # follows on, if only after a long piece
            before, last = self._end_sum, 0.0
        else:
            before = self._sum_before(ms // HOP_MS)
            past = past_frame(ms)
            last = self._sum_before(past) - self._sum_before(past - 1)
        self._start, self._awaited = _Start(event.segment_id, ms, before, last), None

    def _stop(self, event: SpeechStopped) -> list[Segment]:
        start, self._start = self._start, None
        if start is None or start.segment_id != event.segment_id:
            raise ParameterError("events", f"segment {event.segment_id} stops but never started")
        first, past = start.ms // HOP_MS, past_frame(event.audio_end_ms)
        segments: list[Segment] = []
        if start.ms > self._end_ms:
            segments.append(self._pause(start.ms, first, start.sum, start.last))
        segments.append(
            Segment(
                self._count,
                self.channel,
                "speech",
                start.ms / 1000,
                event.audio_end_ms / 1000,
                event.confidence,
            )
        )
        self._count += 1
        self._end_ms = event.audio_end_ms
        self._end_sum = start.sum + event.confidence * (past - first)
        return segments

    def _pause(self, end_ms: int, past: int, sum_before: float, last: float) -> Segment:
        """The non-speech from the last end to `end_ms`, whose own frames end before `past`."""
        frames = past - past_frame(self._end_ms)
        mean = (sum_before - self._end_sum) / frames if frames > 0 else last
        start, end = self._end_ms / 1000, end_ms / 1000
        return Segment(None, self.channel, "non_speech", start, end, unit(1 - mean))
