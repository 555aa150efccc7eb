"""One run from sources to rows, whoever executes it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from vad.audio import PcmDecoder
from vad.batch import processes
from vad.batch.listing import Listing, clashes, list_recordings
from vad.batch.plan import plan
from vad.batch.report import Report
from vad.batch.sink import WHOLE, Shard, Sink
from vad.batch.work import Recording, Row, Work, Worker, empty_row
from vad.detector import Detector
from vad.errors import ParameterError
from vad.terminal import counted

Blank = Callable[[Recording], Row]
Executor = Callable[[Work, Sequence[Recording], Blank], Iterable[Row]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run goes about its work.

    Attributes:
        sources: as `vad.batch.listing` has them.
        output: a folder or URI.
        shard: the part to do.
        overwrite: do everything again.
        retry_errors: do again what ended in an error.
        json_lines: the rows as JSON lines, too.
    """

    sources: Sequence[str]
    output: str
    shard: Shard = WHOLE
    overwrite: bool = False
    retry_errors: bool = False
    json_lines: bool = False


class Run:
    """A run that has been planned: everything that can be wrong before the work has been looked at.

    Attributes:
        report: what was done so far.
        notes: what there is to say beforehand.

    Raises:
        ParameterError, DataError, ModelError, OutputError, OSError: each with what to do.
    """

    def __init__(self, options: Options, work: Work) -> None:
        if work.encoding is not None:
            PcmDecoder(work.encoding)
            if work.sample_rate is None:
                raise ParameterError("sample_rate", "headerless PCM needs one, in Hz")
        self.work = replace(
            work,
            sha256=Detector.load(work.model, device="cpu").sha256,
            output=options.output if "://" in options.output else os.path.abspath(options.output),
        )
        self._sink = Sink(options.output, options.shard, json_lines=options.json_lines)
        listing = list_recordings(options.sources)
        ours = f"{self.work.output.rstrip('/')}/"  # where a pattern of everything finds results too
        listing.recordings = [e for e in listing.recordings if not e.uri.startswith(ours)]
        if work.formats and (both := clashes(listing.recordings)):
            raise ParameterError(
                "sources",
                f"results of {both[0]} and {both[1]} would have one name: give one folder or "
                "pattern for both",
            )
        held = self._sink.held()
        self._plan = plan(
            listing.recordings,
            held,
            self.work,
            options.shard,
            overwrite=options.overwrite,
            retry_errors=options.retry_errors,
        )
        self._sink.forget(held, self._plan.stale)
        self.report = Report(self._plan)
        self.notes = list(_notes(listing, len(self._plan.stale)))

    def execute(self, executor: Executor) -> Report:
        """Does the work; rows that are there when it breaks off are kept.

        Raises:
            OutputError: results can't be written.
        """

        def blank(recording: Recording) -> Row:
            return empty_row(recording, self.work, self.work.sha256, "")

        with self._sink as sink:
            for row in self.report.of(executor(self.work, self._plan.recordings, blank)):
                sink.add(row)
        return self.report

    @property
    def rows_written(self) -> int:
        """How many rows this run has put into files."""
        return self._sink.written


def _notes(listing: Listing, stale: int) -> Iterator[str]:
    if listing.left_out:
        left_out = counted(listing.left_out, "file")
        yield f"{left_out} not named like audio left out: a pattern, such as 'FOLDER/**', takes all"
    if stale:
        yield f"{stale} rows are replaced: of other parameters, another model or a changed file"


def on_processes(workers: int) -> Executor:
    """The work on this machine."""

    def execute(work: Work, recordings: Sequence[Recording], blank: Blank) -> Iterable[Row]:
        make = functools.partial(Worker, work)
        return processes.run(make, recordings, min(workers, len(recordings)), blank)

    return execute
