"""`vad detect`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.table import Table

from vad.audio import Channels, load_mono
from vad.config import DEFAULT_MODEL, Segmentation
from vad.detector import Detector
from vad.errors import DecodeError, ParameterError, VadError
from vad.formats import FORMATS, render, render_many
from vad.frames import SAMPLE_RATE
from vad.segments import Segments
from vad.terminal import bar, complain

_defaults = Segmentation()

Format = StrEnum("Format", {name: name for name in FORMATS})  # type: ignore[misc]
Model = Annotated[str, typer.Option(help="A model's name, or its folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")]
Encoding = Annotated[
    str | None, typer.Option(help="Headerless PCM: pcm_s16le, pcm_f32le, mulaw, alaw.")
]
SampleRate = Annotated[int | None, typer.Option(help="Of headerless PCM, Hz.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", dir_okay=False, help="Write the result here.")
]


def detect(
    files: Annotated[list[str], typer.Argument(help="Audio or video; - is standard input.")],
    format: Annotated[
        Format | None, typer.Option("--format", "-f", help="Else a table, or JSON into a pipe.")
    ] = None,
    output: Output = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the (only) file into this PNG.")] = None,
    channels: Annotated[str, typer.Option(help="mix, separate, or the index of one.")] = "mix",
    probabilities: Annotated[bool, typer.Option(help="Include each frame's, in JSON.")] = False,
    threshold: Annotated[
        float, typer.Option(help="Speech starts at this probability.")
    ] = _defaults.threshold,
    neg_threshold: Annotated[
        float | None, typer.Option(help="Silence starts below this; else threshold - 0.15.")
    ] = _defaults.neg_threshold,
    min_speech_duration_ms: Annotated[
        int, typer.Option(help="Shorter speech is discarded.")
    ] = _defaults.min_speech_duration_ms,
    min_silence_duration_ms: Annotated[
        int, typer.Option(help="Shorter silence is bridged.")
    ] = _defaults.min_silence_duration_ms,
    max_speech_duration_s: Annotated[
        float | None, typer.Option(help="Longer speech is cut at its deepest pause.")
    ] = _defaults.max_speech_duration_s,
    speech_pad_ms: Annotated[
        int, typer.Option(help="Added at both ends; negative trims.")
    ] = _defaults.speech_pad_ms,
    start_pad_ms: Annotated[
        int | None, typer.Option(help="Instead, at starts.")
    ] = _defaults.start_pad_ms,
    end_pad_ms: Annotated[
        int | None, typer.Option(help="Instead, at ends.")
    ] = _defaults.end_pad_ms,
    encoding: Encoding = None,
    sample_rate: SampleRate = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
) -> None:
    """Print where people speak in each of FILES."""
    segmentation = Segmentation(
        threshold=threshold,
        neg_threshold=neg_threshold,
        min_speech_duration_ms=min_speech_duration_ms,
        min_silence_duration_ms=min_silence_duration_ms,
        max_speech_duration_s=max_speech_duration_s,
        speech_pad_ms=speech_pad_ms,
        start_pad_ms=start_pad_ms,
        end_pad_ms=end_pad_ms,
    )
    keep = probabilities or plot is not None
    how = _How(segmentation, _channels(channels), keep, encoding, sample_rate)
    if plot is not None and (len(files) != 1 or files == ["-"]):
        raise ParameterError("plot", "draws one file: give one, not standard input")
    for option, path in (("plot", plot), ("output", output)):
        check_writable(option, path, suffix=".png" if option == "plot" else "")
    if output is None and sys.stdout is None:  # `>&-`
        raise ParameterError("output", "standard output is closed: name a file")
    detector = Detector.load(model, device=device)
    results = [found for file in files if (found := _detect_one(detector, file, how)) is not None]
    if results:
        _write(results, format, output, several=len(files) > 1)
    if results and plot is not None:
        draw(files[0], results[0], plot, encoding, sample_rate)
    if len(results) < len(files):
        raise typer.Exit(2)


@dataclass(frozen=True)
class _How:
    segmentation: Segmentation
    channels: Channels
    probabilities: bool
    encoding: str | None
    sample_rate: int | None


def draw(
    file: str,
    found: Segments,
    path: Path,
    encoding: str | None = None,
    sample_rate: int | None = None,
    reference: list[tuple[float, float]] | None = None,
) -> None:
    """Plot a result whose probabilities were kept, beside the sound it came from."""
    from vad.plots import plot_detection

    assert found.probabilities is not None
    audio = load_mono(file, source_rate=sample_rate, encoding=encoding)
    first = next(iter(found.probabilities.values()))
    plot_detection(audio, SAMPLE_RATE, found, first, path, reference=reference)


def check_writable(option: str, path: Path | None, suffix: str = "") -> None:
    """Raises ParameterError of `option` where a file cannot be written, before all the work."""
    if path is None:
        return
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ParameterError(option, f"{path} is a folder, or lies in none")
    if suffix and path.suffix.lower() != suffix:
        raise ParameterError(option, f"{path.name} must end in {suffix}")


def _detect_one(detector: Detector, file: str, how: _How) -> Segments | None:
    """The segments of one file; None, and a line on standard error, where it can't be read."""
    try:
        with bar(file) as progress:
            found = detector.detect(
                _standard_input() if file == "-" else file,
                how.sample_rate,
                encoding=how.encoding,
                segmentation=how.segmentation,
                channels=how.channels,
                probabilities=how.probabilities,
                progress=progress,
            )
    except (VadError, OSError) as error:
        complain(error, file)
        return None
    for warning in found.warnings:
        complain(f"warning: {warning}", file)
    return found


def _standard_input() -> BinaryIO:
    # A process started without one (`<&-`) has no object for it.
    if sys.stdin is None:
        raise DecodeError("standard input is closed")
    return sys.stdin.buffer


def _write(
    results: list[Segments], format: Format | None, output: Path | None, *, several: bool
) -> None:
    if format is None and output is None and sys.stdout.isatty():
        for found in results:
            _table(found)
        return
    name = (format or Format("json")).value
    text = render_many(results, name) if several else render(results[0], name)
    text = text if text.endswith("\n") else text + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")


def _table(found: Segments) -> None:
    table = Table("start", "end", "seconds", "confidence", title=found.name, title_justify="left")
    several = found.channels > 1
    if several:
        table.add_column("channel")
    for segment in found.speech:
        cells = (segment.start, segment.end, segment.end - segment.start)
        row = [f"{value:.3f}" for value in cells] + [f"{segment.confidence:.2f}"]
        table.add_row(*row, *([str(segment.channel)] if several else []))
    table.caption = (
        f"{len(found.speech)} segments, {found.speech_ratio:.0%} of {found.duration:.2f} s"
    )
    Console().print(table)


def _channels(text: str) -> Channels:
    if text in ("mix", "separate"):
        return text  # type: ignore[return-value]
    if text.isdecimal():
        return int(text)
    raise ParameterError("channels", f"must be mix, separate or an index, not {text!r}")
