"""Samples on a scale that their type does not have: the commonest slip, told on every way in."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from vad import Detector, ParameterError, Stream
from vad.audio.scale import FEW, check_scale, is_narrow

RATE = 16_000


@pytest.fixture(scope="module")
def speech(data_dir: Path) -> Any:
    """[samples] int16."""
    return sf.read(data_dir / "speech.wav", dtype="int16")[0][: 8 * RATE]


def push(stream: Stream, audio: Any) -> None:
    for at in range(0, len(audio), 320):
        block = audio[at : at + 320]
        stream.push(block)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
def test_16_bit_samples_in_another_type_are_refused(
    detector: Detector, speech: Any, dtype: type
) -> None:
    with pytest.raises(ParameterError, match="16-bit") as caught:
        detector.detect(speech.astype(dtype), RATE)
    assert caught.value.param == "audio"


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_a_stream_refuses_them_too(detector: Detector, speech: Any, dtype: type) -> None:
    stream = detector.stream(RATE)
    with pytest.raises(ParameterError, match=r"block: .*16-bit"):
        push(stream, speech.astype(dtype))


def test_a_stream_of_int32_may_begin_quietly_but_a_second_is_told(
    detector: Detector, speech: Any
) -> None:
    stream = detector.stream(RATE)
    with pytest.warns(UserWarning, match="no sample of this int32 array") as caught:
        push(stream, speech.astype(np.int32))
    assert len(caught) == len(stream.warnings) == 1
    assert caught[0].filename == __file__
    assert stream.received_ms == 8000


@pytest.mark.parametrize("shift", [16, 8])
def test_integers_over_their_whole_range_are_taken(
    detector: Detector, speech: Any, shift: int
) -> None:
    """shift 8: 48 dB softer than full scale, and still 24-bit audio in int32."""
    wide = speech.astype(np.int32) << shift
    expected = detector.probabilities(speech / np.float32(2 ** (31 - shift)), RATE)
    np.testing.assert_allclose(detector.probabilities(wide, RATE), expected, atol=1e-5)
    stream = detector.stream(RATE)
    push(stream, np.concatenate([np.zeros(RATE, np.int32), wide]))
    assert stream.warnings == []


def test_dither_of_24_bits_is_no_slip() -> None:
    rng = np.random.default_rng(0)
    assert not is_narrow(rng.integers(-1, 2, RATE, np.int32) << 8)
    assert is_narrow(rng.integers(-1, 2, RATE, np.int32))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.float16])
def test_narrow_types_and_silence_are_not_judged(dtype: type) -> None:
    check_scale(np.ones(RATE, dtype))
    for kind in (np.int32, np.int64, np.uint32, np.float64):
        check_scale(np.zeros(RATE, kind))


def test_unsigned_samples_lie_around_half_the_range(speech: Any) -> None:
    check_scale((speech.astype(np.int64) * 65536 + 2**31).astype(np.uint32))
    with pytest.raises(ParameterError, match="uint32"):
        check_scale((speech.astype(np.int64) + 32768).astype(np.uint32))


def test_a_glitch_is_not_a_scale(detector: Detector) -> None:
    audio = np.zeros(RATE, np.float32)
    audio[100 : 100 + FEW] = 500.0
    assert detector.detect(audio, RATE).warnings == []
    audio[100 : 101 + FEW] = 3.0
    assert detector.detect(audio, RATE).warnings == ["samples reach 3, where full scale is 1"]


def test_a_file_of_floats_is_told_since_nobody_could_scale_it(
    detector: Detector, speech: Any
) -> None:
    file = io.BytesIO()
    sf.write(file, speech.astype(np.float32), RATE, format="WAV", subtype="FLOAT")
    (first, *_) = detector.detect(file.getvalue()).warnings
    assert "full scale is 1; divide 16-bit samples by 32768" in first
    found = detector.detect(speech.astype("<f4").tobytes(), RATE, encoding="pcm_f32le")
    assert found.warnings[0] == first
    stream = detector.stream(RATE, encoding="pcm_f32le")
    stream.push(speech.astype("<f4").tobytes())
    assert "divide 16-bit samples by 32768" in stream.warnings[0]
