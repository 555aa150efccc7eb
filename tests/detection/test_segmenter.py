"""The segmenter rule by rule, by hand."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vad.config import PRESETS, Segmentation
from vad.detection.probabilities import unit
from vad.detection.segmenter import Segmenter, State
from vad.errors import ParameterError
from vad.events import SpeechDiscarded, SpeechEvent, SpeechStarted, SpeechStopped

PLAIN = Segmentation(
    threshold=0.5, min_speech_duration_ms=0, min_silence_duration_ms=100, speech_pad_ms=0
)


def track(*runs: tuple[float, int]) -> list[float]:
    """Probabilities from (value, milliseconds) runs."""
    return [value for value, ms in runs for _ in range(ms // 10)]


def run(
    probabilities: Sequence[float], params: Segmentation = PLAIN, end_ms: int | None = None
) -> list[SpeechEvent]:
    segmenter = Segmenter(params)
    events = segmenter.push(probabilities)
    return events + segmenter.flush(10 * len(probabilities) if end_ms is None else end_ms, "end")


def stops(events: Sequence[SpeechEvent]) -> list[tuple[int, int, str]]:
    return [
        (e.audio_start_ms, e.audio_end_ms, e.reason) for e in events if isinstance(e, SpeechStopped)
    ]


def discards(events: Sequence[SpeechEvent]) -> list[tuple[int, int, str]]:
    return [
        (e.audio_start_ms, e.audio_end_ms, e.reason)
        for e in events
        if isinstance(e, SpeechDiscarded)
    ]


def kinds(events: Sequence[SpeechEvent]) -> list[str]:
    return [event.type.removeprefix("speech_") for event in events]


# ---------------------------------------------------------------- rule by rule


def test_opens_at_the_first_frame_that_reaches_the_threshold() -> None:
    segmenter = Segmenter(PLAIN, known_at_ms=lambda frame: 10 * frame + 47)
    assert segmenter.push(track((0.49, 100))) == []
    assert segmenter.push([0.5, 0.9]) == [SpeechStarted(0, 100, 110 + 37, 0.5)]
    assert segmenter.state is State.SPEECH


def test_ends_where_the_silence_began() -> None:
    segmenter = Segmenter(PLAIN)
    segmenter.push(track((0.9, 200)))
    assert segmenter.push(track((0.1, 100))) == []  # 100 ms in is the eleventh frame
    assert segmenter.state is State.TRAILING
    (stop,) = segmenter.push([0.1])
    assert stop == SpeechStopped(0, 0, 200, pytest.approx(0.9), "silence")


def test_between_the_thresholds_a_segment_stays_open() -> None:
    assert stops(run(track((0.9, 100), (0.35, 500)))) == [(0, 600, "end")]


def test_between_the_thresholds_a_silence_goes_on_but_does_not_end_anything() -> None:
    events = run(track((0.9, 100), (0.3, 10), (0.4, 500), (0.3, 10), (0.0, 50)))
    assert stops(events) == [(0, 100, "silence")]
    assert stops(run(track((0.9, 100), (0.3, 10), (0.4, 500)))) == [(0, 610, "end")]


def test_a_frame_at_the_threshold_cancels_a_silence() -> None:
    events = run(track((0.9, 100), (0.1, 90), (0.5, 10), (0.1, 90), (0.5, 10), (0.1, 200)))
    assert stops(events) == [(0, 300, "silence")]


def test_without_a_minimum_silence_the_first_low_frame_ends() -> None:
    params = PLAIN.updated(min_silence_duration_ms=0)
    segmenter = Segmenter(params)
    assert kinds(segmenter.push([0.9, 0.9, 0.1])) == ["started", "stopped"]


def test_speech_shorter_than_the_minimum_is_discarded() -> None:
    params = PLAIN.updated(min_speech_duration_ms=200, speech_pad_ms=30)
    assert stops(run(track((0, 100), (0.9, 200), (0, 200)), params)) == [(70, 330, "silence")]
    events = run(track((0, 100), (0.9, 190), (0, 200)), params)
    assert kinds(events) == ["started", "discarded"]
    assert discards(events) == [(70, 290, "silence")]


def test_a_discarded_segment_does_not_bound_the_next_start() -> None:
    params = PLAIN.updated(min_speech_duration_ms=100, start_pad_ms=300, min_silence_duration_ms=50)
    events = run(track((0, 400), (0.9, 50), (0, 100), (0.9, 100), (0, 100)), params)
    assert discards(events) == [(100, 450, "silence")]
    assert stops(events) == [(250, 650, "silence")]


def test_pads_stop_at_the_previous_end_and_at_the_end_of_the_audio() -> None:
    params = PLAIN.updated(speech_pad_ms=80)
    audio = track((0, 30), (0.9, 100), (0, 120), (0.9, 100), (0, 110))
    assert stops(run(audio, params)) == [(0, 210, "silence"), (210, 430, "silence")]
    audio = track((0.9, 100), (0, 120))
    assert stops(run(audio, params.updated(end_pad_ms=500), 213)) == [(0, 213, "silence")]


def test_the_stop_waits_for_its_end_pad() -> None:
    segmenter = Segmenter(PLAIN.updated(end_pad_ms=250))
    segmenter.push(track((0.9, 100), (0, 250)))
    assert segmenter.state is State.PADDING
    assert segmenter.push([0.0]) == [SpeechStopped(0, 0, 350, pytest.approx(9 / 35), "silence")]


def test_an_onset_cuts_short_the_wait_for_the_end_pad() -> None:
    segmenter = Segmenter(PLAIN.updated(end_pad_ms=500, start_pad_ms=500))
    segmenter.push(track((0.9, 100), (0, 200)))
    stop, start = segmenter.push([0.6])
    assert stop == SpeechStopped(0, 0, 300, pytest.approx(0.3), "silence")
    assert start == SpeechStarted(1, 300, 310, 0.6)


def test_negative_pads_trim_and_what_they_turn_inside_out_is_discarded() -> None:
    params = PLAIN.updated(start_pad_ms=-50, end_pad_ms=-25)
    assert stops(run(track((0.9, 100), (0, 200)), params)) == [(50, 75, "silence")]
    events = run(track((0.9, 70), (0, 200)), params)
    assert discards(events) == [(50, 50, "silence")]
    assert stops(run(track((0.9, 100)), params)) == [(50, 75, "end")]


def test_long_speech_is_cut_at_its_deepest_pause() -> None:
    params = PLAIN.updated(max_speech_duration_s=2, speech_pad_ms=40)
    audio = track((0, 100), (0.9, 300), (0.4, 10), (0.9, 990), (0.5, 20), (0.9, 1500), (0, 200))
    events = run(audio, params)
    assert kinds(events) == ["started", "stopped", "started", "stopped"]
    assert stops(events) == [(60, 1410, "max_duration"), (1410, 2960, "silence")]
    started = [event for event in events if isinstance(event, SpeechStarted)][1]
    assert (started.audio_start_ms, started.detected_at_ms) == (1410, 2100)
    assert started.probability == 0.5


@pytest.mark.parametrize("seconds", [1, 12, 100, 1200])
def test_a_limit_is_kept_to_the_frame(seconds: int) -> None:
    params = PLAIN.updated(max_speech_duration_s=seconds)
    limit = 1000 * seconds
    first, *_ = stops(run(track((0.9, limit + 100)), params))
    assert first == (0, limit - 10, "max_duration")
    shorter = limit - 200
    assert stops(run(track((0.9, shorter), (0, 200)), params)) == [(0, shorter, "silence")]


def test_even_speech_is_cut_as_late_as_allowed() -> None:
    params = PLAIN.updated(max_speech_duration_s=1)
    assert stops(run(track((0.9, 2500)), params)) == [
        (0, 990, "max_duration"),
        (990, 1980, "max_duration"),
        (1980, 2500, "end"),
    ]


def test_a_cut_within_a_silence_leaves_nothing_to_report() -> None:
    params = PLAIN.updated(max_speech_duration_s=1, min_silence_duration_ms=600)
    audio = track((0.9, 600), (0.2, 300), (0.1, 50), (0.2, 400))
    events = run(audio, params)
    assert stops(events) == [(0, 940, "max_duration")]
    assert discards(events) == [(940, 940, "silence")]


def test_confidence_is_the_mean_over_the_padded_segment() -> None:
    params = PLAIN.updated(speech_pad_ms=35)
    audio = track((0.25, 100), (1.0, 100), (0.125, 200))
    stop = run(audio, params)[-1]
    assert isinstance(stop, SpeechStopped)
    assert (stop.audio_start_ms, stop.audio_end_ms) == (65, 235)
    assert stop.confidence == pytest.approx((4 * 0.25 + 10 + 4 * 0.125) / 18)


# ---------------------------------------------------------------- flush and update


def test_flush_closes_at_the_last_sample_even_within_a_silence() -> None:
    for audio in (track((0.9, 300)), track((0.9, 210), (0.1, 90))):
        assert stops(run(audio, PLAIN.updated(speech_pad_ms=30), 296)) == [(0, 296, "end")]


def test_flush_discards_what_is_too_short() -> None:
    segmenter = Segmenter(PLAIN.updated(min_speech_duration_ms=100))
    segmenter.push(track((0, 100), (0.9, 100)))
    assert discards(segmenter.flush(199, "disconnect")) == [(100, 199, "disconnect")]


def test_flush_sends_a_stop_that_waits_for_its_pad() -> None:
    segmenter = Segmenter(PLAIN.updated(end_pad_ms=500))
    segmenter.push(track((0.9, 100), (0, 200)))
    assert stops(segmenter.flush(293, "end")) == [(0, 293, "silence")]


def test_time_goes_on_after_a_flush() -> None:
    segmenter = Segmenter(PLAIN.updated(speech_pad_ms=50))
    segmenter.push(track((0.9, 200)))
    assert stops(segmenter.flush(195, "flush")) == [(0, 195, "flush")]
    assert segmenter.flush(200, "flush") == []
    assert segmenter.push([0.9]) == [SpeechStarted(1, 195, 210, 0.9)]


def test_update_applies_from_the_next_frame() -> None:
    segmenter = Segmenter(PLAIN)
    segmenter.push(track((0.7, 100)))
    segmenter.update(PLAIN.updated(threshold=0.95, min_silence_duration_ms=20))
    assert segmenter.params.threshold == 0.95
    assert kinds(segmenter.push([0.7, 0.7])) == []
    assert stops(segmenter.push([0.7])) == [(0, 100, "silence")]


def test_a_limit_lowered_below_the_open_length_cuts_at_the_next_frame() -> None:
    segmenter = Segmenter(PLAIN)
    segmenter.push(track((0.2, 100), (0.9, 1000), (0.4, 50), (0.9, 4000)))
    segmenter.update(PLAIN.updated(max_speech_duration_s=1))
    events = segmenter.push([0.8])
    assert stops(events) == [(100, 5150, "max_duration")]
    assert events[-1] == SpeechStarted(1, 5150, 5160, 0.8)


def test_an_unrelated_update_does_not_forget_the_deepest_pause() -> None:
    params = PLAIN.updated(max_speech_duration_s=1)
    segmenter = Segmenter(params)
    segmenter.push(track((0.9, 700), (0.5, 10), (0.9, 100)))
    segmenter.update(params.updated(end_pad_ms=70))
    assert stops(segmenter.push(track((0.9, 300)))) == [(0, 700, "max_duration")]


# ---------------------------------------------------------------- input, cost


# Few values and many are looked at in different ways.
LONG = [0.5] * 100


@pytest.mark.parametrize(
    "bad",
    [
        [[0.5]],
        [1.5],
        [-0.1],
        [float("nan")],
        0.5,
        [*LONG, 1.5, *LONG],
        [*LONG, -0.1, *LONG],
        [*LONG, float("nan"), *LONG],
    ],
)
def test_refuses_what_is_no_row_of_probabilities(bad: Any) -> None:
    segmenter = Segmenter()
    with pytest.raises(ParameterError, match="probabilities"):
        segmenter.push(bad)
    assert segmenter.frames == 0


@pytest.mark.parametrize("end_ms", [89, 101])
def test_refuses_an_end_outside_the_last_frame(end_ms: int) -> None:
    segmenter = Segmenter()
    segmenter.push(track((0.9, 100)))
    with pytest.raises(ParameterError, match="end_ms"):
        segmenter.flush(end_ms, "end")


@pytest.mark.parametrize("params", PRESETS.values(), ids=PRESETS.keys())
def test_an_hour_takes_less_than_two_seconds(params: Segmentation) -> None:
    hour = np.repeat(np.random.default_rng(1).random(7200, dtype=np.float32), 50)
    began = time.process_time()
    events = Segmenter(params.updated(max_speech_duration_s=30)).push(hour)
    assert time.process_time() - began < 2
    assert len(events) > 100


@pytest.mark.parametrize("level", [0.0, 0.4, 0.9])
def test_memory_does_not_grow_with_the_stream(level: float) -> None:
    segmenter, block = Segmenter(Segmentation(end_pad_ms=10_000)), [level] * 1000
    segmenter.push([0.9, 0.1, *block])
    tracemalloc.start()
    try:
        for _ in range(30):
            segmenter.push(block)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 4096


@pytest.mark.parametrize(("value", "within"), [(-1e-9, 0.0), (0.0, 0.0), (1.0, 1.0), (1.5, 1.0)])
def test_what_rounding_puts_outside_is_within_0_to_1(value: float, within: float) -> None:
    assert unit(value) == within
