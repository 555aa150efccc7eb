"""Pictures: a detection over its waveform, and what the first layer has learned to hear.

matplotlib is needed here alone, so it is imported when a picture is drawn. Figures are made
without pyplot: it keeps global state, which a server with threads must not share.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import MissingExtra, ParameterError
from vad.frames import HOP_MS
from vad.terminal import clock

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from vad.segments import Segments

Interval = tuple[float, float]
WIDTH, HEIGHT, DPI = 1600, 800, 100  # pixels, and pixels per inch
_WAVE, _CURVE, _SPEECH, _REFERENCE = "#5b6b7b", "#1f4e9c", "#f2a33a", "#2e8b57"
_FFT = 1024  # points of a filter's spectrum, zero-padded so that its peak can be placed


def plot_detection(
    audio: NDArray[Any],
    sample_rate: int,
    result: Segments,
    probabilities: NDArray[np.floating],
    path: str | os.PathLike[str],
    *,
    reference: Sequence[Interval] | None = None,
) -> None:
    """Draws the waveform, the probability with its thresholds, and the segments found.

    Args:
        audio: [samples], float within ±1 or integers, which are scaled by their type.
        sample_rate: of `audio`, Hz.
        result: its speech is shaded; of several channels, that of all.
        probabilities: [frames], one for every 10 ms.
        path: the picture to write; its ending says which kind, 1600 by 800 pixels if `.png`.
        reference: (start, end) seconds of true speech, drawn as a band to compare with.

    Raises:
        MissingExtra: matplotlib is not installed.
        ParameterError: an array is not one-dimensional, or `audio` is empty.
    """
    for name, array in (("audio", audio), ("probabilities", probabilities)):
        if array.ndim != 1:
            raise ParameterError(name, f"must be one-dimensional, not of shape {array.shape}")
    if not len(audio):
        raise ParameterError("audio", "is empty: there is nothing to draw")
    figure, (top, bottom) = subplots(2, 1, sharex=True, height_ratios=[3, 2])
    duration = len(audio) / sample_rate
    found = [(segment.start, segment.end) for segment in result.speech]
    _draw_waveform(top, audio, sample_rate)
    _draw_probability(bottom, probabilities, result)
    _shade(top, found, label="speech found")
    _shade(bottom, found)
    if reference is not None:
        _draw_reference(top, reference)
    figure.legend(loc="outside lower center", ncols=6, frameon=False)
    bottom.set_xlim(0, duration)
    _time_axis(bottom, duration)
    share = f"{len(found)} segments, {100 * result.speech_ratio:.0f} % speech"
    lasts = f"{duration:.1f} s" if duration < 60 else clock(duration)
    title = f"{_short(result.name)}{result.model}: {share} of {lasts}"
    top.set_title(title, parse_math=False)
    save(figure, path)


def plot_filters(
    weights: NDArray[np.floating], sample_rate: int, path: str | os.PathLike[str]
) -> None:
    """Draws first-layer filters, as waveforms and as spectra, in order of centre frequency.

    Args:
        weights: [filters, taps].
        sample_rate: that the filters are applied at, Hz.
        path: the picture to write; its ending says which kind, 1600 by 800 pixels if `.png`.

    Raises:
        MissingExtra: matplotlib is not installed.
        ParameterError: `weights` is not two-dimensional or empty.
    """
    if weights.ndim != 2 or not weights.size:
        raise ParameterError("weights", f"must be [filters, taps], not of shape {weights.shape}")
    ordered, spectra = _by_frequency(np.asarray(weights, dtype=np.float64))
    figure, (left, right) = subplots(1, 2, width_ratios=[3, 2])
    _draw_waveforms(left, ordered, sample_rate)
    _draw_spectra(figure, right, spectra, sample_rate)
    count, taps = weights.shape
    figure.suptitle(
        f"First layer: {count} filters of {taps} taps ({1000 * taps / sample_rate:g} ms), "
        "by centre frequency"
    )
    save(figure, path)


# ---------------------------------------------------------------- arithmetic


def envelope(audio: NDArray[Any], columns: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The least and the greatest sample of each of at most `columns` equal spans.

    Args:
        audio: [samples], at least one.

    Returns:
        Two arrays [columns], or [samples] where there are fewer.
    """
    starts = _starts(len(audio), columns)
    return np.minimum.reduceat(audio, starts), np.maximum.reduceat(audio, starts)


def _means(values: NDArray[np.floating], columns: int) -> NDArray[np.float64]:
    starts = _starts(len(values), columns)
    sums = np.add.reduceat(values, starts, dtype=np.float64)
    return sums / np.diff(starts, append=len(values))


def _starts(length: int, columns: int) -> NDArray[np.int64]:
    return np.linspace(0, length, min(columns, length) + 1).astype(np.int64)[:-1]


def _edges(lasts: float, spans: int) -> NDArray[np.float64]:
    return np.linspace(0, lasts, spans + 1)


def _held(values: NDArray[Any]) -> NDArray[Any]:
    """A value for each edge of the spans, so that a step plot shows the last span too."""
    return np.append(values, values[-1])


