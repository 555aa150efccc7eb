"""`vad plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vad.cli.options import Device, Encoding, Model, SampleRate, with_segmentation
from vad.cli.output import check_target
from vad.config import DEFAULT_MODEL, Segmentation
from vad.errors import ParameterError

if TYPE_CHECKING:
    from vad.segments import Segments


@with_segmentation
def plot(
    *,
    segmentation: Segmentation,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PNG", help="Write it here.")],
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="The recording to draw.")
    ] = None,
    filters: Annotated[
        bool, typer.Option("--filters", help="Draw the model's first layer instead.")
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="RTTM, TextGrid or Audacity labels to draw beside."),
    ] = None,
    encoding: Encoding = None,
    sample_rate: SampleRate = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
) -> None:
    """Draw a recording with what was found in it.

    Its waveform, the probabilities and the segments; or, with --filters, what a model's first
    layer listens for.
    """
    if filters == (file is not None):
        raise ParameterError("file", "give either a file or --filters")
    check_target("output", output, [file] if file else [], suffix=".png")
    if file is None:
        from vad.nn import weights
        from vad.plots import plot_filters

        loaded = weights.load(model)
        plot_filters(loaded.filters(), 16_000, output)
        return
    from vad.detector import Detector

    labels = None if reference is None else _labels(reference)
    found = Detector.load(model, device=device).detect(
        file, sample_rate, encoding=encoding, segmentation=segmentation, probabilities=True
    )
    draw(file, found, output, encoding, sample_rate, reference=labels)


def draw(
    file: str,
    found: Segments,
    path: Path,
    encoding: str | None = None,
    sample_rate: int | None = None,
    reference: list[tuple[float, float]] | None = None,
) -> None:
    """Plot a result whose probabilities were kept, beside the sound it came from."""
    from vad.audio import load_mono
    from vad.frames import SAMPLE_RATE
    from vad.plots import plot_detection

    assert found.probabilities is not None
    audio = load_mono(file, source_rate=sample_rate, encoding=encoding)
    first = next(iter(found.probabilities.values()))
    plot_detection(audio, SAMPLE_RATE, found, first, path, reference=reference)


def _labels(path: Path) -> list[tuple[float, float]]:
    from vad.evaluation.sets import NOT_SPEECH, read_marks

    marks = read_marks(path)
    return [(m.start, m.end) for m in marks if m.label.strip().lower() not in NOT_SPEECH]
