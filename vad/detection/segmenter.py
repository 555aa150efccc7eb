"""Probabilities → events: a state machine without I/O and without a clock.

              p ≥ onset            p < offset             the silence has lasted
    SILENCE ────────────▶ SPEECH ────────────▶ TRAILING ────────────────────────▶ PADDING
       ▲                     ▲    p ≥ onset       │                                  │
       │                     └────────────────────┘                                  │
       └─────────────────────────────── the end pad has been received ◀──────────────┘

The rule is that of silero-vad's `get_speech_timestamps` (https://github.com/snakers4/silero-vad),
made causal: what is reported never depends on how the frames were divided among the calls.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from vad.config import Segmentation
from vad.detection.probabilities import (
    RunningSum,
    Values,
    as_probabilities,
    check_end,
    past_frame,
    unit,
)
from vad.events import SpeechDiscarded, SpeechEvent, SpeechStarted, SpeechStopped, StopReason
from vad.frames import HOP_MS, ceil_frames, frame_end_ms

_MANY = 32  # frames that numpy looks through sooner than one by one
_NEVER = sys.maxsize  # a number of frames that no stream reaches
_DEFAULT = Segmentation()


class State(Enum):
    """Where a `Segmenter` stands between two frames."""

    SILENCE = "no segment is open"
    SPEECH = "a segment is open"
    TRAILING = "a silence has begun that may end the open segment"
    PADDING = "the segment has ended; its stop waits until its end pad has been received"


@dataclass(slots=True)
class OpenSegment:
    """A segment that has started and not yet ended.

    Its mean probability needs the running sum at its two padded ends only. Where an end lies
    may be known long before the stream gets there or long after; the sum is noted as soon as
    both are known, so that no probability has to be kept.
    """

    segment_id: int
    onset: int  # frame of the first speech, before padding
    start_ms: int
    first: int  # frame in which the padded segment starts
    sum_to_first: float
    silence: int = 0  # frame at which the last silence began
    end_ms: int = 0  # the padded end, should that silence last
    last: int = -1  # frame before which that end lies
    sum_to_last: float = math.nan
    cut: int = 0  # the least probable frame of the second half so far
    cut_probability: float = math.inf
    sum_to_cut: float = math.nan

    def reached(self, running: RunningSum) -> None:
        """Notes the sum where the stream has just reached an end of the padded segment."""
        if self.first == running.frames:
            self.sum_to_first = running.total
        if self.last == running.frames:
            self.sum_to_last = running.total


class Segmenter:
    """Turns the probabilities of one channel into events.

    Each `SpeechStarted` is followed by exactly one `SpeechStopped` or `SpeechDiscarded`, and
    events come in order of time. Details that the parameters leave open:

    - An end pad reaches no further than the next onset, so that no stop waits past a start.
    - A silence keeps the end pad with which it began, whatever `update` changes meanwhile.
    - A cut at `max_speech_duration_s` falls at the start of the least probable frame, the last
      of equals. That frame opens the next segment, whose start reports its probability.

    Args:
        params: thresholds, durations and pads.
        known_at_ms: how much audio must have arrived before a frame's probability is known; it
            only shows in `SpeechStarted.detected_at_ms`. The frame alone, if not given.
    """

    def __init__(
        self, params: Segmentation = _DEFAULT, *, known_at_ms: Callable[[int], int] = frame_end_ms
    ) -> None:
        self._known_at_ms = known_at_ms
        self._state = State.SILENCE
        self._segment: OpenSegment | None = None
        self._sum = RunningSum()
        self._next_id = 0
        self._previous_end_ms = 0
        self._events: list[SpeechEvent] = []
        self._limit = _NEVER
        self.update(params)

    @property
    def params(self) -> Segmentation:
        """The parameters in force for the next frame."""
        return self._params

    @property
    def state(self) -> State:
        return self._state

    @property
    def frames(self) -> int:
        """Frames received since the beginning; `flush` does not reset it."""
        return self._sum.frames

    @property
    def confirmed(self) -> int | None:
        """Id of the open segment, once it has too much speech to be discarded; else None."""
        segment = self._segment
        if segment is None:
            return None
        spoken = self.frames if self._state is State.SPEECH else segment.silence
        return None if self._too_short(spoken * HOP_MS) else segment.segment_id

    def update(self, params: Segmentation) -> None:
        """Applies `params` from the next frame on."""
        self._params = params
        # Copies: working these out again for every frame would cost more than all the rest.
        self._onset, self._offset = params.onset, params.offset
        self._min_silence = ceil_frames(params.min_silence_duration_ms)
        seconds, before = params.max_speech_duration_s, self._limit
        self._limit = _NEVER if seconds is None else ceil_frames(1000 * seconds)
        self._second_half = self._limit - self._limit // 2
        if self._segment is not None and self._limit != before:
            self._segment.cut_probability = math.inf  # another second half: look anew

    def push(self, probabilities: Values) -> list[SpeechEvent]:
        """Takes the next frames.

        Args:
            probabilities: [frames] within 0 to 1, one for every 10 ms; any number of them.

        Returns:
            What became known, in order of time.

        Raises:
            ParameterError: not one-dimensional, or a value outside 0 to 1; nothing was taken then.
        """
        checked = as_probabilities(probabilities)
        values, at = checked.tolist(), 0
        while at < len(values):
            if len(values) - at >= _MANY and (count := self._uneventful(checked[at:])):
                self._sum.add_all(checked[at : at + count])
                at += count
                continue
            probability = values[at]
            at += 1
            if self._state is State.SILENCE:
                if probability >= self._onset:
                    self._open(probability)
            elif self._state is State.SPEECH:
                self._in_speech(probability)
            elif self._state is State.TRAILING:
                self._in_trailing(probability)
            else:
                self._in_padding(probability)
            self._sum.add(probability)
            if self._segment is not None:
                self._segment.reached(self._sum)
        events, self._events = self._events, []
        return events

    def flush(self, end_ms: int, reason: StopReason) -> list[SpeechEvent]:
        """Ends what is open. The segmenter can go on afterwards; time keeps counting.

        Args:
            end_ms: where the last sample received ends, which lies in the last frame.
            reason: reported for a segment that this ends. One that a silence has ended already
                and that only waits for its end pad keeps the reason "silence".

        Raises:
            ParameterError: `end_ms` lies outside the last frame.
        """
        check_end("end_ms", end_ms, self.frames)
        segment = self._segment
        if segment is not None and self._state is State.PADDING:
            self._stop(min(segment.end_ms, end_ms), "silence")
        elif segment is not None:
            self._end(end_ms, min(end_ms + self._params.pad_after_ms, end_ms), reason)
        events, self._events = self._events, []
        return events

    def _uneventful(self, probabilities: NDArray[np.float64]) -> int:
        """How many of the next frames do nothing but add to the sum; at least so many."""
        segment, nexts = self._segment, probabilities[: RunningSum.KEPT]
        if self._state is State.SILENCE:
            does = nexts >= self._onset
        elif (
            self._state is State.SPEECH
            and segment is not None
            and self._limit == _NEVER
            and max(segment.first, segment.last) <= self.frames
        ):
            does = nexts < self._offset
        else:
            return 0
        first = int(does.argmax())
        return first if does[first] else len(does)

    # What the next frame does in an open segment. `self.frames` is the index of that frame.

    def _in_speech(self, probability: float) -> None:
        if probability < self._offset:
            self._begin_silence()
            self._in_trailing(probability)
        else:
            self._limit_length(probability)

    def _in_trailing(self, probability: float) -> None:
        silence = self.frames - self._open_segment.silence
        if probability < self._offset and silence >= self._min_silence:
            self._close()
            return
        if probability >= self._onset:
            self._state = State.SPEECH
        self._limit_length(probability)

    def _in_padding(self, probability: float) -> None:
        end_ms, now_ms = self._open_segment.end_ms, self.frames * HOP_MS
        if probability >= self._onset:
            self._stop(min(end_ms, now_ms), "silence")
            self._open(probability)
        elif now_ms >= end_ms:
            self._stop(end_ms, "silence")

    # Transitions.

    @property
    def _open_segment(self) -> OpenSegment:
        assert self._segment is not None, self._state
        return self._segment

    def _open(self, probability: float) -> None:
        padded_ms = self.frames * HOP_MS - self._params.pad_before_ms
        start_ms = max(padded_ms, self._previous_end_ms)
        first = start_ms // HOP_MS
        self._start(
            OpenSegment(self._next_id, self.frames, start_ms, first, self._sum.before(first)),
            probability,
            State.SPEECH,
        )

    def _start(self, segment: OpenSegment, probability: float, state: State) -> None:
        self._segment, self._state = segment, state
        self._next_id += 1
        known_ms = self._known_at_ms(self.frames)
        event = SpeechStarted(segment.segment_id, segment.start_ms, known_ms, probability)
        self._events.append(event)

    def _begin_silence(self) -> None:
        segment = self._open_segment
        segment.silence = self.frames
        segment.end_ms = self.frames * HOP_MS + self._params.pad_after_ms
        segment.last = max(0, past_frame(segment.end_ms))
        segment.sum_to_last = self._sum.before(segment.last)
        self._state = State.TRAILING

    def _close(self) -> None:
        """The silence has lasted: the segment ends where it began."""
        segment = self._open_segment
        speech_end_ms = segment.silence * HOP_MS
        # That a frame exists proves that the audio reaches its start, not its end.
        if self._too_short(speech_end_ms) or self.frames * HOP_MS >= segment.end_ms:
            self._end(speech_end_ms, segment.end_ms, "silence")
        else:
            self._state = State.PADDING

    def _limit_length(self, probability: float) -> None:
        segment = self._open_segment
        before = self.frames - segment.onset
        if before < self._second_half:
            return
        if probability <= segment.cut_probability:
            segment.cut, segment.cut_probability = self.frames, probability
            segment.sum_to_cut = self._sum.total
        if before + 1 >= self._limit:
            self._cut()

    def _cut(self) -> None:
        segment, state = self._open_segment, self._state
        cut_ms = segment.cut * HOP_MS
        rest = replace(  # a silence that has begun goes on in it
            segment,
            segment_id=self._next_id,
            onset=segment.cut,
            start_ms=cut_ms,
            first=segment.cut,
            sum_to_first=segment.sum_to_cut,
            cut_probability=math.inf,
        )
        segment.last, segment.sum_to_last = segment.cut, segment.sum_to_cut
        self._end(cut_ms, cut_ms, "max_duration")
        self._start(rest, segment.cut_probability, state)

    def _end(self, speech_end_ms: int, end_ms: int, reason: StopReason) -> None:
        """Stops or discards the open segment; its end is given before padding and after."""
        if self._too_short(speech_end_ms):
            self._discard(speech_end_ms, reason)
        else:
            self._stop(end_ms, reason)

    def _too_short(self, speech_end_ms: int) -> bool:
        # A cut within a silence may leave nothing at all to the rest, hence the 1.
        length_ms = speech_end_ms - self._open_segment.onset * HOP_MS
        return length_ms < max(1, self._params.min_speech_duration_ms)

    def _stop(self, end_ms: int, reason: StopReason) -> None:
        segment = self._open_segment
        if end_ms <= segment.start_ms:  # turned inside out by negative pads
            self._discard(end_ms, reason)
            return
        last = past_frame(end_ms)
        total = segment.sum_to_last if last == segment.last else self._sum.before(last)
        confidence = unit((total - segment.sum_to_first) / (last - segment.first))
        self._leave(SpeechStopped(segment.segment_id, segment.start_ms, end_ms, confidence, reason))
        self._previous_end_ms = end_ms

    def _discard(self, end_ms: int, reason: StopReason) -> None:
        segment, start_ms = self._open_segment, self._open_segment.start_ms
        self._leave(SpeechDiscarded(segment.segment_id, start_ms, max(start_ms, end_ms), reason))

    def _leave(self, event: SpeechEvent) -> None:
        self._events.append(event)
        self._state, self._segment = State.SILENCE, None