def _by_frequency(
    weights: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Filters scaled to a peak of 1 and their dB spectra, both by the spectrum's maximum."""
    peak = np.abs(weights).max(axis=1, keepdims=True)
    scaled = weights / np.where(peak > 0, peak, 1)
    size = max(_FFT, weights.shape[1])
    magnitude = np.abs(np.fft.rfft(scaled, size, axis=1))
    strongest = magnitude.max(axis=1, keepdims=True)
    relative = magnitude / np.where(strongest > 0, strongest, 1)
    decibels = 20 * np.log10(np.maximum(relative, 1e-3))
    order = np.argsort(magnitude.argmax(axis=1), kind="stable")
    return scaled[order], decibels[order]


def _short(name: str, most: int = 60) -> str:
    kept = name if len(name) <= most else f"{name[: most - 1]}…"
    return f"{kept}, " if name else ""


# ---------------------------------------------------------------- drawing


def subplots(
    rows: int, columns: int, size: tuple[float, float] = (WIDTH / DPI, HEIGHT / DPI), **options: Any
) -> tuple[Figure, Any]:
    """A figure of `size` inches and its axes.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    check_plotting()
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def check_plotting() -> None:
    """Raises MissingExtra where matplotlib is not installed."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise MissingExtra("matplotlib", "plot") from error


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a picture, whose kind its name's ending says."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    figure.savefig(path)


def _draw_waveform(axes: Axes, audio: NDArray[Any], sample_rate: int) -> None:
    if np.issubdtype(audio.dtype, np.integer):
        audio = audio / -float(np.iinfo(audio.dtype).min)
    low, high = envelope(audio, WIDTH)
    times = _edges(len(audio) / sample_rate, len(low))
    style: dict[str, Any] = {"step": "post", "color": _WAVE, "linewidth": 0.6, "edgecolor": _WAVE}
    axes.fill_between(times, _held(low), _held(high), **style)
    # Quiet recordings are shown at their own scale, but silence is not blown up into noise.
    reach = max(1.1 * float(np.abs([low.min(), high.max()]).max()), 1e-3)
    axes.set_ylim(-reach, reach)
    axes.set_ylabel("amplitude")
    axes.grid(axis="x", alpha=0.3)


def _draw_probability(axes: Axes, probabilities: NDArray[np.floating], result: Segments) -> None:
    lasts = len(probabilities) * HOP_MS / 1000
    line: dict[str, Any] = {"where": "post", "color": _CURVE, "linewidth": 1.2}
    if len(probabilities) > 2 * WIDTH:  # a pixel holds several frames: their range and trend
        low, high = envelope(probabilities, WIDTH)
        band: dict[str, Any] = {"step": "post", "color": _CURVE, "alpha": 0.3, "linewidth": 0}
        band["label"] = "range of probability"
        axes.fill_between(_edges(lasts, WIDTH), _held(low), _held(high), **band)
        means = _means(probabilities, WIDTH // 4)
        axes.step(_edges(lasts, len(means)), _held(means), label="mean probability", **line)
    elif len(probabilities):
        times = _edges(lasts, len(probabilities))
        axes.step(times, _held(probabilities), label="probability", **line)
    onset, offset = result.params.onset, result.params.offset
    axes.axhline(onset, color="#b22222", linewidth=1, label=f"threshold {onset:g}")
    axes.axhline(
        offset, color="#b22222", linewidth=1, linestyle="--", label=f"neg_threshold {offset:g}"
    )
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("speech probability")
    axes.grid(alpha=0.3)


def _shade(axes: Axes, spans: Sequence[Interval], label: str | None = None) -> None:
    axes.broken_barh(
        [(start, end - start) for start, end in spans],
        (0, 1),
        transform=axes.get_xaxis_transform(),
        color=_SPEECH,
        alpha=0.3,
        linewidth=0,
        zorder=0,
        label=label,
    )


def _draw_reference(axes: Axes, spans: Sequence[Interval]) -> None:
    axes.broken_barh(
        [(start, end - start) for start, end in spans],
        (0, 0.035),
        transform=axes.get_xaxis_transform(),
        color=_REFERENCE,
        linewidth=0,
        label="reference",
    )


def _time_axis(axes: Axes, duration: float) -> None:
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    if duration < 60:
        axes.set_xlabel("time (s)")
        return
    steps = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
    step = next((each for each in steps if duration / each <= 16), 3600 * (1 + duration // 57_600))
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
    axes.set_xlabel("time (h:mm:ss)" if duration >= 3600 else "time (mm:ss)")


def _draw_waveforms(axes: Axes, filters: NDArray[np.float64], sample_rate: int) -> None:
    """Each filter in a cell of its own, lowest frequency first, left to right."""
    count, taps = filters.shape
    columns = int(np.ceil(np.sqrt(count * 1.5)))
    along = np.linspace(0.08, 0.92, taps)
    for number, values in enumerate(filters):
        row, column = divmod(number, columns)
        axes.plot(column + along, row + 0.5 - 0.42 * values, color=_CURVE, linewidth=0.8)
    rows = -(-count // columns)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_xticks(range(columns + 1), [])
    axes.set_yticks(range(rows + 1), [str(row * columns) for row in range(rows)] + [""])
    axes.grid(alpha=0.4)
    axes.tick_params(length=0)
    axes.set_title(f"waveforms, {1000 * taps / sample_rate:g} ms each, scaled to their peak")
    axes.set_ylabel("number of the row's first filter")


def _draw_spectra(
    figure: Figure, axes: Axes, decibels: NDArray[np.float64], sample_rate: int
) -> None:
    nyquist = sample_rate / 2000
    image = axes.imshow(
        decibels.T,
        origin="lower",
        aspect="auto",
        extent=(0, len(decibels), 0, nyquist),
        cmap="magma",
        vmin=-40,
        vmax=0,
        interpolation="nearest",
    )
    figure.colorbar(image, ax=axes, label="dB below the filter's own maximum")
    axes.set_xlabel("filter")
    axes.set_ylabel("frequency (kHz)")
    axes.set_title("magnitude spectra")
