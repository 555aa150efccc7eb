"""Where jobs are kept: one SQLite file, which several processes of one machine may share.

    queued ─ claim() ─▶ fetching ─ work() ─▶ working ─ finish() ─▶ succeeded or failed ─▶ (gone)
      ▲                    │                    │                        │         expire()
      └──── put_back(), ───┴────────────────────┘                        └─ its callback: due
            recover()                                                       ─▶ delivered, failed
    delete() at any time: (gone)

What a method has returned is on disk: a process may be killed between any two of them. Clients
have turns: what begins next is of the one for whom the least is under way.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from service.errors import KeyJobsTaken, StorageFull, TooManyJobs, UnknownJob

Status = Literal["queued", "fetching", "working", "succeeded", "failed"]
BUSY_S = 10.0  # what other processes that open the file may take
CRASHES = 3  # of the process, with one job alone at work; then that has failed
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    status TEXT NOT NULL,
    crashes INTEGER NOT NULL DEFAULT 0,
    suspected INTEGER NOT NULL DEFAULT 0,
    request TEXT NOT NULL,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    result TEXT,
    problem TEXT,
    callback TEXT,
    callback_status TEXT,
    callback_tries INTEGER NOT NULL DEFAULT 0,
    callback_due REAL
);
CREATE INDEX IF NOT EXISTS by_status ON jobs (status, suspected, client, number);
CREATE INDEX IF NOT EXISTS by_client ON jobs (client);
CREATE INDEX IF NOT EXISTS by_finished ON jobs (finished);
CREATE INDEX IF NOT EXISTS by_due ON jobs (callback_status, client, callback_due, id)
    WHERE callback_status = 'due';
"""


@dataclass(frozen=True)
class Job:
    """One row.

    Attributes:
        id: told to the client.
        client: whose it is.
        status: where it is.
        suspected: whether it was at work, with others, when the process died.
        request: what was asked for.
        created, started, finished: seconds since 1970.
        result: a `schemas.Detection`, as JSON.
        problem: why it failed.
        callback: where its end is told.
        callback_status: due, delivered or failed; None before the end, and without a callback.
        callback_tries: how often that was tried.
    """

    id: str
    client: str
    status: Status
    suspected: bool
    request: Mapping[str, Any]
    created: float
    started: float | None
    finished: float | None
    result: str | None
    problem: Mapping[str, Any] | None
    callback: str | None
    callback_status: str | None
    callback_tries: int


_COLUMNS = ", ".join(field.name for field in fields(Job))
# Of a row's client, among the numbers of a JSON object.
_BUSY = "COALESCE((SELECT value FROM json_each(?) WHERE key = client), 0)"
_NOBODY: Mapping[str, int] = {}


