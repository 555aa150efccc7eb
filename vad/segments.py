"""What a detection gives: segments that tile the audio, speaking and not speaking in turn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from vad.config import Segmentation
from vad.errors import ParameterError
from vad.frames import ms_to_samples

if TYPE_CHECKING:
    from pyannote.core import Annotation

    from vad.analytics import CallAnalytics
    from vad.audio import SourceInfo

Label = Literal["speech", "non_speech"]
Time = TypeVar("Time", int, float)
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
        analytics: of the conversation, for JSON; None unless put there from `call_analytics`.
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
    analytics: CallAnalytics | None = None

    @property
    def speech(self) -> list[Segment]:
        """The segments in which somebody speaks."""
        return [segment for segment in self.segments if segment.label == "speech"]

    @property
    def speech_ratio(self) -> float:
        """Share of the audio that is speech, 0 to 1; of several channels, their mean."""
        spoken = sum(segment.end - segment.start for segment in self.speech)
        return min(1.0, spoken / (self.duration * self.channels)) if self.duration else 0.0

    def to(self, format: str) -> str:
        """The result as text in one of `vad.formats.FORMATS`.

        Raises:
            ParameterError: no such format.
        """
        from vad.formats import render  # formats knows this module, so not at the top

        return render(self, format)

    def to_annotation(self) -> Annotation:
        """The speech as pyannote.core's Annotation, a track for each channel.

        Returns:
            An annotation whose `uri` is this result's name; every segment's label is "speech".

        Raises:
            ModuleNotFoundError: pyannote.core is not installed.
        """
        from pyannote.core import Annotation
        from pyannote.core import Segment as Span

        annotation = Annotation(uri=self.name or None)
        for each in self.speech:
            annotation[Span(each.start, each.end), each.channel] = each.label
        return annotation

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Where anyone speaks, whichever the channel: (start, end) in seconds, none touching."""
        return union((segment.start, segment.end) for segment in self.speech)

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


def union(spans: Iterable[tuple[Time, Time]]) -> list[tuple[Time, Time]]:
    """Where any of the spans is: in order, none overlapping or touching."""
    merged: list[tuple[Time, Time]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
