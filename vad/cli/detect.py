"""`vad detect`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vad.cli.options import Device, Encoding, Model, Recursive, SampleRate, with_segmentation
from vad.cli.output import (
    STANDARD_OUTPUT,
    check_target,
    chosen_format,
    make_folder,
    print_whole,
)
from vad.cli.recordings import STANDARD_INPUT, Recording, find_recordings
from vad.config import DEFAULT_MODEL, Segmentation
from vad.errors import ParameterError
from vad.files import write_whole
from vad.formats import FORMATS, SINGLE, SUFFIXES, rttm_ids
from vad.suffixes import distinct_stems

if TYPE_CHECKING:
    from vad.audio import Channels
    from vad.segments import Segments

Format = StrEnum("Format", {name: name for name in FORMATS})  # type: ignore[misc]


@with_segmentation
def detect(
    *,
    segmentation: Segmentation,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Audio or video; folders; - is standard input."),
    ],
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            "-f",
            metavar="NAME",
            help=f"{', '.join(FORMATS)}. Else as --output is named, a table on a terminal, "
            "JSON into a pipe.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write all results into this file; - is standard output.",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", metavar="DIR", help="Write a file for each recording."),
    ] = None,
    recursive: Recursive = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw the (only) recording.")
    ] = None,
    channels: Annotated[
        str, typer.Option(metavar="WHICH", help="mix, separate, or the index of one.")
    ] = "mix",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Include each frame's, in JSON.")
    ] = False,
    analytics: Annotated[
        bool,
        typer.Option(
            "--analytics",
            help="Tell of turns, pauses, overlaps and responses, in JSON or a table; of a call "
            "with --channels separate.",
        ),
    ] = False,
    encoding: Encoding = None,
    sample_rate: SampleRate = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, metavar="N", help="Recordings at once; else cores."),
    ] = None,
) -> None:
    """Print where people speak in each FILE.

    A recording that cannot be read costs a line on standard error and exit code 2; all others
    still have their results.
    """
    listened = listened_channels(channels)
    if output is not None and output_dir is not None:
        raise ParameterError("output_dir", "excludes --output")
    if output == STANDARD_OUTPUT:
        output = None
    named = chosen_format(output, format and format.value)
    recordings, failed = find_recordings(
        files, recursive=recursive, headerless=encoding is not None
    )
    _check(recordings, named, output, output_dir, plot)
    if analytics and named not in (None, "json", "ndjson"):
        raise ParameterError("analytics", f"is told in json and ndjson, not in {named}")
    several = recursive or len(files) > 1
    sink = _sink(recordings, named, output, output_dir, several=several)

    from vad.analytics import call_analytics
    from vad.cli.parallel import Batch, Listening
    from vad.detector import Detector
    from vad.inference.arrays import cores

    keep = probabilities or plot is not None
    how = Listening(segmentation, listened, keep, encoding, sample_rate)
    found: Segments | None = None
    with Batch(recordings, how, jobs or cores()) as batch:
        detector = Detector.load(model, device=device)
        for recording, found in batch.detect(detector, drawn=not sink.scrolls):
            if found is None:
                failed += 1
                continue
            if analytics:
                found = replace(found, analytics=call_analytics(found))
            sink.add(recording, found)
    sink.finish()
    if found is not None and plot is not None:
        from vad.cli.plot import draw

        draw(recordings[0].source, found, plot, encoding, sample_rate)
    if failed:
        raise typer.Exit(2)


def listened_channels(text: str) -> Channels:
    if text in ("mix", "separate"):
        return text  # type: ignore[return-value]
    if text.isdecimal():
        return int(text)
    raise ParameterError("channels", f"must be mix, separate or an index, not {text!r}")


def _check(
    recordings: Sequence[Recording],
    format: str | None,
    output: Path | None,
    folder: Path | None,
    plot: Path | None,
) -> None:
    """That nothing will be lost, before all the work."""
    sources = [each.source for each in recordings if each.source != STANDARD_INPUT]
    if plot is not None and (len(recordings) != 1 or not sources):
        raise ParameterError("plot", "draws one file: give one, not standard input")
    check_target("plot", plot, sources, suffix=".png")
    check_target("output", output, sources)
    if folder is None and len(recordings) > 1 and format in SINGLE:
        raise ParameterError(
            "format",
            f"{format} is of one recording, and here are {len(recordings)}: with --output-dir "
            "each has a file of its own",
        )
    if output is None and folder is None and sys.stdout is None:  # `>&-`
        raise ParameterError("output", "standard output is closed: name a file")


# ---------------------------------------------------------------- where results go


class _Sink:
    """Where results go.

    Attributes:
        scrolls: whether it prints on a terminal while the work goes on.
    """

    scrolls = False

    def __init__(self) -> None:
        self._results: list[Segments] = []

    def add(self, recording: Recording, found: Segments) -> None:
        """Takes a recording's result, in order."""
        self._results.append(found)

    def finish(self) -> None:
        """There are no more."""


