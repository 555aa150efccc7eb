"""A file's segments on their way from a worker thread into a response, as they become final."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio

from service.jobs import FileJob
from service.workers import Cancellation, Relay, Workers
from vad.segments import Segment, Segments

# Segments that may wait for the client: many clients read nothing before all is sent, and a
# body of hours must not be held up by them.
ROOM = 2**16


class Feed:
    """Runs a job from its start to its end, however slowly its segments are taken.

    Args:
        job: not opened yet.
        workers: threads that it may run in.
        stop: the job's.
    """

    def __init__(self, job: FileJob, workers: Workers, stop: Cancellation) -> None:
        self._relay: Relay[Segment] = Relay(stop, ROOM)
        self._opened = asyncio.Event()
        loop = asyncio.get_running_loop()

        def work() -> Segments:
            try:
                return job.feed(
                    lambda: loop.call_soon_threadsafe(self._opened.set), self._relay.put
                )
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

    def segments(self) -> AsyncIterator[Segment]:
        """As they become final."""
        return aiter(self._relay)

    async def result(self) -> Segments:
        """Everything, after the last segment.

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
