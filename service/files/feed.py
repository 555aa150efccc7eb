"""What is found in a file on its way from a worker thread into a response, as it becomes final."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, Protocol, TypeVar

import anyio

from service.files.workers import Cancellation, Relay, Workers
from vad.segments import Segments

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Items that may wait for the client: many clients read nothing before all is sent, and a
# body of hours must not be held up by them.
ROOM = 2**16


class Job(Protocol[T_co]):
    """What hands over items while it works."""

    def run(self, opened: Callable[[], object], put: Callable[[T_co], object]) -> Segments: ...


class Feed(Generic[T]):
    """Runs a job from its start to its end, however slowly its items are taken.

    Args:
        job: not opened yet.
        workers: threads that it may run in.
        stop: the job's.
    """

    def __init__(self, job: Job[T], workers: Workers, stop: Cancellation) -> None:
        self._relay: Relay[T] = Relay(stop, ROOM)
        self._opened = asyncio.Event()
        loop = asyncio.get_running_loop()

        def work() -> Segments:
            try:
                return job.run(lambda: loop.call_soon_threadsafe(self._opened.set), self._relay.put)
            finally:
                self._relay.end()

        self._task = asyncio.create_task(workers.run(stop, work))

    async def opened(self) -> None:
        """Waits until it is known that there is audio.

        Raises:
            Exception: there is none: as `FileJob.open`.
        """
        opened = asyncio.create_task(self._opened.wait())
        try:
            await asyncio.wait((opened, self._task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
        if not self._opened.is_set():
            await self._task

    def items(self) -> AsyncIterator[T]:
        """Yields the items as they become final."""
        return aiter(self._relay)

    async def result(self) -> Segments:
        """Everything, after the last item.

        Raises:
            Exception: what the job raised.
        """
        return await self._task

    async def close(self) -> None:
        """Stops the job, unless it is done, and waits until it has."""
        self._task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # read, so that asyncio doesn't report it as lost
