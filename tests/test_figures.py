"""Figures that the pages tell and the shipped weights know."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vad.frames import SAMPLE_RATE
from vad.nn import weights

ROOT = Path(__file__).parents[1]


def page(name: str) -> str:
    """Its text, in one line."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def told(text: str, pattern: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    assert found is not None, pattern
    return found.groups()


def check_card(text: str, name: str) -> None:
    """Asserts that a card tells what the architecture has."""
    architecture = weights.load(name).architecture
    figures = told(
        text,
        r"([\d ]+) parameters, ([\d.]+) M multiply-adds a second of audio, receptive field "
        r"([\d.]+) s, look-ahead (\d+) ms at most",
    )
    parameters, macs, field, lookahead = figures
    assert int(parameters.replace(" ", "")) == architecture.parameter_count
    assert macs == f"{architecture.macs_per_second / 1e6:.1f}"
    assert field == f"{architecture.receptive_field / SAMPLE_RATE:.1f}"
    assert int(lookahead) == architecture.lookahead_ms


@pytest.mark.parametrize("name", weights.available())
def test_a_card_tells_what_its_network_is(name: str) -> None:
    check_card(page(f"models/{name}/README.md"), name)


def test_another_figure_would_be_noticed() -> None:
    text = page("models/convad-base/README.md")
    for before, after in (("14.0 M", "14.1 M"), ("198 722", "198 723"), ("5.2 s", "5.3 s")):
        assert before in text
        with pytest.raises(AssertionError):
            check_card(text.replace(before, after), "convad-base")


def test_the_smaller_models_take_half_and_a_third_of_the_multiply_adds() -> None:
    base, small, tiny = (
        weights.load(f"convad-{size}").architecture.macs_per_second
        for size in ("base", "small", "tiny")
    )
    assert "need half and a third of the multiply-adds" in page("README.md")
    assert small / base == pytest.approx(1 / 2, abs=0.05)
    assert tiny / base == pytest.approx(1 / 3, abs=0.05)


def spectra(filters: NDArray[np.float32]) -> NDArray[np.float64]:
    """[filters, frequencies], each relative to its peak."""
    found = np.abs(np.fft.rfft(filters, 4096))
    return np.asarray(found / found.max(axis=1, keepdims=True), np.float64)


def test_what_became_of_the_first_filters() -> None:
    modules = pytest.importorskip("vad.nn.modules", exc_type=ImportError)
    after = weights.load("convad-tiny").filters()
    before = spectra(modules.mel_cosines(*after.shape).numpy())
    now = spectra(after)
    hz = np.fft.rfftfreq(4096, 1 / SAMPLE_RATE)
    began, peaks = hz[before.argmax(axis=1)], hz[now.argmax(axis=1)]
    high = began > 2000
    second = (now[:, hz > 2000].max(axis=1) > 1 / 3) & ~high
    counts = told(
        page("docs/ladder.md"),
        r"Of the (\d+) filters that began above, (\d+) now peak below 1 kHz.*?"
        r"(\d+) of the (\d+) low ones",
    )
    assert [int(count) for count in counts] == [
        high.sum(),
        (peaks[high] < 1000).sum(),
        second.sum(),
        (~high).sum(),
    ]