def _sink(
    recordings: Sequence[Recording],
    format: str | None,
    output: Path | None,
    folder: Path | None,
    *,
    several: bool,
) -> _Sink:
    if folder is not None:
        return _Folder(folder, recordings, format or "json")
    if format is None and sys.stdout.isatty():
        return _Tables(several)
    if several and format in ("ndjson", "csv", "rttm"):
        return _Lines(output, recordings, format)
    return _Whole(output, format or "json", several)


class _Whole(_Sink):
    """All results as one text, once all are there."""

    def __init__(self, output: Path | None, format: str, several: bool) -> None:
        super().__init__()
        self._output, self._format, self._several = output, format, several

    def finish(self) -> None:
        from vad.formats import render, render_many

        if not self._results:
            return
        text = (
            render_many(self._results, self._format)
            if self._several
            else render(self._results[0], self._format)
        )
        _put(self._output, text, self._format)


class _Lines(_Sink):
    """Each result by itself: on standard output as it comes, in a file once all are there."""

    def __init__(self, output: Path | None, recordings: Sequence[Recording], format: str) -> None:
        super().__init__()
        self._output, self._format = output, format
        self._ids = _rttm_ids(recordings)
        self.scrolls = output is None and sys.stdout.isatty()
        self._written: list[str] = []
        self._is_first = True

    def add(self, recording: Recording, found: Segments) -> None:
        text = self._lines(recording, found)
        self._is_first = False
        if self._output is None:
            print_whole(text, self._format)
        else:
            self._written.append(text)

    def finish(self) -> None:
        if self._output is not None and not self._is_first:
            _put(self._output, "".join(self._written), self._format)

    def _lines(self, recording: Recording, found: Segments) -> str:
        from vad.formats import ndjson_segment, ndjson_summary, render, rttm_lines

        if self._format == "rttm":
            return rttm_lines(found, self._ids[recording])
        if self._format == "csv":
            text = render(found, "csv")
            return text if self._is_first else text.split("\n", 1)[1]
        lines = [ndjson_segment(each, file=found.name) for each in found.segments]
        return "".join([*lines, ndjson_summary(found, file=found.name)])


def _put(output: Path | None, text: str, format: str) -> None:
    if output is None:
        print_whole(text, format)
    else:
        write_whole(output, text.encode())


class _Folder(_Sink):
    """A file for each recording, written as it comes, folders as among the recordings."""

    def __init__(self, folder: Path, recordings: Sequence[Recording], format: str) -> None:
        super().__init__()
        self._format = format
        self._ids = _rttm_ids(recordings)
        stems = distinct_stems([each.name for each in recordings])
        self._paths = {
            each: folder / (stem + SUFFIXES[format][0])
            for each, stem in zip(recordings, stems, strict=True)
        }
        make_folder("output_dir", folder)
        sources = [each.source for each in recordings]
        for path in self._paths.values():
            if path.exists():
                check_target("output_dir", path, sources)

    def add(self, recording: Recording, found: Segments) -> None:
        from vad.formats import render, rttm_lines

        text = (
            rttm_lines(found, self._ids[recording])
            if self._format == "rttm"
            else render(found, self._format)
        )
        path = self._paths[recording]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())


def _rttm_ids(recordings: Sequence[Recording]) -> dict[Recording, str]:
    """Distinct over the whole run, so that its files may be joined."""
    ids = rttm_ids([each.name for each in recordings])
    return dict(zip(recordings, ids, strict=True))


class _Tables(_Sink):
    """For a person at a terminal: the segments of one recording, or a line for each of several."""

    def __init__(self, several: bool) -> None:
        super().__init__()
        self._several = several

    def finish(self) -> None:
        from rich.console import Console

        from vad.cli.tables import analytics_table, segments_table, summary_table

        if self._results:
            console = Console()
            make = summary_table if self._several else segments_table
            console.print(make(self._results))
            for found in self._results:
                if found.analytics is not None:
                    console.print(analytics_table(found.name, found.analytics))
