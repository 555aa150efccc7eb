"""Streaming equals file: for any chunking, at any rate, in any encoding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad import (
    Detector,
    Event,
    ParameterError,
    Probabilities,
    Segmentation,
    SpeechDiscarded,
    SpeechStarted,
    SpeechStopped,
    Stream,
    StreamClosed,
)

DATA = Path(__file__).parents[1] / "data"
SPEECH: NDArray[np.float32] = sf.read(DATA / "speech.wav", dtype="float32")[0]
TELEPHONE: NDArray[np.float32] = sf.read(DATA / "speech-8k-mulaw.wav", dtype="float32")[0]
DETECTOR = Detector.load(device="cpu")


def run(stream: Stream, blocks: Sequence[Any]) -> list[Event]:
    events: list[Event] = []
    for block in blocks:
        events += stream.push(block)
    return events + stream.finish()


def stops(events: Sequence[Event]) -> list[tuple[int, int]]:
    return [(e.audio_start_ms, e.audio_end_ms) for e in events if isinstance(e, SpeechStopped)]


def values(events: Sequence[Event]) -> NDArray[np.float64]:
    return np.array([v for e in events if isinstance(e, Probabilities) for v in e.values])


@settings(max_examples=12, deadline=None)
@given(
    start=st.integers(0, 200_000),
    cuts=st.lists(st.integers(0, 48_000), max_size=30),
    rate=st.sampled_from([8000, 11_025, 16_000, 44_100, 48_000]),
)
def test_any_chunking_at_any_rate_equals_the_file(start: int, cuts: list[int], rate: int) -> None:
    """The samples are speech at 16 kHz; played at another rate they are still a signal."""
    audio = SPEECH[start : start + 48_000]
    blocks = np.split(audio, sorted(cut for cut in cuts if cut <= len(audio)))
    events = run(DETECTOR.stream(rate, probabilities=True), blocks)
    found = DETECTOR.detect(audio, rate, probabilities=True)
    assert found.probabilities is not None
    np.testing.assert_allclose(values(events), found.probabilities[0], atol=1e-4)
    assert stops(events) == [(round(s.start * 1000), round(s.end * 1000)) for s in found.speech]


@pytest.mark.parametrize("chunk", [7, 160, 320, 512, 4096])
def test_the_whole_recording_in_chunks(chunk: int) -> None:
    audio: NDArray[np.float32] = SPEECH[: 20_000 * chunk]  # tiny chunks: fewer seconds
    blocks = np.split(audio, range(chunk, len(audio), chunk))
    events = run(DETECTOR.stream(16_000), blocks)
    found = DETECTOR.detect(audio, 16_000)
    assert stops(events) == [(round(s.start * 1000), round(s.end * 1000)) for s in found.speech]
    assert len(stops(events)) >= 2


def test_bytes_equal_arrays() -> None:
    pcm = (SPEECH[:80_000] * 32767).astype("<i2")
    data = pcm.tobytes()
    blocks = [data[i : i + 777] for i in range(0, len(data), 777)]  # odd: samples are split
    events = run(DETECTOR.stream(16_000, encoding="pcm_s16le"), blocks)
    assert stops(events) == stops(run(DETECTOR.stream(16_000), [pcm]))
    assert stops(events)


def test_telephone_stream() -> None:
    events = run(DETECTOR.stream(8000), np.array_split(TELEPHONE, 40))
    found = DETECTOR.detect(DATA / "speech-8k-mulaw.wav")
    assert stops(events) == [(round(s.start * 1000), round(s.end * 1000)) for s in found.speech]


def test_every_start_gets_its_end_and_time_never_runs_back() -> None:
    events = run(DETECTOR.stream(16_000), np.array_split(SPEECH, 200))
    open_id: int | None = None
    last = 0
    for event in events:
        if isinstance(event, SpeechStarted):
            assert open_id is None
            open_id = event.segment_id
            assert event.audio_start_ms >= last
            assert event.detected_at_ms > event.audio_start_ms
        elif isinstance(event, SpeechStopped | SpeechDiscarded):
            assert event.segment_id == open_id
            open_id = None
            if isinstance(event, SpeechStopped):
                last = event.audio_end_ms
    assert open_id is None


def first_start(stream: Stream, audio: NDArray[np.float32]) -> int:
    """Push 10 ms at a time until speech starts; how many samples that took."""
    for at in range(0, len(audio), 160):
        if any(isinstance(e, SpeechStarted) for e in stream.push(audio[at : at + 160])):
            return at + 160
    raise AssertionError("no speech found")


@pytest.mark.parametrize("cut", [0, 3300])
def test_start_is_told_as_soon_as_it_says(cut: int) -> None:
    """Millisecond by millisecond; cut, the first start comes in the other frame of a step."""
    for rate, audio, resampling_ms in ((16_000, SPEECH, 0), (8000, TELEPHONE, 1)):
        stream, told = DETECTOR.stream(rate), 0
        for block in np.split(audio[cut:], range(rate // 1000, len(audio) - cut, rate // 1000)):
            for event in stream.push(block):
                if isinstance(event, SpeechStarted):
                    assert 0 <= event.detected_at_ms - stream.received_ms <= resampling_ms
                    told += 1
        assert told > 1


def test_start_that_a_finish_brings_out_is_told_at_the_end() -> None:
    stream = DETECTOR.stream(16_000, segmentation=Segmentation(threshold=0.02))
    assert not stream.push(SPEECH[12000:12480])  # 30 ms: less than the look-ahead
    started = stream.finish()[0]
    assert isinstance(started, SpeechStarted)
    assert started.detected_at_ms == 30


def test_flush_closes_at_the_last_sample() -> None:
    stream = DETECTOR.stream(16_000)
    taken = first_start(stream, SPEECH) + 8000 + 37
    stream.push(SPEECH[taken - 8037 : taken])
    (stop,) = stream.flush()
    assert isinstance(stop, SpeechStopped)
    assert stop.reason == "flush"
    assert stop.audio_end_ms == stream.received_ms
    assert stream.flush() == []
    assert not stream.closed


def test_reset_closes_and_forgets_but_time_goes_on() -> None:
    stream = DETECTOR.stream(8000)
    for at in range(0, len(TELEPHONE), 400):
        if any(isinstance(e, SpeechStarted) for e in stream.push(TELEPHONE[at : at + 400])):
            break
    stream.push(TELEPHONE[at + 400 : at + 4400])
    before = stream.received_ms
    (stop,) = stream.reset()
    assert isinstance(stop, SpeechStopped)
    assert stop.reason == "reset"
    assert stop.audio_end_ms == before
    later = stream.push(TELEPHONE) + stream.finish()
    starts = [e for e in later if isinstance(e, SpeechStarted)]
    assert starts
    assert all(e.audio_start_ms >= before for e in starts)
    assert stream.received_ms == before + len(TELEPHONE) // 8


def test_finish_reports_the_reason_and_closes() -> None:
    stream = DETECTOR.stream(16_000)
    taken = first_start(stream, SPEECH)
    stream.push(SPEECH[taken : taken + 8000])
    (stop,) = [e for e in stream.finish("disconnect") if isinstance(e, SpeechStopped)]
    assert stop.reason == "disconnect"
    assert stream.closed
    assert stream.segment_count == 1
    assert stream.speech_ms == stop.audio_end_ms - stop.audio_start_ms
    for call in (lambda: stream.push(SPEECH), stream.flush, stream.reset, stream.finish):
        with pytest.raises(StreamClosed):
            call()


def test_update_acts_on_what_is_not_yet_computed() -> None:
    stream = DETECTOR.stream(16_000)
    assert stream.update(threshold=1.0, neg_threshold=1.0).threshold == 1.0
    assert stops(run(stream, [SPEECH])) == []


def test_a_bad_update_changes_nothing() -> None:
    stream = DETECTOR.stream(16_000, segmentation=Segmentation(threshold=0.6))
    for bad in ({"threshold": 2}, {"min_silence_duration_ms": -1}, {"volume": 11}):
        with pytest.raises(ParameterError, match=next(iter(bad))):
            stream.update(**bad)
    assert stream.segmentation == Segmentation(threshold=0.6)


@pytest.mark.parametrize(
    ("encoding", "block", "named"),
    [
        (None, b"\0\0", "encoding"),
        ("mulaw", np.zeros(4, np.float32), "block"),
        (None, np.zeros((4, 2), np.float32), "block"),
    ],
)
def test_blocks_that_do_not_fit_are_named(encoding: str | None, block: Any, named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        DETECTOR.stream(16_000, encoding=encoding).push(block)


def test_what_is_no_sound_counts_as_silence() -> None:
    """As in files; and the stream can go on and end."""
    audio = SPEECH[:80_000].copy()
    audio[20_000:20_003] = np.nan, np.inf, -3e38
    stream = DETECTOR.stream(16_000, encoding="pcm_f32le", probabilities=True)
    events = run(stream, [audio.astype("<f4").tobytes()])
    assert stream.replaced == 3
    np.testing.assert_allclose(values(events), DETECTOR.probabilities(audio, 16_000), atol=1e-4)


@pytest.mark.parametrize("rate", [0, -8000, 3999, 192_001, 16_000.5, "8000", None])
def test_impossible_rates_are_refused(rate: Any) -> None:
    with pytest.raises(ParameterError, match="sample_rate"):
        DETECTOR.stream(rate)


def test_empty_stream() -> None:
    assert DETECTOR.stream(16_000).finish() == []


def test_interleaved_streams_equal_solo() -> None:
    parts = np.array_split(SPEECH, 4)
    streams = [DETECTOR.stream(16_000) for _ in parts]
    events: list[list[Event]] = [[] for _ in parts]
    for at in range(0, len(parts[0]), 320):
        for i, part in enumerate(parts):
            events[i] += streams[i].push(part[at : at + 320])
    for i, part in enumerate(parts):
        alone = run(DETECTOR.stream(16_000), [part])
        assert stops(events[i] + streams[i].finish()) == stops(alone)
    assert sum(len(stops(found)) for found in events) >= 3


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2000), min_size=4, max_size=4), min_size=1, max_size=20))
def test_streams_fed_apart_and_run_as_one_batch_equal_those_that_are_pushed(
    sizes: list[list[int]],
) -> None:
    rates = (8000, 16_000, 44_100, 48_000)
    batched = [DETECTOR.stream(rate, probabilities=True) for rate in rates]
    pushed = [DETECTOR.stream(rate, probabilities=True) for rate in rates]
    found: list[list[Event]] = [[] for _ in rates]
    wanted: list[list[Event]] = [[] for _ in rates]
    at = [30_000 * i for i in range(len(rates))]
    for turn in sizes:
        blocks = [SPEECH[a : a + size] for a, size in zip(at, turn, strict=True)]
        at = [a + size for a, size in zip(at, turn, strict=True)]
        audio = [stream.feed(block) for stream, block in zip(batched, blocks, strict=True)]
        signals = [stream.signal for stream in batched]
        outputs = DETECTOR.engine.push_many(list(zip(signals, audio, strict=True)))
        for i, values_ in enumerate(outputs):
            found[i] += batched[i].take(values_)
            wanted[i] += pushed[i].push(blocks[i])
    for i in range(len(rates)):
        found[i] += batched[i].finish()
        wanted[i] += pushed[i].finish()
        assert stops(found[i]) == stops(wanted[i])
        np.testing.assert_allclose(values(found[i]), values(wanted[i]), atol=1e-5)
