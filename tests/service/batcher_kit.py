"""Both kinds of batcher for tests that run in a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from service.batcher import LoopBatcher, ThreadBatcher
from service.metrics import Metrics
from service.strand import Job, Strand
from vad.engine import Engine

from .conftest import pattern

T = TypeVar("T")
TIMEOUT_S = 20
SHORT = pattern((0.02, 0.9))


class InLoop:
    """A `LoopBatcher` for threads: its loop runs in one, where all calls for it are sent."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._inner = self._there(lambda: LoopBatcher(engine, metrics))
        self.engine = self._inner.engine

    def _there(self, call: Callable[[], T]) -> T:
        async def called() -> T:
            return call()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(TIMEOUT_S)

    def enter(self, job: Job[Any]) -> None:
        self._loop.call_soon_threadsafe(self._inner.enter, job)  # in order, when it gets to it

    def strand(self) -> Strand:
        return Strand(self)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        return self.strand().submit(call)

    def close(self) -> None:
        if self._thread.is_alive():
            self._there(self._inner.close)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(TIMEOUT_S)
            self._loop.close()


Batcher = ThreadBatcher | InLoop


class Gate:
    """A job that holds the inference thread until it is opened."""

    def __init__(self, batcher: Batcher) -> None:
        self._open, entered = threading.Event(), threading.Event()

        def hold() -> None:
            entered.set()
            assert self._open.wait(TIMEOUT_S)

        batcher.submit(hold)
        assert entered.wait(TIMEOUT_S)

    def open(self) -> None:
        self._open.set()


def sample(batcher_metrics: Metrics, name: str) -> float:
    return batcher_metrics.registry.get_sample_value(name) or 0.0
