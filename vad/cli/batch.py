"""`vad batch`."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from vad.cli.detect import listened_channels
from vad.cli.options import Device, Encoding, Model, SampleRate, with_segmentation
from vad.config import DEFAULT_MODEL, Segmentation
from vad.errors import MissingExtra, OutputError, ParameterError
from vad.formats import FORMATS
from vad.terminal import complain, say

if TYPE_CHECKING:
    from vad.batch.report import Report
    from vad.batch.run import Executor, Run
    from vad.batch.sink import Shard

WITH_ERRORS = 3  # exit code of a run that is through, and some of whose rows are of errors

_Format = StrEnum("_Format", {name: name for name in ("jsonl", *FORMATS)})  # type: ignore[misc]


@with_segmentation
def batch(
    *,
    segmentation: Segmentation,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE", help="Folders, **.mp3, files, manifests; also s3://, gs:// …"
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="PLACE", help="A folder for the rows, or a URI."),
    ],
    workers: Annotated[
        str | None,
        typer.Option(metavar="N", help="Processes, else one a core. On Ray also MIN..MAX."),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="Only part K, from 0, of N. For job arrays.")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Work on this Ray cluster; auto finds it.")
    ] = None,
    gpus: Annotated[
        float, typer.Option(metavar="N", help="GPUs of each worker on Ray, such as 0.25.")
    ] = 0,
    format: Annotated[
        list[_Format] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="NAME",
            help=f"Also a file for each recording: {', '.join(FORMATS)}; jsonl: the rows.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--overwrite", help="Keep the rows that are done, or not.")
    ] = True,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Try again what ended in an error.")
    ] = False,
    channels: Annotated[
        str, typer.Option(metavar="WHICH", help="mix, separate, or the index of one.")
    ] = "mix",
    encoding: Encoding = None,
    sample_rate: SampleRate = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
) -> None:
    """Analyse any number of recordings into one table; run again, it goes on where it stopped.

    Exit codes: 0 every file has its segments; 3 all are through, and some rows are of errors; 2 bad
    usage, or something that can't be listed or written; 130 interrupted.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtra("pyarrow", "batch") from None
    from vad.batch.run import Options, Run
    from vad.batch.work import Work

    formats = tuple(dict.fromkeys(each.value for each in format or ()))
    options = Options(
        sources=sources,
        output=output,
        shard=_shard(shard),
        overwrite=not resume,
        retry_errors=retry_errors,
        json_lines="jsonl" in formats,
    )
    work = Work(
        model=model,
        device=device,
        segmentation=segmentation,
        channels=listened_channels(channels),
        encoding=encoding,
        sample_rate=sample_rate,
        formats=tuple(each for each in formats if each != "jsonl"),
    )
    executor = _executor(workers, ray_address, gpus, device)
    with _terminated_as_interrupted():
        report = _executed(Run(options, work), executor)
    for line in report.summary(output):
        say(line)
    if report.has_errors:
        raise typer.Exit(WITH_ERRORS)


def _executed(run: Run, executor: Executor) -> Report:
    for note in run.notes:
        complain(note)
    try:
        return run.execute(executor)
    except KeyboardInterrupt:
        complain(f"interrupted; {run.rows_written} rows are safe, and the same command goes on")
        raise typer.Exit(130) from None
    except OutputError as error:
        complain(f"{error}; {run.rows_written} rows are safe, and the same command goes on")
        raise typer.Exit(2) from None


def _shard(text: str | None) -> Shard:
    from vad.batch.sink import WHOLE, Shard

    if text is None:
        return WHOLE
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not int(found[1]) < int(found[2]) <= 99_999:
        raise ParameterError("shard", f"must be K/N with K from 0 to N - 1, not {text!r}")
    return Shard(int(found[1]), int(found[2]))


def _workers(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise ParameterError("workers", f"must be a number or MIN..MAX, not {text!r}")
    return least, most


def _executor(workers: str | None, ray_address: str | None, gpus: float, device: str) -> Executor:
    from vad.batch.run import on_processes
    from vad.inference.arrays import cores

    counts = _workers(workers)
    if ray_address is not None:
        from vad.batch.on_ray import on_ray

        return on_ray(ray_address, counts, gpus)
    if gpus:
        raise ParameterError("gpus", "is of workers on Ray; here give --device cuda")
    if counts is None:
        # One process fills a GPU; a second would load a second model into it.
        counts = (1, 1) if device.startswith("cuda") else (cores(), cores())
    if counts[0] != counts[1]:
        raise ParameterError("workers", "may be MIN..MAX on Ray only")
    return on_processes(counts[1])


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, by which schedulers end a job, keeps the rows as an interrupt does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
