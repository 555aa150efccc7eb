"""The tiler against the whole array, and what a result can do."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.config import Segmentation
from vad.detection.segmenter import Segmenter
from vad.detection.tiler import Tiler
from vad.errors import ParameterError
from vad.events import SpeechStarted, SpeechStopped
from vad.frames import ms_to_samples
from vad.segments import Segment, Segments

Track = NDArray[np.float64]

TRACKS = st.lists(
    st.tuples(st.floats(0, 1) | st.sampled_from([0.0, 0.4, 0.9]), st.integers(1, 60)), max_size=12
).map(lambda runs: np.array([v for v, n in runs for _ in range(n)], dtype=np.float64))
PARAMS = st.builds(
    Segmentation,
    min_speech_duration_ms=st.sampled_from([0, 100, 900]),
    min_silence_duration_ms=st.sampled_from([0, 50, 300]),
    max_speech_duration_s=st.none() | st.sampled_from([1, 1.5]),
    start_pad_ms=st.integers(-200, 300),
    end_pad_ms=st.integers(-200, 300),
)


def tiled(
    p: Track, params: Segmentation, end_ms: int, sizes: Iterable[int] = (), channel: int = 0
) -> list[Segment]:
    segmenter, tiler = Segmenter(params), Tiler(channel)
    segments: list[Segment] = []
    at = 0
    for size in [*sizes, len(p)]:
        block = p[at : at + size]
        segments += tiler.push(block, segmenter.push(block))
        at += size
    segments += tiler.push([], segmenter.flush(end_ms, "end"))
    return segments + tiler.finish(end_ms)


def result(segments: list[Segment], duration: float, **more: int) -> Segments:
    return Segments(segments=segments, duration=duration, model="m", params=Segmentation(), **more)


def ms(seconds: float) -> int:
    return round(1000 * seconds)


# ---------------------------------------------------------------- tiling


@settings(max_examples=60, deadline=None)
@given(TRACKS, PARAMS, st.integers(0, 10), st.lists(st.integers(0, 50)))
def test_segments_tile_the_audio(
    p: Track, params: Segmentation, short: int, sizes: list[int]
) -> None:
    end_ms = max(0, 10 * len(p) - short)
    segments = tiled(p, params, end_ms, sizes)
    assert segments == tiled(p, params, end_ms)
    edges = [0, *(ms(segment.end) for segment in segments)]
    assert edges[:-1] == [ms(segment.start) for segment in segments]
    assert edges[-1] == end_ms
    assert edges == sorted(set(edges))
    speech = [segment.segment_id for segment in segments if segment.label == "speech"]
    assert speech == list(range(len(speech)))
    labels = [segment.label for segment in segments]
    assert ("non_speech", "non_speech") not in list(pairwise(labels))


@settings(max_examples=60, deadline=None)
@given(TRACKS, PARAMS, st.integers(0, 9))
def test_speech_is_what_the_events_say(p: Track, params: Segmentation, short: int) -> None:
    end_ms = max(0, 10 * len(p) - short)
    segmenter = Segmenter(params)
    events = segmenter.push(p) + segmenter.flush(end_ms, "end")
    stops = [event for event in events if isinstance(event, SpeechStopped)]
    speech = [each for each in tiled(p, params, end_ms) if each.label == "speech"]
    assert [(ms(s.start), ms(s.end), s.confidence) for s in speech] == [
        (event.audio_start_ms, event.audio_end_ms, event.confidence) for event in stops
    ]


@settings(max_examples=60, deadline=None)
@given(TRACKS, PARAMS, st.integers(0, 9), st.lists(st.integers(0, 50)))
def test_confidence_of_silence_is_one_minus_the_mean(
    p: Track, params: Segmentation, short: int, sizes: list[int]
) -> None:
    end_ms = max(0, 10 * len(p) - short)
    segments = tiled(p, params, end_ms, sizes)
    for segment in segments:
        if segment.label == "speech":
            continue
        past = ms(segment.end) // 10 if segment is not segments[-1] else len(p)
        first = -(-ms(segment.start) // 10)
        touched = -(-ms(segment.end) // 10)
        frames = p[first:past] if first < past else p[touched - 1 : touched]
        assert segment.confidence == pytest.approx(1 - frames.mean(), abs=1e-9)


def test_by_hand() -> None:
    p = np.repeat([0.1, 0.9, 0.2, 0.8, 0.0], [50, 10, 20, 40, 30])
    segments = tiled(p, Segmentation(speech_pad_ms=0), 1497, channel=2)
    assert segments == [
        Segment(None, 2, "non_speech", 0.0, 0.8, pytest.approx(1 - 18 / 80)),
        Segment(0, 2, "speech", 0.8, 1.2, pytest.approx(0.8)),
        Segment(None, 2, "non_speech", 1.2, 1.497, pytest.approx(1.0)),
    ]


def test_a_last_pause_within_one_frame_has_the_confidence_of_that_frame() -> None:
    params = Segmentation(
        min_speech_duration_ms=0, min_silence_duration_ms=0, start_pad_ms=0, end_pad_ms=5
    )
    segments = tiled(np.array([0.9] * 10 + [0.2]), params, 109)
    assert segments[-1] == Segment(None, 0, "non_speech", 0.105, 0.109, pytest.approx(0.8))


def test_segments_come_as_soon_as_they_are_final() -> None:
    segmenter, tiler = Segmenter(Segmentation()), Tiler()
    grown = []
    for value in [0.0] * 50 + [0.9] * 50 + [0.0] * 50:
        grown.append(len(tiler.push([value], segmenter.push([value]))))
    assert grown[:110] == [0] * 110
    assert grown[110] == 2  # 100 ms into the silence: the pause before and the speech
    assert not any(grown[111:])


def test_empty_audio_has_no_segments() -> None:
    assert tiled(np.zeros(0), Segmentation(), 0) == []


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_a_stop_long_after_its_end_is_counted_exactly(value: float) -> None:
    p = np.concatenate([np.full(100, 0.9), [0.0], np.full(130_000, 0.4), np.full(50, value)])
    segments = tiled(p, Segmentation(speech_pad_ms=0), 10 * len(p), sizes=[1000] * 130)
    if value == 0.4:  # the silence never got its last low frame, so the end of the audio ends it
        assert [(s.label, s.start, s.end) for s in segments] == [("speech", 0.0, 1301.51)]
    else:
        assert [(s.label, s.end) for s in segments] == [("speech", 1.0), ("non_speech", 1301.51)]
        assert segments[1].confidence == pytest.approx(1 - p[100:].mean())


def test_a_cut_after_a_discarded_piece_is_found_again() -> None:
    params = Segmentation(
        max_speech_duration_s=1190, min_speech_duration_ms=600_000, speech_pad_ms=0
    )
    rng = np.random.default_rng(0)
    p = np.concatenate([np.full(100, 0.2), rng.uniform(0.6, 1, 200_000)])
    p[59_700] = 0.51  # the cut, after a piece of 596 s
    segments = tiled(p, params, 10 * len(p), sizes=[5000] * 40)
    assert (segments[0].end, segments[0].segment_id) == (597.0, None)
    assert segments[0].confidence == pytest.approx(1 - p[:59_700].mean())
    assert segments[1].start == 597.0


def test_memory_does_not_grow_with_the_audio() -> None:
    tiler, block = Tiler(), np.full(20_000, 0.1)
    for _ in range(7):
        tiler.push(block, [])
    tracemalloc.start()
    try:
        for _ in range(60):
            tiler.push(block, [])
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 2 * 8 * (2 * Tiler.KEPT + len(block))


def test_refuses_to_finish_an_open_segment() -> None:
    tiler = Tiler()
    tiler.push([0.9], [SpeechStarted(0, 0, 10, 0.9)])
    with pytest.raises(ParameterError, match="flush the segmenter"):
        tiler.finish(10)


def test_refuses_a_stop_without_its_start() -> None:
    with pytest.raises(ParameterError, match="never started"):
        Tiler().push([0.9], [SpeechStopped(3, 0, 10, 0.9, "silence")])


def test_refuses_a_duration_that_the_frames_do_not_cover() -> None:
    tiler = Tiler()
    tiler.push([0.1, 0.1], [])
    with pytest.raises(ParameterError, match="duration_ms"):
        tiler.finish(30)


# ---------------------------------------------------------------- the result


def speech(start: float, end: float, channel: int = 0) -> Segment:
    return Segment(0, channel, "speech", start, end, 0.9)


def test_speech_and_its_ratio() -> None:
    pause = Segment(None, 0, "non_speech", 0.0, 1.0, 0.9)
    whole = result([pause, speech(1.0, 4.0)], 4.0)
    assert whole.speech == [speech(1.0, 4.0)]
    assert whole.speech_ratio == 0.75
    assert result([speech(0, 1), speech(0, 2, channel=1)], 4.0, channels=2).speech_ratio == 0.375
    assert result([], 0.0).speech_ratio == 0.0


def test_to_gives_text_and_names_an_unknown_format() -> None:
    assert result([speech(0, 1)], 1.0).to("audacity") == "0.000\t1.000\tspeech\n"
    with pytest.raises(ParameterError, match="'xml' is unknown"):
        result([], 0.0).to("xml")


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100])
@pytest.mark.parametrize("shape", [(), (2,)])
def test_cut_keeps_the_speech_alone(rate: int, shape: tuple[int, ...]) -> None:
    audio = np.arange(3 * rate * (shape or (1,))[0], dtype=np.int16).reshape(-1, *shape)
    cut = result([speech(0.25, 1.001), speech(2.0, 3.0)], 3.0).cut(audio, rate)
    a, b, c = (ms_to_samples(each, rate) for each in (250, 1001, 2000))
    assert cut.dtype == np.int16
    assert np.array_equal(cut, np.concatenate([audio[a:b], audio[c:]]))


def test_cut_of_channels_keeps_whatever_anyone_says_once() -> None:
    segments = [speech(0.0, 1.0), speech(2.0, 2.5), speech(0.5, 1.5, channel=1)]
    cut = result(segments, 3.0, channels=2).cut(np.arange(30), 10)
    assert cut.tolist() == [*range(15), *range(20, 25)]


def test_cut_without_speech_is_empty() -> None:
    assert result([], 1.0).cut(np.zeros((10, 3)), 10).shape == (0, 3)


@pytest.mark.parametrize(
    ("shape", "rate", "named"),
    [((1, 2, 3), 8000, "audio"), ((2, 16_000), 8000, "audio"), ((16_000,), 16_000, "audio")]
    + [((16_000,), 0, "sample_rate")],
)
def test_cut_refuses_other_audio(shape: tuple[int, ...], rate: int, named: str) -> None:
    with pytest.raises(ParameterError) as caught:
        result([speech(0, 1)], 2.0).cut(np.zeros(shape), rate)
    assert caught.value.param == named


def test_an_annotation_of_pyannote_has_the_speech_of_each_channel() -> None:
    pytest.importorskip("pyannote.core", reason="needs pyannote.core")
    speech = [Segment(0, channel, "speech", 0.5, 2.0, 0.9) for channel in (0, 1)]
    silence = [Segment(None, 0, "non_speech", 0.0, 0.5, 0.9)]
    found = Segments(
        segments=[*silence, *speech],
        duration=2.0,
        model="energy",
        params=Segmentation(),
        channels=2,
        name="talk.wav",
    )
    annotation = found.to_annotation()
    assert annotation.uri == "talk.wav"
    assert [
        (span.start, span.end, track, label)
        for span, track, label in annotation.itertracks(yield_label=True)
    ] == [(0.5, 2.0, 0, "speech"), (0.5, 2.0, 1, "speech")]
