"""Makes small audio files in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def write() -> Encode:
    """write(samples, rate, **soundfile's arguments) → the bytes of a file by libsndfile."""

    def write(samples: NDArray[Any], rate: int, **kind: Any) -> bytes:
        file = io.BytesIO()
        sf.write(file, samples, rate, **{"format": "WAV", **kind})
        return file.getvalue()

    return write


@pytest.fixture(scope="session")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Encode:
    """encode(container, codec, int16 samples, rate, layout, **options) → a file by FFmpeg.

    Without the codec, which the test's FFmpeg may lack, the test is skipped.
    """

    def encode(
        container: str,
        codec: str,
        samples: NDArray[np.int16],
        rate: int,
        layout: str = "mono",
        **options: str,
    ) -> bytes:
        try:
            av.Codec(codec, "w")
        except ValueError:
            pytest.skip(f"this FFmpeg cannot write {codec}")
        # Not in memory: with "faststart" FFmpeg reads again what it has written.
        path = tmp_path_factory.mktemp("audio") / "file"
        with av.open(str(path), "w", format=container, options=options) as out:
            stream = out.add_stream(codec, rate=rate, layout=layout)
            assert isinstance(stream, av.AudioStream)
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return path.read_bytes()

    return encode


@pytest.fixture(scope="session")
def tone() -> NDArray[np.int16]:
    """Four seconds of 300 Hz at 16 kHz."""
    return (8000 * np.sin(2 * np.pi * 300 * np.arange(64_000) / 16_000)).astype(np.int16)


@pytest.fixture(scope="session")
def sentence(data_dir: Path) -> NDArray[np.int16]:
    """Four seconds of speech at 16 kHz."""
    return np.asarray(sf.read(data_dir / "speech.wav", frames=64_000, dtype="int16")[0])
