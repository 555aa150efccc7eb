"""The work on this machine: a process for each core, each with a model of its own.

A process that dies, of a damaged file or for want of memory, is replaced, and costs only the file
that it had: that is tried once more, and if it kills again, it gets a row that says so.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol

from vad.batch.work import Recording, Row, failure
from vad.errors import VadError

STARTS = 3  # deaths of workers that have no model yet, before that is taken for a rule

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Rows(Protocol):
    """A worker, as this module needs it."""

    def row(self, recording: Recording, /) -> Row: ...


class WorkerDied(Exception):
    """The process that analysed a file ended; what its row says then."""


def run(
    make_worker: Callable[[], Rows],
    recordings: Iterable[Recording],
    workers: int,
    blank: Callable[[Recording], Row],
) -> Iterator[Row]:
    """Gives the rows as they are finished, in any order.

    Args:
        make_worker: called in each process; must be picklable.
        recordings: to be analysed, begun in this order.
        workers: processes.
        blank: the row of a recording whose process died, to be completed here.

    Raises:
        Whatever a worker raises: `vad.batch.Worker` only what concerns all files.
    """
    waiting = iter(recordings)
    again: deque[Recording] = deque()  # whose process died
    died_once: set[str] = set()
    processes: list[_Process] = []
    deaths_at_start = 0
    try:
        while True:
            while len(processes) < workers or any(each.idle for each in processes):
                recording = again.popleft() if again else next(waiting, None)
                if recording is None:
                    break
                idle = next((each for each in processes if each.idle), None)
                if idle is None:
                    idle = _Process(make_worker)
                    processes.append(idle)
                idle.give(recording)
            busy = {each.connection: each for each in processes if each.given is not None}
            if not busy:
                return
            for ready in wait(list(busy)):
                process = busy[ready]  # type: ignore[index]
                recording = process.given
                assert recording is not None
                try:
                    if (row := process.take()) is not None:
                        yield row
                except WorkerDied as error:
                    processes.remove(process)
                    deaths_at_start += not process.loaded
                    if deaths_at_start > STARTS:
                        raise VadError(f"workers end before they can begin: {error}") from None
                    if process.loaded and recording.uri in died_once:
                        yield blank(recording) | failure(error)
                    else:
                        died_once.add(recording.uri)
                        again.append(recording)
    finally:
        for each in processes:
            each.kill()


class _Process:
    """One process and the recording that it has."""

    def __init__(self, make_worker: Callable[[], Rows]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.given: Recording | None = None
        self.loaded = False
        self._process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, make_worker), daemon=True
        )
        with _one_thread():
            self._process.start()
        theirs.close()  # so that the end of the process is the end of the connection

    @property
    def idle(self) -> bool:
        return self.given is None

    def give(self, recording: Recording) -> None:
        self.given = recording
        with suppress(BrokenPipeError):  # it died idle; `take` will find that out
            self.connection.send(recording)

    def take(self) -> Row | None:
        """The row of what it was given; None if it only says that it has its model.

        Raises:
            WorkerDied: it ended instead.
            Exception: whatever its worker raised.
        """
        try:
            answer: Row | Exception | None = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise WorkerDied(_how(self._process.exitcode)) from None
        self.loaded = True
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            self.given = None
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, make_worker: Callable[[], Rows]) -> None:
    # An interrupt from the terminal reaches all its processes; the one that started us decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # who started us is gone
        try:
            worker = make_worker()
            connection.send(None)
            while True:
                connection.send(worker.row(connection.recv()))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            connection.send(error)


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        reason = ": is memory short?" if name == "SIGKILL" else ""
        return f"the process that analysed it was ended by {name}{reason}"
    return f"the process that analysed it ended with exit code {code}"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started meanwhile multiply matrices in one thread, since there is one a core.

    Libraries read that when they are loaded, so it must be there before.
    """
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update({name: "1" for name, value in before.items() if value is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
