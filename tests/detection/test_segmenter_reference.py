"""The segmenter against a naive whole-array reference, and what must hold of any input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.config import Segmentation
from vad.detection.segmenter import Segmenter, State
from vad.events import SpeechEvent, SpeechStarted, SpeechStopped


def run(p: NDArray[np.float64], params: Segmentation, end_ms: int) -> list[SpeechEvent]:
    segmenter = Segmenter(params)
    return segmenter.push(p) + segmenter.flush(end_ms, "end")


Row = tuple[str, int, int, str, float]  # kind, start, end, reason, confidence


class Reference:
    """The rules read over the whole array at once, with as little cleverness as possible."""

    def __init__(self, p: NDArray[np.float64], params: Segmentation, end_ms: int) -> None:
        self.p, self.params, self.end_ms = p, params, end_ms
        self.loud = np.flatnonzero(p >= params.onset)
        self.quiet = np.flatnonzero(p < params.offset)
        self.rows: list[Row] = []
        self.previous_end = 0

    def silence_at(self, frame: int) -> int:
        """Where the silence began in which the quiet `frame` lies."""
        last_loud = self.loud[self.loud <= frame][-1]
        return int(self.quiet[self.quiet > last_loud][0])

    def closing(self, after: int) -> int | None:
        for frame in self.quiet[self.quiet > after]:
            if 10 * (frame - self.silence_at(frame)) >= self.params.min_silence_duration_ms:
                return int(frame)
        return None

    def judge(self, onset: int, speech_end: int, start: int, end: int, reason: str) -> None:
        short = speech_end - 10 * onset < max(1, self.params.min_speech_duration_ms)
        if short or end <= start:
            self.rows.append(("discarded", start, -1, reason, -1))
            return
        mean = float(np.mean(self.p[start // 10 : -(-end // 10)]))
        self.rows.append(("stopped", start, end, reason, mean))
        self.previous_end = end

    def cuts(self, onset: int, start: int, closing: int | None) -> tuple[int, int]:
        """Cuts off pieces; the onset and start of what remains."""
        limit = self.params.max_speech_duration_s
        if limit is None:
            return onset, start
        frames = int(np.ceil(round(limit * 100, 6)))
        while (len(self.p) if closing is None else closing) >= onset + frames:
            half = self.p[onset + (frames + 1) // 2 : onset + frames]
            cut = onset + frames - 1 - int(np.argmin(half[::-1]))
            self.judge(onset, 10 * cut, start, 10 * cut, "max_duration")
            onset, start = cut, 10 * cut
        return onset, start

    def all(self) -> list[Row]:
        position = 0
        while (ahead := self.loud[self.loud >= position]).size:
            onset = int(ahead[0])
            start = max(10 * onset - self.params.pad_before_ms, self.previous_end)
            closing = self.closing(onset)
            onset, start = self.cuts(onset, start, closing)
            pad = self.params.pad_after_ms
            if closing is None:
                self.judge(onset, self.end_ms, start, self.end_ms + min(pad, 0), "end")
                break
            silence = self.silence_at(closing)
            later = self.loud[self.loud > closing]
            bound = min(self.end_ms, 10 * int(later[0])) if later.size else self.end_ms
            self.judge(onset, 10 * silence, start, min(10 * silence + pad, bound), "silence")
            position = closing + 1
        return self.rows


LEVELS = st.sampled_from([0.0, 0.009, 0.2, 0.3499, 0.35, 0.4, 0.5, 0.7, 1.0]) | st.floats(0, 1)
TRACKS = st.lists(st.tuples(LEVELS, st.integers(1, 70)), max_size=14).map(
    lambda runs: np.array([v for v, n in runs for _ in range(n)], dtype=np.float64)
)
PADS = st.integers(-300, 900)
PARAMS = st.builds(
    Segmentation,
    threshold=st.sampled_from([0.5, 0.75, 1]),
    neg_threshold=st.sampled_from([None, 0.0, 0.2, 0.5]),
    min_speech_duration_ms=st.sampled_from([0, 1, 55, 250, 700, 1500]),
    min_silence_duration_ms=st.sampled_from([0, 5, 30, 100, 333]),
    max_speech_duration_s=st.none() | st.sampled_from([1, 1.005, 1.237, 2.5]),
    speech_pad_ms=st.just(0) | PADS,
    start_pad_ms=st.none() | PADS,
    end_pad_ms=st.none() | PADS,
)


def observed(events: Sequence[SpeechEvent]) -> list[Row]:
    return [
        ("stopped", e.audio_start_ms, e.audio_end_ms, e.reason, e.confidence)
        if isinstance(e, SpeechStopped)
        else ("discarded", e.audio_start_ms, -1, e.reason, -1)
        for e in events
        if not isinstance(e, SpeechStarted)
    ]


@settings(max_examples=200, deadline=None)
@given(TRACKS, PARAMS, st.integers(0, 10))
def test_equals_the_reference(p: NDArray[np.float64], params: Segmentation, short: int) -> None:
    end_ms = max(0, 10 * len(p) - short)
    rows, expected = observed(run(p, params, end_ms)), Reference(p, params, end_ms).all()
    assert [row[:4] for row in rows] == [row[:4] for row in expected]
    assert [row[4] for row in rows] == pytest.approx([row[4] for row in expected], abs=1e-9)


# ---------------------------------------------------------------- invariants


@settings(max_examples=75, deadline=None)
@given(TRACKS, PARAMS, st.lists(st.integers(0, 40)))
def test_chunking_changes_nothing(
    p: NDArray[np.float64], params: Segmentation, sizes: list[int]
) -> None:
    segmenter, events, at = Segmenter(params), [], 0
    for size in sizes:
        events += segmenter.push(p[at : at + size])
        at += size
    events += segmenter.push(p[at:])
    assert events + segmenter.flush(10 * len(p), "end") == run(p, params, 10 * len(p))


@pytest.mark.parametrize("pad_ms", [30, 3000, -3000])
def test_an_hour_at_once_is_what_its_frames_are_one_by_one(pad_ms: int) -> None:
    rng = np.random.default_rng(1)
    params = Segmentation(speech_pad_ms=pad_ms)
    turns = rng.exponential(1, 800) * rng.choice([30, 600, 3000], 800)
    level = np.repeat(np.arange(800) % 2, turns.astype(int) + 1)[:360_000]
    p = np.clip(level * 0.8 + rng.normal(0.1, 0.1, len(level)), 0, 1)
    one_by_one = Segmenter(params)
    events = [event for value in p for event in one_by_one.push([value])]
    events += one_by_one.flush(10 * len(p), "end")
    assert events == run(p, params, 10 * len(p))


STEPS = st.lists(st.tuples(TRACKS, PARAMS, st.booleans(), st.integers(0, 10)), max_size=5)


@settings(max_examples=75, deadline=None)
@given(STEPS)
def test_every_start_gets_exactly_one_end(steps: list[tuple[Any, Segmentation, bool, int]]) -> None:
    segmenter, now_ms = Segmenter(), 0
    open_id, next_id, previous_end = None, 0, 0
    for p, params, flush, short in steps:
        segmenter.update(params)
        events = segmenter.push(p)
        now_ms = 10 * segmenter.frames
        if flush:
            low = max(0, now_ms - 10, previous_end)
            events += segmenter.flush(max(low, now_ms - short), "flush")
        for event in events:
            if isinstance(event, SpeechStarted):
                assert open_id is None
                assert event.segment_id == next_id
                assert event.audio_start_ms >= previous_end
                open_id, next_id = event.segment_id, next_id + 1
                continue
            assert event.segment_id == open_id
            open_id = None
            if isinstance(event, SpeechStopped):
                assert previous_end <= event.audio_start_ms < event.audio_end_ms <= now_ms
                assert 0 <= event.confidence <= 1
                previous_end = event.audio_end_ms
        assert (open_id is None) == (segmenter.state is State.SILENCE)
        assert not flush or segmenter.state is State.SILENCE


@settings(max_examples=50, deadline=None)
@given(TRACKS, PARAMS.filter(lambda params: params.max_speech_duration_s is not None))
def test_nothing_outlasts_the_limit(p: NDArray[np.float64], params: Segmentation) -> None:
    assert params.max_speech_duration_s is not None
    unpadded = params.updated(speech_pad_ms=0, start_pad_ms=0, end_pad_ms=0)
    for event in run(p, unpadded, 10 * len(p)):
        if isinstance(event, SpeechStopped):
            length_ms = event.audio_end_ms - event.audio_start_ms
            assert length_ms <= 1000 * params.max_speech_duration_s