class JobStore:
    """The jobs of one folder. Any thread may call.

    Args:
        folder: made if it isn't there.
        max_jobs: that may be kept, and nine tenths of them by one client.
        max_bytes: of the file, beyond which nothing is added.

    Raises:
        OSError, sqlite3.Error: the folder can't be used.
    """

    def __init__(self, folder: Path, max_jobs: int, max_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._max_jobs, self._max_bytes = max_jobs, max_bytes
        # The folder may be an operator's; what SQLite puts beside the file is as private as it is.
        (folder / "jobs.sqlite3").touch(mode=0o600)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(
            folder / "jobs.sqlite3",
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # nothing that was promised is lost
            with self._transaction():
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
            self._db.execute(f"SELECT {_COLUMNS} FROM jobs LIMIT 0")  # it is one of this version's
            # From here on whoever calls may wait, and others' calls need not wait behind it.
            self._db.execute("PRAGMA busy_timeout = 0")
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Lets go of the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite ends it for some failures, such as a full disk
                    self._db.execute("ROLLBACK")
                raise

    def add(self, request: Mapping[str, Any], callback: str | None, client: str) -> Job:
        """A new job.

        Raises:
            TooManyJobs, KeyJobsTaken: there are as many as may be, in all or of this client.
            StorageFull: the file is as large as it may be.
        """
        share = self._max_jobs - self._max_jobs // 10
        with self._transaction() as db:
            [kept] = db.execute("SELECT COUNT(*) FROM jobs").fetchone()
            [own] = db.execute("SELECT COUNT(*) FROM jobs WHERE client = ?", [client]).fetchone()
            if kept >= self._max_jobs:
                raise TooManyJobs(f"all {self._max_jobs} places for jobs are taken")
            if own >= share:
                raise KeyJobsTaken(f"one client may have {share} jobs: delete those you have read")
            if self._bytes() > self._max_bytes:
                raise StorageFull("there is no room for more jobs: delete those you have read")
            cursor = db.execute(
                "INSERT INTO jobs (id, client, status, request, created, callback)"
                " VALUES (?, ?, 'queued', ?, ?, ?)",
                [f"job_{uuid.uuid4().hex}", client, json.dumps(request), time.time(), callback],
            )
            [row] = db.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE number = ?", [cursor.lastrowid]
            ).fetchall()
        return _job(row)

    def get(self, id: str) -> Job:
        """One job.

        Raises:
            UnknownJob: there is none of that id.
        """
        with self._lock:
            row = self._db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", [id]).fetchone()
        if row is None:
            raise UnknownJob("no job has this id: it was never there, or is gone")
        return _job(row)

    def delete(self, id: str) -> None:
        """Forgets a job, whatever its status; UnknownJob if there is none of that id."""
        with self._transaction() as db:
            if not db.execute("DELETE FROM jobs WHERE id = ?", [id]).rowcount:
                raise UnknownJob("no job has this id: it was never there, or is gone")

    def living(self, ids: Sequence[str]) -> set[str]:
        """Those of some jobs that nobody has deleted."""
        marks = ", ".join("?" * len(ids))
        with self._lock:
            rows = self._db.execute(f"SELECT id FROM jobs WHERE id IN ({marks})", ids).fetchall()
        return {id for (id,) in rows}

    def claim(self, busy: Mapping[str, int] = _NOBODY, share: int = 1) -> Job | None:
        """The job whose turn it is, whose recording is being fetched from now on.

        What is suspected comes before all else.

        Args:
            busy: how many are being fetched for each client.
            share: how many may be.
        """
        with self._transaction() as db:
            row = db.execute(
                "UPDATE jobs SET status = 'fetching', started = ?"
                " WHERE number = (SELECT number FROM ("
                f" SELECT MIN(number) AS number, suspected, {_BUSY} AS busy FROM jobs"
                " WHERE status = 'queued' GROUP BY suspected, client)"
                " WHERE busy < ? ORDER BY suspected DESC, busy, number LIMIT 1)"
                f" RETURNING {_COLUMNS}",
                [time.time(), json.dumps(busy), share],
            ).fetchone()
        return None if row is None else _job(row)

    def work(self, id: str) -> None:
        """A job's recording is there. Nothing if the job was deleted."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET status = 'working' WHERE id = ? AND status = 'fetching'", [id]
            )

    def finish(self, id: str, result: str | None, problem: Mapping[str, Any] | None) -> None:
        """A job has ended; from now on its callback is due. Nothing if it was deleted."""
        with self._transaction() as db:
            if result is not None and self._bytes() + len(result) > self._max_bytes:
                result, problem = None, _NO_ROOM
            self._end(db, id, result, problem)

    def _end(
        self, db: sqlite3.Connection, id: str, result: str | None, problem: Mapping[str, Any] | None
    ) -> None:
        now = time.time()
        db.execute(
            "UPDATE jobs SET status = ?, finished = ?, result = ?, problem = ?,"
            " callback_status = CASE WHEN callback IS NULL THEN NULL ELSE 'due' END,"
            " callback_due = ? WHERE id = ? AND status IN ('fetching', 'working')",
            [
                "failed" if problem is not None else "succeeded",
                now,
                result,
                None if problem is None else json.dumps(problem),
                now,
                id,
            ],
        )

    def put_back(self, id: str | None = None) -> None:
        """A job was cut off in good order, such as by a shutdown: it is queued again.

        Args:
            id: of the job; None is all that are under way, for the only one that runs them.
        """
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET status = 'queued', started = NULL"
                " WHERE status IN ('fetching', 'working') AND (id = ? OR ? IS NULL)",
                [id, id],
            )

    def recover(self) -> int:
        """Queues what a process was at that is no more; for the only one that runs jobs.

        One of the jobs at work may be what killed it, or if there was none, of those being
        fetched. Of several, each will be tried alone; one that was alone in too many crashes has
        failed.

        Returns:
            How many jobs were under way.
        """
        with self._transaction() as db:
            rows = db.execute(
                "SELECT id, status, crashes FROM jobs WHERE status IN ('fetching', 'working')"
            ).fetchall()
            at_work = [row for row in rows if row[1] == "working"]
            blamed = {id: crashes for id, _, crashes in at_work or rows}
            for id, _, crashes in rows:
                alone = len(blamed) == 1 and id in blamed
                if alone and crashes + 1 >= CRASHES:
                    self._end(db, id, None, _ABANDONED)
                else:
                    db.execute(
                        "UPDATE jobs SET status = 'queued', started = NULL, crashes = crashes + ?,"
                        " suspected = suspected OR ? WHERE id = ?",
                        [alone, id in blamed, id],
                    )
        return len(rows)

    def due(
        self, limit: int, but: Sequence[str], busy: Mapping[str, int] = _NOBODY, share: int = 1
    ) -> list[Job]:
        """Jobs whose end is to be told now, some at most.

        Args:
            limit: how many at most.
            but: those that are being told.
            busy: how many of these each client has.
            share: how many one may have.
        """
        marks = ", ".join("?" * len(but))
        with self._lock:
            rows = self._db.execute(
                # The index has what is looked at; rows have results, which may be long.
                f"SELECT {_COLUMNS} FROM (SELECT place, at, nth + {_BUSY} AS turn FROM ("
                " SELECT number AS place, callback_due AS at, client,"
                " ROW_NUMBER() OVER (PARTITION BY client ORDER BY callback_due) AS nth FROM jobs"
                " WHERE callback_status = 'due' AND callback_due <= ?"
                f" AND id NOT IN ({marks})) WHERE nth <= ?) JOIN jobs ON number = place"
                " WHERE turn <= ? ORDER BY turn, at LIMIT ?",
                [json.dumps(busy), time.time(), *but, share, share, limit],
            ).fetchall()
        return [_job(row) for row in rows]

    def told(self, id: str, *, delivered: bool, again_s: float | None = None) -> None:
        """What came of a callback.

        Args:
            id: of the job.
            delivered: whether somebody has it now.
            again_s: until the next try; None where there will be none.
        """
        status = "delivered" if delivered else "failed" if again_s is None else "due"
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET callback_status = ?, callback_tries = callback_tries + 1,"
                " callback_due = ? WHERE id = ?",
                [status, time.time() + (again_s or 0), id],
            )

    def expire(self, keep_s: float) -> None:
        """Forgets jobs that ended so long ago, unless their callback is still due."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM jobs WHERE finished < ? AND callback_status IS NOT 'due'",
                [time.time() - keep_s],
            )

    def _bytes(self) -> int:
        """Of the file, what is free in it aside."""
        [pages], [free], [size] = (
            self._db.execute(f"PRAGMA {name}").fetchone()
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


_NO_ROOM = {
    "type": "urn:problem-type:convad:storage-full",
    "title": "No room for the body",
    "status": 507,
    "detail": "there was no room to keep the result: delete jobs that you have read",
}
_ABANDONED = {
    "type": "urn:problem-type:convad:internal",
    "title": "The server failed",
    "status": 500,
    "detail": f"the server went down {CRASHES} times while it worked on this job alone",
}


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    values["request"] = json.loads(values["request"])
    values["suspected"] = bool(values["suspected"])
    if values["problem"] is not None:
        values["problem"] = json.loads(values["problem"])
    return Job(**values)
