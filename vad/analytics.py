"""What a conversation was like: who spoke how much, who answered how fast, who cut whom off.

A pure function of the segments of each channel. Where two speakers meet it tells pauses, gaps and
overlaps apart as Heldner and Edlund do ("Pauses, gaps and overlaps in conversations", Journal of
Phonetics 38, 2010):

    silence between speech of one speaker             a pause
    silence between one speaker and the next          a gap: how long the response took
    both at once, then the first one goes on alone    an overlap, such as an "mhm"
    both at once, then the second one goes on alone   an overlap that changes the speaker

Whoever spoke alone last has the floor. A turn is what one channel says while it has the floor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from vad.segments import Segments, union

Spans = Sequence[tuple[int, int]]  # starts and ends in ms

# People notice no overlap that is shorter: M. Heldner, "Detection thresholds for gaps, overlaps,
# and no-gap-no-overlaps", Journal of the Acoustical Society of America 130 (2011).
NOTICED_MS = 120


@dataclass(frozen=True, slots=True)
class Durations:
    """Some durations, in seconds.

    Attributes:
        count: how many there are.
        total: their sum.
        mean, median, longest: None where there are none.
    """

    count: int
    total: float
    mean: float | None
    median: float | None
    longest: float | None


@dataclass(frozen=True, slots=True)
class Turn:
    """What one channel says while it has the floor.

    Attributes:
        channel: whose turn it is.
        start, end: seconds. One that began as an interruption starts while the other still spoke.
        response: seconds since the end of the turn before; negative where it began earlier; None
            of the first.
        interruption: whether it began at least 0.12 s before the other had ended.
    """

    channel: int
    start: float
    end: float
    response: float | None
    interruption: bool


@dataclass(frozen=True, slots=True)
class ChannelAnalytics:
    """One channel's part of a conversation.

    Attributes:
        channel: counts from 0.
        talk: seconds of speech.
        talk_ratio: of the whole duration, 0 to 1.
        talk_share: of all channels' speech, 0 to 1.
        turns: how many it had.
        longest_turn: seconds; None without a turn.
        pauses: silences within its turns.
        interruptions: how many of its turns began by cutting off another channel.
        responses: times from the end of another's turn to the start of its own; those that
            interrupt are left out.
    """

    channel: int
    talk: float
    talk_ratio: float
    talk_share: float
    turns: int
    longest_turn: float | None
    pauses: Durations
    interruptions: int
    responses: Durations


@dataclass(frozen=True, slots=True)
class CallAnalytics:
    """A whole conversation.

    Attributes:
        duration: seconds.
        channels: one entry for each.
        turns: in order of time.
        turns_per_minute: how lively it is.
        interruptions: turns that began by cutting off another.
        overlaps: times in which several channels speak.
        dead_air: times in which nobody does, before the first word and after the last included.
    """

    duration: float
    channels: list[ChannelAnalytics]
    turns: list[Turn]
    turns_per_minute: float
    interruptions: int
    overlaps: Durations
    dead_air: Durations


def call_analytics(found: Segments) -> CallAnalytics:
    """What the conversation of a result's channels was like.

    Args:
        found: of `Detector.detect` with `channels="separate"`, one speaker on each channel. Its
            segments are taken as they are: padding lengthens speech and shortens responses.
    """
    first = min((segment.channel for segment in found.segments), default=0)
    spans: dict[int, list[tuple[int, int]]] = {
        channel: [] for channel in range(first, first + found.channels)
    }
    for segment in found.speech:
        spans[segment.channel].append((round(1000 * segment.start), round(1000 * segment.end)))
    return analytics_of_spans(spans, round(1000 * found.duration))


def analytics_of_spans(spans: Mapping[int, Spans], duration_ms: int) -> CallAnalytics:
    """As `call_analytics`, of where each channel speaks.

    Args:
        spans: of each channel, starts and ends of speech in ms; none overlap within a channel.
        duration_ms: of the whole.
    """
    joined = {
        channel: [span for span in union(own) if span[0] < span[1]]
        for channel, own in sorted(spans.items())
    }
    floor = _Floor(joined)
    silences: list[int] = []
    overlaps: list[int] = []
    several = False
    for start, end, active in _states(joined, duration_ms):
        if not active:
            silences.append(end - start)
        elif len(active) > 1:
            if several:
                overlaps[-1] += end - start
            else:
                overlaps.append(end - start)
        several = len(active) > 1
        floor.enter(start, end, active)
    turns = floor.finish()
    spoken = sum(end - start for own in joined.values() for start, end in own)
    return CallAnalytics(
        duration=duration_ms / 1000,
        channels=[
            _of_channel(channel, own, turns, floor.pauses[channel], spoken, duration_ms)
            for channel, own in joined.items()
        ],
        turns=turns,
        turns_per_minute=round(60_000 * len(turns) / duration_ms, 2) if duration_ms else 0.0,
        interruptions=sum(turn.interruption for turn in turns),
        overlaps=_durations(overlaps),
        dead_air=_durations(silences),
    )


class _Floor:
    """Who has it, and what that makes of silence and overlaps."""

    def __init__(self, spans: Mapping[int, Spans]) -> None:
        self.pauses: dict[int, list[int]] = {channel: [] for channel in spans}
        self._began = dict.fromkeys(spans, 0)  # the stretch of speech that each is in, or was last
        self._ended = dict.fromkeys(spans, 0)
        self._active: frozenset[int] = frozenset()
        self._before_silence: tuple[int, frozenset[int]] | None = None
        self._holder: int | None = None
        self._turn_start = 0
        self._response: int | None = None
        self._turns: list[Turn] = []

    def enter(self, start: int, end: int, active: frozenset[int]) -> None:
        """From `start` to `end`, in ms, these channels speak."""
        for channel in active - self._active:
            self._began[channel] = start
        for channel in active:
            self._ended[channel] = end
        if not active:
            self._before_silence = start, self._active
        elif self._before_silence is not None:
            since, speaking = self._before_silence
            if self._holder in active and self._holder in speaking:
                self.pauses[self._holder].append(start - since)
            self._before_silence = None
        self._active = active
        if len(active) == 1 and self._holder not in active:
            [channel] = active
            self._take(channel)

    def _take(self, channel: int) -> None:
        """Another channel speaks alone."""
        response = None
        if self._holder is not None:
            response = self._began[channel] - self._ended[self._holder]
            self._end_turn()
        self._holder, self._turn_start, self._response = channel, self._began[channel], response

    def _end_turn(self) -> None:
        assert self._holder is not None
        start, end, response = self._turn_start, self._ended[self._holder], self._response
        self._turns.append(
            Turn(
                self._holder,
                start / 1000,
                end / 1000,
                None if response is None else response / 1000,
                response is not None and response <= -NOTICED_MS,
            )
        )

    def finish(self) -> list[Turn]:
        """All turns, once all has been entered."""
        if self._holder is not None:
            self._end_turn()
            self._holder = None
        return self._turns


def _of_channel(
    channel: int, spans: Spans, turns: Iterable[Turn], pauses: list[int], all_ms: int, lasts_ms: int
) -> ChannelAnalytics:
    talk = sum(end - start for start, end in spans)
    own = [turn for turn in turns if turn.channel == channel]
    responses = [
        round(1000 * turn.response)
        for turn in own
        if turn.response is not None and not turn.interruption
    ]
    return ChannelAnalytics(
        channel=channel,
        talk=talk / 1000,
        talk_ratio=round(talk / lasts_ms, 4) if lasts_ms else 0.0,
        talk_share=round(talk / all_ms, 4) if all_ms else 0.0,
        turns=len(own),
        longest_turn=max((round(turn.end - turn.start, 3) for turn in own), default=None),
        pauses=_durations(pauses),
        interruptions=sum(turn.interruption for turn in own),
        responses=_durations(responses),
    )


def _durations(found: Sequence[int]) -> Durations:
    if not found:
        return Durations(0, 0.0, None, None, None)
    mean, middle = round(fmean(found) / 1000, 3), round(median(found) / 1000, 3)
    return Durations(len(found), sum(found) / 1000, mean, middle, max(found) / 1000)


def _states(spans: Mapping[int, Spans], duration: int) -> Iterator[tuple[int, int, frozenset[int]]]:
    """From when to when which channels speak; the states tile the whole."""
    changes: dict[int, set[int]] = {}
    for channel, own in spans.items():
        for at in (edge for span in own for edge in span):
            changes.setdefault(at, set()).symmetric_difference_update({channel})
    active: frozenset[int] = frozenset()
    since = 0
    for at, changed in sorted(changes.items()):
        if at > since:
            yield since, at, active
        active, since = active ^ changed, at
    if duration > since:
        yield since, duration, active
