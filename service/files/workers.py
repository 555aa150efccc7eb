"""Threads for decoding and inference, so that the event loop never waits for either."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import anyio

from service.errors import ClientGone, TooManyRequests

T = TypeVar("T")


class Cancellation:
    """Tells work in another thread to stop: the work asks now and then, or is woken."""

    def __init__(self) -> None:
        self._why: Exception | None = None
        self._lock = threading.Lock()
        self._wake: list[Callable[[], object]] = []

    def cancel(self, why: Exception | None = None) -> None:
        """Stops the work at its next `check`; the first reason counts."""
        with self._lock:
            self._why = self._why or why or ClientGone("the client has gone")
            for wake in self._wake:
                wake()

    @contextmanager
    def calling(self, wake: Callable[[], object]) -> Iterator[None]:
        """Within this, `wake` is called upon cancellation, so that nothing waits in vain.

        Raises:
            Exception: the reason, if there is one already.
        """
        with self._lock:
            self.check()
            self._wake.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wake.remove(wake)

    def check(self) -> None:
        """Raises the reason, once there is one."""
        if self._why is not None:
            raise self._why


class Workers:
    """A few threads of their own, in which jobs run in the order of their arrival.

    Args:
        name: of the threads.
        threads: their number.
        most_waiting: jobs for which there is no thread yet; None sets no limit.
    """

    def __init__(self, name: str, threads: int = 1, most_waiting: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._name, self._threads, self._most_waiting = name, threads, most_waiting
        self._under_way: set[tuple[Future[Any], Cancellation]] = set()

    def check_room(self) -> None:
        """Raises TooManyRequests if too many wait already."""
        waiting = len(self._under_way) - self._threads
        if self._most_waiting is not None and waiting >= self._most_waiting:
            raise TooManyRequests(f"{waiting} {self._name} wait already")

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queues a call with the caller's context, so that its log records carry the request."""
        context = contextvars.copy_context()
        return self._pool.submit(lambda: context.run(call))

    async def run(self, cancellation: Cancellation, call: Callable[[], T]) -> T:
        """Runs a call and waits for it.

        A caller that is cancelled cancels the work and still waits until it has stopped:
        what the work uses may then be closed.
        """
        future = self.submit(call)
        waiter = _waiter(future)
        entry = (future, cancellation)
        self._under_way.add(entry)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            cancellation.cancel()
            if not future.cancel():
                with anyio.CancelScope(shield=True):
                    await asyncio.wait([waiter])
            raise
        finally:
            self._under_way.discard(entry)

    async def close(self, why: Exception, patience_s: float) -> bool:
        """Cancels what is queued or under way, and ends the threads.

        Returns:
            Whether they have ended in time; those that have not are left to themselves.
        """
        for _, cancellation in list(self._under_way):
            cancellation.cancel(why)
        self._pool.shutdown(wait=False)
        unfinished = [_waiter(future) for future, _ in self._under_way]
        if unfinished:  # by waiting here the loop goes on, without which no thread might end
            _, late = await asyncio.wait(unfinished, timeout=patience_s)
            return not late
        return True


def _waiter(future: Future[T]) -> asyncio.Future[T]:
    """To await a call with; asyncio doesn't report as lost what nobody awaits any more."""
    waiter = asyncio.wrap_future(future)
    waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
    return waiter


class Relay(Generic[T]):
    """Takes items from a worker thread to the event loop, in which it is made.

    Args:
        cancellation: of the work, which may not wait for room any more then.
        room: items that may wait to be taken.
    """

    def __init__(self, cancellation: Cancellation, room: int) -> None:
        self._cancellation = cancellation
        self._room = threading.Semaphore(room)
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[tuple[T] | None] = asyncio.Queue()

    def put(self, item: T) -> None:
        """Hands an item over, once there is room; for the worker thread."""
        if not self._room.acquire(blocking=False):
            with self._cancellation.calling(self._room.release):
                self._room.acquire()
        self._cancellation.check()
        self._loop.call_soon_threadsafe(self._items.put_nowait, (item,))

    def end(self) -> None:
        """There are no more items; for the worker thread."""
        self._loop.call_soon_threadsafe(self._items.put_nowait, None)

    async def __aiter__(self) -> AsyncIterator[T]:
        while (item := await self._items.get()) is not None:
            self._room.release()
            yield item[0]
