from __future__ import annotations

import io
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from vad.audio import ENCODINGS, PcmDecoder, as_float
from vad.errors import ParameterError


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_signed_integers_are_scaled_by_their_range(dtype: type) -> None:
    limits = np.iinfo(dtype)
    x = as_float(np.array([limits.min, 0, limits.max // 2 + 1], dtype))
    assert x.dtype == np.float32
    assert x.tolist() == [[-1.0], [0.0], [0.5]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_unsigned_integers_are_centred(dtype: type) -> None:
    half = np.iinfo(dtype).max // 2 + 1
    assert as_float(np.array([0, half, half + half // 2], dtype))[:, 0].tolist() == [-1, 0, 0.5]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_taken_as_they_are(dtype: type) -> None:
    assert as_float(np.array([[0.5, -3.0]], dtype)).tolist() == [[0.5, -3.0]]


def test_float32_is_not_copied() -> None:
    x = np.zeros((4, 2), np.float32)
    assert as_float(x) is x


def test_an_empty_array_keeps_its_channels() -> None:
    assert as_float(np.zeros((0, 3), np.int16)).shape == (0, 3)
    assert as_float(np.zeros(0, np.int16)).shape == (0, 1)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2, 2)), np.array(1.0), np.zeros(3, bool), np.zeros(3, complex)]
)
def test_what_is_not_audio_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ParameterError, match="audio: must"):
        as_float(array)


@pytest.mark.parametrize(("encoding", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW")])
def test_g711_tables_agree_with_libsndfile_and_ffmpeg(encoding: str, subtype: str) -> None:
    codes = bytes(range(256))
    ours = PcmDecoder(encoding).push(codes) * 32768
    theirs, _ = sf.read(
        io.BytesIO(codes), dtype="int16", format="RAW", subtype=subtype, channels=1, samplerate=8000
    )
    assert np.array_equal(ours, theirs)
    with av.open(io.BytesIO(codes), "r", format=encoding) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    assert np.array_equal(ours, np.concatenate(frames))


@given(
    encoding=st.sampled_from(ENCODINGS),
    samples=st.integers(0, 50),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_any_chunking_gives_the_same_samples(encoding: str, samples: int, cuts: list[int]) -> None:
    data = np.linspace(-1, 1, 4 * samples, dtype="<f4").tobytes()[: 4 * samples]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    decoder = PcmDecoder(encoding)
    parts = [decoder.push(data[a:b]) for a, b in pairwise(edges)]
    assert np.array_equal(np.concatenate(parts), PcmDecoder(encoding).push(data))
    assert decoder.pending == 0


def test_a_split_sample_is_pending() -> None:
    decoder = PcmDecoder("pcm_s16le")
    assert decoder.push(b"\x00").size == 0
    assert decoder.pending == 1
    assert decoder.push(bytearray(b"\x40\x01")).tolist() == [0.5]
    assert decoder.pending == 1


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(ParameterError, match="pcm_s16le, pcm_f32le, mulaw, alaw") as caught:
        PcmDecoder("opus")
    assert caught.value.param == "encoding"
