"""Threads for decoding and inference, so that the event loop never waits for either."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import anyio

from service.errors import ClientGone

T = TypeVar("T")


class Cancellation:
    """Tells work in another thread to stop: the work asks now and then."""

    def __init__(self) -> None:
        self._why: Exception | None = None

    def cancel(self, why: Exception | None = None) -> None:
        """Stops the work at its next `check`; the first reason counts."""
        self._why = self._why or why or ClientGone("the client has gone")

    def check(self) -> None:
        """Raises the reason, once there is one."""
        if self._why is not None:
            raise self._why


class Workers:
    """A few threads of their own, in which jobs run in the order of their arrival.

    Args:
        name: of the threads.
        threads: their number.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

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
        waiter = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            cancellation.cancel()
            if not future.cancel():
                with anyio.CancelScope(shield=True):
                    await asyncio.wait([waiter])
                waiter.exception()  # read, so that asyncio doesn't report it as lost
            raise

    def close(self) -> None:
        """Waits for what is queued and ends the threads."""
        self._pool.shutdown()
