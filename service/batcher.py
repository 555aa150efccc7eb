"""Who has the rounds of `service.rounds`: the event loop, or a thread of their own."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from time import monotonic, sleep
from typing import Any, TypeVar

from service.metrics import Metrics
from service.rounds import BULK_EVERY_S, GATHER_S, Bulk, Reply, Rounds
from service.strand import Job
from vad.engine import Engine

T = TypeVar("T")


def batcher_for(engine: Engine, metrics: Metrics) -> Rounds:
    """What suits the engine's device; to be called in the event loop."""
    kind = LoopBatcher if engine.device == "cpu" else ThreadBatcher
    return kind(engine, metrics)


class ThreadBatcher(Rounds):
    """Rounds in a thread, which it starts at once."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        super().__init__(engine, metrics)
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with self._news:
            self._closing = True
            self._news.notify()
        assert self._thread is not None
        self._thread.join()

    def enter(self, job: Job[Any]) -> None:
        self._enter(self._jobs.append, job)

    def _wait_for(self, call: Callable[[], T]) -> T:
        future: Future[T] = Future()
        bulk = Bulk(call, Reply(future.set_result, future.set_exception))
        self._enter(self._bulk.append, bulk)
        return future.result()

    def _enter(self, queue: Callable[[Any], None], what: object) -> None:
        with self._news:
            if self._closing:
                raise RuntimeError("the batcher is closed")
            queue(what)
            self._news.notify()

    def _run(self) -> None:
        self._begin()
        while self._wait():
            self._gather()
            self._round()

    def _wait(self) -> bool:
        """Until there is something to do; False at the end."""
        with self._news:
            while not (self._jobs or self._steps or self._bulk or self._closing):
                self._news.wait()
            return bool(self._jobs or self._steps or self._bulk)

    def _gather(self) -> None:
        """Lets the moment pass in which live steps gather; bulk may have it."""
        pause = self._next_batch_at - monotonic()
        if pause > 0 and self._bulk:
            self._piece(self._bulk.popleft())
        elif pause > 0 and not self._closing:
            sleep(pause)


class LoopBatcher(Rounds):
    """Rounds in the event loop that runs when it is made; files have a thread of their own.

    That thread works whenever it may. Only when the loop is late, since streams are more than
    they can be, does it leave them the core, but for a piece now and then.
    """

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        super().__init__(engine, metrics)
        self._loop = asyncio.get_running_loop()
        self._due: float | None = None  # when the next round is
        # When a round last came late, if it was the last, and when a file last got a piece.
        self._late_at = self._file_at = -math.inf
        self._files = ThreadPoolExecutor(1, "network")
        self._begin()

    def close(self) -> None:
        self._closing = True
        while self._jobs or self._steps or self._bulk:
            self._round()
        self._files.shutdown()

    def enter(self, job: Job[Any]) -> None:
        if self._closing:
            raise RuntimeError("the batcher is closed")
        self._jobs.append(job)
        if self._due is None:
            self._due = max(monotonic(), self._next_batch_at)
            self._loop.call_later(self._due - monotonic(), self._tick)

    def _wait_for(self, call: Callable[[], T]) -> T:
        return self._files.submit(partial(self._piece_of_file, call)).result()

    def _tick(self) -> None:
        assert self._due is not None
        now = monotonic()
        self._late_at = now if now > self._due + GATHER_S else -math.inf
        self._due = None
        self._begin()
        self._round()
        if self._due is None and (self._jobs or self._steps or self._bulk):
            self._due = monotonic()
            self._loop.call_soon(self._tick)  # behind what has arrived meanwhile

    def _piece_of_file(self, call: Callable[[], T]) -> T:
        # Lateness is forgotten as well: the streams may have gone.
        while monotonic() < min(self._file_at, self._late_at) + BULK_EVERY_S and not self._closing:
            sleep(GATHER_S)
        self._file_at = monotonic()
        return call()
