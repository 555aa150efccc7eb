"""The pictures' arithmetic, and that what they show is where it should be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import matplotlib.pyplot
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.config import Segmentation
from vad.errors import MissingExtra, ParameterError
from vad.plots import HEIGHT, WIDTH, envelope, plot_detection, plot_filters
from vad.segments import Segment, Segments

SPEECH_FOUND = np.array([0xFB, 0xE3, 0xC3]) / 255  # the shade over white
REFERENCE = np.array([0x2E, 0x8B, 0x57]) / 255


def result(duration: float, *spans: tuple[float, float], **more: Any) -> Segments:
    segments = [Segment(i, 0, "speech", start, end, 0.9) for i, (start, end) in enumerate(spans)]
    return Segments(segments=segments, duration=duration, model="m", params=Segmentation(), **more)


def picture(path: Path) -> NDArray[np.float32]:
    pixels = matplotlib.image.imread(path)[..., :3]
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    return pixels


def where(pixels: NDArray[np.float32], colour: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[height, width]: the pixels of about that colour."""
    return np.abs(pixels - colour).max(axis=2) < 0.02


def curve(pixels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[700, width]: the pixels of the probability, by its blue; the legend is left out."""
    blue = pixels[..., 2] - pixels[..., 0] > 0.2
    return blue[:700]


@given(st.lists(st.integers(-99, 99), min_size=1, max_size=300), st.integers(1, 50))
def test_envelope_bounds_every_span(samples: list[int], columns: int) -> None:
    audio = np.array(samples)
    low, high = envelope(audio, columns)
    assert len(low) == len(high) == min(columns, len(audio))
    assert (low.min(), high.max()) == (audio.min(), audio.max())
    edges = np.linspace(0, len(audio), len(low) + 1).astype(int)
    for i in range(len(low)):
        span = audio[edges[i] : edges[i + 1]]
        assert (low[i], high[i]) == (span.min(), span.max())


def test_speech_is_shaded_where_it_was_found(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    audio = 0.1 * np.random.default_rng(0).standard_normal(8000 * 10).astype(np.float32)
    found = result(10.0, (2.0, 4.0), name="a $b.wav")
    plot_detection(audio, 8000, found, np.full(1000, 0.02), path, reference=[(5.0, 6.0)])
    pixels = picture(path)
    shaded = np.flatnonzero(where(pixels, SPEECH_FOUND)[:700].sum(axis=0) > 100)
    banded = np.flatnonzero(where(pixels, REFERENCE)[:700].sum(axis=0) > 5)
    per_second = len(banded)  # its band lasts one second
    assert len(shaded) == pytest.approx(2 * per_second, abs=3)
    assert banded[0] - shaded[-1] == pytest.approx(per_second, abs=3)


def test_probabilities_are_drawn_to_scale(tmp_path: Path) -> None:
    path = tmp_path / "steps.png"
    probabilities = np.repeat([0.2, 0.7], 50)
    plot_detection(np.zeros(1600), 1600, result(1.0), probabilities, path)
    drawn = curve(picture(path))
    columns = np.flatnonzero(drawn.any(axis=0))
    width = columns[-1] - columns[0]
    left, right = (columns[0] + round(share * width) for share in (0.25, 0.75))
    low, high = (np.flatnonzero(drawn[:, each]).mean() for each in (left, right))
    assert low - high == pytest.approx(265 / 2, abs=15)  # half the height of the lower panel
    assert width > 0.85 * WIDTH


def test_integers_are_scaled_by_their_type(tmp_path: Path) -> None:
    audio = np.random.default_rng(0).uniform(-0.9, 0.9, 4000)
    scaled = {
        "float.png": np.round(audio * 2**15) / 2**15,
        "int16.png": np.round(audio * 2**15).astype(np.int16),
    }
    for name, samples in scaled.items():
        plot_detection(samples, 8000, result(0.5), np.zeros(50), tmp_path / name)
    assert np.array_equal(picture(tmp_path / "float.png"), picture(tmp_path / "int16.png"))


@pytest.mark.parametrize("seconds", [0.001, 5000.0])
def test_draws_any_length(tmp_path: Path, seconds: float) -> None:
    audio = np.zeros(max(1, round(seconds * 1000)), dtype=np.float32)
    probabilities = np.full(-(-len(audio) // 10), 0.3, dtype=np.float32)
    path = tmp_path / "long.png"
    plot_detection(audio, 1000, result(seconds), probabilities, path)
    assert curve(picture(path)).sum() > WIDTH / 2


def test_filters_are_ordered_by_frequency(tmp_path: Path) -> None:
    taps = np.arange(64)
    tones = [np.hanning(64) * np.cos(2 * np.pi * f * taps / 16_000) for f in (6000, 500, 3000)]
    plot_filters(np.array(tones), 16_000, tmp_path / "x.png")
    pixels = picture(tmp_path / "x.png")
    # In the heat map, left of the colour bar, the brightest rows climb from left to right.
    heat = pixels[:, WIDTH // 2 : WIDTH * 9 // 10]
    bright = (heat[..., 0] > 0.9) & (heat[..., 1] > 0.7) & (heat[..., 2] < 0.85)
    columns = np.flatnonzero(bright.any(axis=0))
    heights = [np.flatnonzero(bright[:, each]).mean() for each in columns[[5, -5]]]
    assert heights[0] > heights[1] + 200


def test_a_dead_filter_is_drawn_flat_and_no_figure_stays_open(tmp_path: Path) -> None:
    plot_filters(np.zeros((2, 8), dtype=np.float32), 16_000, tmp_path / "dead.png")
    assert curve(picture(tmp_path / "dead.png")).sum() > 300
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("audio", "probabilities", "named"),
    [
        (np.zeros((2, 5)), np.zeros(1), "audio"),
        (np.zeros(0), np.zeros(0), "audio"),
        (np.zeros(5), np.zeros((1, 1)), "probabilities"),
    ],
)
def test_refuses_other_shapes(
    audio: NDArray[Any], probabilities: NDArray[Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError) as caught:
        plot_detection(audio, 8000, result(1.0), probabilities, tmp_path / "x.png")
    assert caught.value.param == named


@pytest.mark.parametrize("shape", [(3,), (0, 4), (4, 0), (1, 1, 4)])
def test_refuses_other_weights(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"\[filters, taps\]"):
        plot_filters(np.zeros(shape), 16_000, tmp_path / "x.png")


def test_without_matplotlib_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install '\.\[plot\]'"):
        plot_filters(np.ones((2, 8)), 16_000, tmp_path / "x.png")
