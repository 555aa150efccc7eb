"""`vad cut`."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from vad.cli.options import Device, Encoding, Model, SampleRate, with_segmentation
from vad.cli.output import check_absent, check_target, make_folder
from vad.cli.recordings import STANDARD_INPUT, standard_input
from vad.config import DEFAULT_MODEL, Segmentation
from vad.errors import ParameterError
from vad.files import write_whole
from vad.terminal import clock, complain, counted, errors, meter, say

if TYPE_CHECKING:
    from vad.audio import AudioReader
    from vad.audio.pcm import Samples

Span = tuple[float, float]


@with_segmentation
def cut(
    *,
    segmentation: Segmentation,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The recording; - is standard input.")
    ],
    output: Annotated[
        Path | None,
        typer.Argument(metavar="OUTPUT", help="A .wav, .flac, .mp3, .m4a, .ogg, .opus or .webm."),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a WAV file for each segment instead."),
    ] = None,
    gap: Annotated[
        int, typer.Option(min=0, metavar="MS", help="Leave so much silence between segments.")
    ] = 0,
    map: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help="Write where in the recording each segment was."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace sound that is already there.")
    ] = False,
    channels: Annotated[
        str,
        typer.Option(
            metavar="WHICH",
            help="Listen to mix, separate, or the index of one. All channels are kept, wherever "
            "anyone speaks.",
        ),
    ] = "mix",
    encoding: Encoding = None,
    sample_rate: SampleRate = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
) -> None:
    """Write a recording's speech alone."""
    from vad.audio import open_audio
    from vad.cli.detect import listened_channels
    from vad.detector import Detector

    listened = listened_channels(channels)
    if (output is None) == (split is None):
        raise ParameterError("output", "name a file to write, or a folder with --split")
    if split is not None and gap:
        raise ParameterError("gap", "is between segments in one file; --split writes one for each")
    read = [] if file == STANDARD_INPUT else [file]
    _check_audio_target(output, read, overwrite)
    check_target("map", map, read)
    detector = Detector.load(model, device=device)
    with _twice(file) as source:
        with meter(1) as shown:
            reader = open_audio(source, sample_rate=sample_rate, encoding=encoding)
            shown.start(Path(file).name, reader)
            found = detector.detect(reader, segmentation=segmentation, channels=listened)
        for warning in found.warnings:
            complain(f"warning: {warning}", file)
        if not found.spans:
            complain("no speech in it: nothing is written", file)
            raise typer.Exit(2)
        with open_audio(source, sample_rate=sample_rate, encoding=encoding) as reader:
            if output is not None:
                rows = _write_one(reader, found.spans, output, gap)
            else:
                assert split is not None
                paths = _paths(split, file, len(found.spans), overwrite)
                rows = _write_each(reader, found.spans, paths)
    if map is not None:
        about = {"source": file, "duration": round(found.duration, 3), "gap_ms": gap}
        text = json.dumps({**about, "segments": rows}, indent=1, ensure_ascii=False)
        write_whole(map, f"{text}\n".encode("utf-8", "backslashreplace"))
    if errors.is_terminal:
        kept = clock(sum(end - start for start, end in found.spans))
        count = counted(len(rows), "segment")
        written = f"{count}, {kept} of {clock(found.duration)}, in {output or split}"
        say(written)


def _check_audio_target(output: Path | None, read: Sequence[str], overwrite: bool) -> None:
    from vad.audio.writer import WRITABLE

    if output is None:
        return
    suffix = output.suffix.lower()
    if suffix not in WRITABLE:
        raise ParameterError("output", f"{output.name} must end in one of {', '.join(WRITABLE)}")
    check_target("output", output, read, suffix=suffix)
    check_absent("output", output, overwrite)


def _write_one(
    reader: AudioReader, spans: Sequence[Span], output: Path, gap_ms: int
) -> list[dict[str, Any]]:
    import numpy as np

    from vad.audio.writer import AudioWriter

    rate, channels = reader.info.sample_rate, reader.info.channels
    gap = np.zeros((round(gap_ms * rate / 1000), channels), np.float32)
    rows: list[dict[str, Any]] = []
    written = 0
    with AudioWriter(output, rate, channels) as writer:
        for number, samples in _parts(reader, spans):
            if number == len(rows):
                if rows:
                    writer.write(gap)
                    written += len(gap)
                rows.append(_row(spans[number], start=round(written / rate, 3)))
            writer.write(samples)
            written += len(samples)
            rows[-1]["end"] = round(written / rate, 3)
    return rows


def _paths(folder: Path, file: str, count: int, overwrite: bool) -> list[Path]:
    stem = "stdin" if file == STANDARD_INPUT else Path(file).stem
    digits = max(3, len(str(count)))
    make_folder("split", folder)
    paths = [folder / f"{stem}-{number:0{digits}}.wav" for number in range(1, count + 1)]
    for path in paths:
        check_target("split", path, [] if file == STANDARD_INPUT else [file], suffix=".wav")
        check_absent("split", path, overwrite)
    return paths


def _write_each(
    reader: AudioReader, spans: Sequence[Span], paths: Sequence[Path]
) -> list[dict[str, Any]]:
    from vad.audio.writer import AudioWriter

    rows: list[dict[str, Any]] = []
    writer: AudioWriter | None = None
    try:
        for number, samples in _parts(reader, spans):
            if number == len(rows):
                if writer is not None:
                    writer.close()
                path = paths[number]
                writer = AudioWriter(path, reader.info.sample_rate, reader.info.channels)
                rows.append(_row(spans[number], file=path.name))
            assert writer is not None
            writer.write(samples)
    except BaseException as error:
        if writer is not None:
            writer.__exit__(type(error), error, None)
        raise
    if writer is not None:
        writer.close()
    return rows


def _row(span: Span, **more: Any) -> dict[str, Any]:
    return {"source_start": span[0], "source_end": span[1], **more}


def _parts(reader: AudioReader, spans: Sequence[Span]) -> Iterator[tuple[int, Samples]]:
    from vad.audio.reader import cut as cut_spans

    rate = reader.info.sample_rate
    bounds = [(round(start * rate), round(end * rate)) for start, end in spans]
    return cut_spans(reader.blocks(), bounds)


@contextmanager
def _twice(file: str) -> Iterator[str | BinaryIO]:
    """What can be read again from its start: standard input is kept in a file."""
    if file != STANDARD_INPUT:
        yield file
        return
    with tempfile.TemporaryFile() as kept:
        shutil.copyfileobj(standard_input(), kept)
        kept.seek(0)
        yield kept
