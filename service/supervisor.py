"""Several worker processes behind one socket: started, watched, replaced, ended in order.

They share what makes limits and metrics those of the whole service: a folder with the places
that are taken (`limits.Places`) and Prometheus' files. Neither outlives its process wrongly.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir

import structlog
from prometheus_client import multiprocess

from service.metrics import SHARED_DIR
from service.settings import Settings

log = structlog.get_logger(__name__)
STARTUP_FAILURE = 3  # uvicorn's exit code for an application that can't start
RESPAWN_S = 1.0  # before a worker that died is replaced, lest one that can't live spins
SLACK_S = 5.0  # beyond the grace, for a worker to end by itself
FOLDER = "convad-"
Work = Callable[[Settings, socket.socket], None]


class Supervisor:
    """The parent of the workers; it serves nothing itself.

    Args:
        settings: of the service; `workers` of them are kept running.
        work: what each does, with its settings and the socket to listen on; picklable.
        listener: bound.
    """

    def __init__(self, settings: Settings, work: Work, listener: socket.socket) -> None:
        self._settings, self._work, self._listener = settings, work, listener
        self._workers: list[SpawnProcess] = []
        self._signals = 0

    def run(self) -> int:
        """Runs until SIGTERM or SIGINT; a second one ends the workers at once.

        Returns:
            0 if all workers ended well and in time, else 1.
        """
        with _shared_folder(self._settings.shared_dir) as folder, self._signalled() as wakeup:
            self._settings = self._settings.model_copy(update={"shared_dir": folder})
            self._workers = [self._start() for _ in range(self._settings.workers)]
            failed = not self._watch(wakeup)
            return int(not self._end(wakeup) or failed)

    def _watch(self, wakeup: socket.socket) -> bool:
        """Keeps the workers running until a signal; whether they all could start."""
        while not self._signals:
            wait([wakeup, *(worker.sentinel for worker in self._workers)])
            for place, worker in enumerate(self._workers):
                if worker.is_alive() or self._signals:
                    continue
                self._bury(worker)
                if worker.exitcode == STARTUP_FAILURE:
                    return False
                wait([wakeup], RESPAWN_S)
                if not self._signals:
                    self._workers[place] = self._start()
        return True

    def _end(self, wakeup: socket.socket) -> bool:
        """Ends all workers; whether each did so well and in time."""
        living = [worker for worker in self._workers if worker.is_alive()]
        for worker in living:
            worker.terminate()
        deadline = time.monotonic() + self._settings.shutdown_grace_s + SLACK_S
        asked = self._signals
        # Asked once a round: of one that dies meanwhile the sentinel still tells.
        while (waited := _alive(living)) and self._signals == asked and time.monotonic() < deadline:
            _drain(wakeup)
            sentinels = [worker.sentinel for worker in waited]
            wait([wakeup, *sentinels], max(0, deadline - time.monotonic()))
        for worker in _alive(living):
            log.warning("worker_killed", pid=worker.pid)
            worker.kill()
        for worker in living:
            worker.join()
        # A worker that was still starting has no orderly end yet, nor anything to end.
        return all(worker.exitcode in (0, -signal.SIGTERM) for worker in living)

    def _start(self) -> SpawnProcess:
        context = multiprocessing.get_context("spawn")
        worker = context.Process(target=self._work, args=(self._settings, self._listener))
        worker.start()
        log.info("worker_started", pid=worker.pid)
        return worker

    def _bury(self, worker: SpawnProcess) -> None:
        log.error("worker_died", pid=worker.pid, exit_code=worker.exitcode)
        # What it counted stays; what it had open is gone.
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]

    @contextmanager
    def _signalled(self) -> Iterator[socket.socket]:
        """SIGTERM and SIGINT become bytes in a socket, which `wait` can wait for."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)

        def note(*_: object) -> None:
            self._signals += 1
            theirs.send(b"\0")

        kinds = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(kind, note) for kind in kinds]
        with ours, theirs:
            try:
                yield ours
            finally:
                for kind, handler in zip(kinds, before, strict=True):
                    signal.signal(kind, handler)


@contextmanager
def _shared_folder(parent: Path | None) -> Iterator[Path]:
    """A new folder for what the workers share, told to those that are started meanwhile."""
    _sweep(Path(gettempdir()) if parent is None else parent)
    with TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-", dir=parent) as folder:
        # prometheus_client reads it when a worker imports it.
        os.environ[SHARED_DIR] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[SHARED_DIR]


def _sweep(parent: Path) -> None:
    """Removes what supervisors left that were killed."""
    for folder in parent.glob(f"{FOLDER}*-*"):
        pid = folder.name.removeprefix(FOLDER).partition("-")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists() and Path("/proc/self").exists():
            rmtree(folder, ignore_errors=True)


def _alive(workers: Sequence[SpawnProcess]) -> list[SpawnProcess]:
    return [worker for worker in workers if worker.is_alive()]


def _drain(wakeup: socket.socket) -> None:
    try:
        while wakeup.recv(64):
            pass
    except BlockingIOError:
        return
