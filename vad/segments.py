"""What a detection gives: segments that tile the audio, speaking and not speaking in turn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vad.config import Segmentation
from vad.errors import ParameterError
from vad.events import Event, SpeechDiscarded, SpeechStarted, SpeechStopped
from vad.frames import HOP_MS, ms_to_samples
from vad.sums import Values, as_probabilities, check_end, past_frame, unit

if TYPE_CHECKING:
    from vad.audio import SourceInfo

Label = Literal["speech", "non_speech"]
_SLACK_S = 0.5  # by how much decoders may differ over the length of one compressed file


@dataclass(frozen=True, slots=True)
class Segment:
    """A span in which somebody speaks, or nobody does.

    Attributes:
        segment_id: counts the speech of its channel from 0; None where nobody speaks.
        channel: counts from 0.
        label: "speech" or "non_speech".
        start, end: seconds, to the millisecond.
        confidence: mean probability of the label over the span, 0 to 1.
    """

    segment_id: int | None
    channel: int
    label: Label
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments:
    """The segments of one recording and how they came about.

    Attributes:
        segments: in time order within each channel; they tile [0, duration] of every channel.
        duration: seconds.
        model: name of the model.
        params: the parameters used.
        source: what the audio came in; None for an array.
        warnings: what the decoder had to put up with.
        probabilities: [frames] float32 of each channel, one every 10 ms; None unless asked for.
        channels: number of channels looked at; 1 for a mix.
        name: of the file, for formats that carry one.
    """

    segments: list[Segment]
    duration: float
    model: str
    params: Segmentation
    source: SourceInfo | None = None
    warnings: list[str] = field(default_factory=list)
    probabilities: dict[int, NDArray[np.float32]] | None = None
    channels: int = 1
    name: str = ""

    @property
    def speech(self) -> list[Segment]:
        """The segments in which somebody speaks."""
        return [segment for segment in self.segments if segment.label == "speech"]

    @property
    def speech_ratio(self) -> float:
        """Share of the audio that is speech, 0 to 1; of several channels, their mean."""
        spoken = sum(segment.end - segment.start for segment in self.speech)
        return unit(spoken / (self.duration * self.channels)) if self.duration else 0.0

    def to(self, format: str) -> str:
        """The result as text in one of `vad.formats.FORMATS`.

        Raises:
            ParameterError: no such format.
        """
        from vad.formats import render  # formats knows this module, so not at the top

        return render(self, format)

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Where anyone speaks, whichever the channel: (start, end) in seconds, none touching."""
        return _union((segment.start, segment.end) for segment in self.speech)

    def cut(self, audio: NDArray[Any], sample_rate: int, gap_ms: int = 0) -> NDArray[Any]:
        """Only the speech, one span after the other, as silero-vad's `collect_chunks`.

        Args:
            audio: [samples] or [samples, channels], the audio of this result at any rate, such
                as `vad.read` gives.
            sample_rate: of `audio`, Hz.
            gap_ms: silence to leave between spans.

        Returns:
            [speech samples] or [speech samples, channels] of the same dtype: of several
            channels, wherever anyone speaks.

        Raises:
            ParameterError: `audio` has another shape, or lasts longer or shorter than this
                result does.
        """
        _check_audio(audio, sample_rate, self.duration)
        gap = np.zeros((ms_to_samples(gap_ms, sample_rate), *audio.shape[1:]), audio.dtype)
        parts = [audio[:0]]
        for start, end in self.spans:
            parts += [gap] if len(parts) > 1 else []
            parts.append(audio[_sample(start, sample_rate) : _sample(end, sample_rate)])
        return np.concatenate(parts)

    def original_time(self, seconds: float, gap_ms: int = 0) -> float:
        """When in the recording something was that is at `seconds` of what `cut` gave.

        Args:
            seconds: since the start of the speech alone.
            gap_ms: as `cut` had it. A time within a gap is the end of the span before it.

        Returns:
            Seconds since the start of the recording; past the end, the last span's end.
        """
        at = 0.0
        for start, end in self.spans:
            if seconds < at + (end - start):
                return start + max(0.0, seconds - at)
            at += end - start
            if seconds < at + gap_ms / 1000:
                return end
            at += gap_ms / 1000
        return self.spans[-1][1] if self.spans else 0.0


def _check_audio(audio: NDArray[Any], sample_rate: int, duration: float) -> None:
    if audio.ndim not in (1, 2):
        raise ParameterError(
            "audio", f"must be [samples] or [samples, channels], not of shape {audio.shape}"
        )
    if sample_rate <= 0:
        raise ParameterError("sample_rate", f"must be positive, not {sample_rate}")
    lasts = len(audio) / sample_rate
    if abs(lasts - duration) > _SLACK_S:
        raise ParameterError(
            "audio",
            f"lasts {lasts:.3f} s at {sample_rate} Hz, but these segments are of {duration:.3f} s: "
            "give the same audio as [samples] or [samples, channels] with its own sample rate",
        )


def _sample(seconds: float, sample_rate: int) -> int:
    return ms_to_samples(round(1000 * seconds), sample_rate)


def _union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


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
