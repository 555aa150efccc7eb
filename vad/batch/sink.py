"""Rows on their way into files, and which rows are there already.

    OUTPUT/part-00003-of-00016-20261128T221500-1f3a-00007.parquet    of --shard 3/16: the rows
    OUTPUT/part-….jsonl                                              the same, where asked for
    OUTPUT/rttm/calls/1.mp3.rttm                                     each recording's own, likewise

A file is there whole or not at all. Rows that no file holds yet when a run is killed are computed
again by the next, so files are written often at first and then less: what is lost is at most a
fiftieth of the run, or five seconds of it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vad.batch.storage import Folder, unfinished
from vad.batch.table import as_json_lines, as_parquet, as_table, read_keys
from vad.batch.work import Recording, Row, Work
from vad.errors import OutputError, ParameterError

FLUSH_S = (5.0, 300.0)  # at least and at most, from one file to the next
FLUSH_SHARE = 0.02  # of the time since the start
FLUSH_SEGMENTS = 500_000  # rows of so many are a file, whatever the time


@dataclass(frozen=True)
class Shard:
    """A part of the work: `index` of `count`, counted from 0."""

    index: int
    count: int

    @property
    def prefix(self) -> str:
        return f"part-{self.index:05d}-of-{self.count:05d}-"


WHOLE = Shard(0, 1)


class Held(NamedTuple):
    """A row that is there already.

    Attributes:
        file: which holds it.
        size, etag: of the recording when it was analysed.
        status: `ok` or `error`.
        sha256, params: of the model and all else that was asked.
    """

    file: str
    size: int | None
    etag: str
    status: str
    sha256: str
    params: str

    def answers(self, recording: Recording, work: Work) -> bool:
        """Whether the row is what this work would give for the recording as it is now."""
        same = (self.size, self.etag) == (recording.size, recording.etag)
        return same and (self.sha256, self.params) == (work.sha256, work.params)


class Sink:
    """Takes rows; a context manager that writes what it still holds when it is left.

    Args:
        output: a folder, by its path or URI; made if absent.
        shard: which part of the work this is.
        json_lines: write those beside the Parquet files.

    Raises:
        OutputError: the folder can't be written, or another run is writing there.
    """

    def __init__(self, output: str, shard: Shard = WHOLE, *, json_lines: bool = False) -> None:
        self._folder, self._shard, self._json_lines = Folder(output), shard, json_lines
        self._folder.check()
        self._lock = _locked(self._folder, shard)
        started = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self._run = f"{shard.prefix}{started}-{secrets.token_hex(2)}-"
        self._rows: list[Row] = []
        self._segments = self._files = self.written = 0
        self._start = self._last = time.monotonic()

    def held(self) -> dict[str, Held]:
        """The rows that are there already, by their URI.

        Raises:
            OutputError: the folder can't be read, or files in it aren't ours.
        """
        found: dict[str, Held] = {}
        names = self._folder.names()
        for name in names:
            if not name.startswith("part-") or not name.endswith(".parquet"):
                continue
            try:
                rows = read_keys(self._folder.open(name))
            except (OSError, ValueError) as error:
                raise OutputError(f"{self._folder.uri}/{name}: {error}") from error
            for row in rows:
                uri = row.pop("uri")
                found[uri] = Held(name, **row)
        self._sweep(names)
        return found

    def _sweep(self, names: list[str]) -> None:
        """Removes what a killed run of this shard left behind: halves, and lines without rows."""
        for name in names:
            whole = name.rpartition(".")[0] + ".parquet"
            if self._is_ours(name) and name.endswith(".jsonl") and whole not in names:
                self._folder.remove(name)
        self._folder.remove(unfinished(self._shard.prefix))

    def _is_ours(self, name: str) -> bool:
        return self._shard.count == 1 or name.startswith(self._shard.prefix)

    def forget(self, held: dict[str, Held], uris: Iterable[str]) -> None:
        """Takes rows out of their files, so that new ones can't stand beside them.

        Args:
            held: as `Sink.held` gave it; loses them as well.
            uris: of the rows.

        Raises:
            ParameterError: the rows lie in files that another shard of the work may be changing.
            OutputError: a file can't be written.
        """
        by_file: dict[str, list[str]] = defaultdict(list)
        for uri in uris:
            by_file[held[uri].file].append(uri)
        foreign = [name for name in by_file if not self._is_ours(name)]
        if foreign:
            raise ParameterError(
                "shard",
                f"rows to be replaced lie in {foreign[0]}, of another division of the work: divide "
                "it as before, or give another output",
            )
        for name, gone in by_file.items():
            self._rewrite(name, gone)
            for uri in gone:
                del held[uri]

    def _rewrite(self, name: str, gone: list[str]) -> None:
        try:
            table = pq.read_table(self._folder.open(name))
        except OSError as error:
            raise OutputError(f"{self._folder.uri}/{name}: {error}") from error
        table = table.filter(pc.invert(pc.is_in(table["uri"], pa.array(gone, pa.string()))))
        lines = name.rpartition(".")[0] + ".jsonl"
        if table.num_rows == 0:
            self._folder.remove(name)
            self._folder.remove(lines)
            return
        if lines in self._folder.names():
            self._write(lines, as_json_lines(table))
        self._write(name, as_parquet(table))

    def add(self, row: Row) -> None:
        """Takes a row, and writes a file when it is time.

        Raises:
            OutputError: the file can't be written; the rows of earlier ones are safe.
        """
        self._rows.append(row)
        self._segments += len(row["segments"] or ())
        now = time.monotonic()
        least, most = FLUSH_S
        wait = min(most, max(least, FLUSH_SHARE * (now - self._start)))
        if now - self._last >= wait or self._segments >= FLUSH_SEGMENTS:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that are held, if there are any."""
        if not self._rows:
            return
        table = as_table(self._rows)
        name = f"{self._run}{self._files:05d}"
        # The lines first: rows count as done by what the Parquet files hold.
        if self._json_lines:
            self._write(f"{name}.jsonl", as_json_lines(table))
        self._write(f"{name}.parquet", as_parquet(table))
        self._files += 1
        self.written += len(self._rows)
        self._rows, self._segments, self._last = [], 0, time.monotonic()

    def _write(self, name: str, data: bytes) -> None:
        self._folder.write(name, data, writer=self._shard.prefix)

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if not isinstance(error, OutputError):
                self.flush()
        finally:
            if self._lock is not None:
                os.close(self._lock)


def _locked(folder: Folder, shard: Shard) -> int | None:
    """Holds a folder of this machine against a second run; shards of one work share it."""
    if folder.local is None:
        return None
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    handle = os.open(folder.local, os.O_RDONLY)
    kind = fcntl.LOCK_EX if shard.count == 1 else fcntl.LOCK_SH
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise OutputError(f"{folder.uri}: another `vad batch` is writing there") from None
    except OSError:  # a file system without locks
        with suppress(OSError):
            os.close(handle)
        return None
    return handle
