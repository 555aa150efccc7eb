"""The live streams of this process: who is here, who has a place, and how all are ended."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog
from prometheus_client import Gauge

from service.errors import ServiceError
from service.limits import Quota, Ticket

log = structlog.get_logger(__name__)
CANCELLED_S = 1.0  # what a cancelled stream gets to write its last records


class LiveStream(Protocol):
    """What the registry needs of a stream."""

    def stop(self, why: ServiceError) -> None: ...
    def cancel(self) -> None: ...


class StreamRegistry:
    """The streams that are here; those that were let in are open and have a place.

    Args:
        quota: how many may be, in all processes together.
        gauge: shows how many are.
    """

    def __init__(self, quota: Quota, gauge: Gauge) -> None:
        self._quota = quota
        self._gauge = gauge
        self._here: dict[LiveStream, tuple[Ticket, ...]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return sum(bool(tickets) for tickets in self._here.values())

    def enter(self, stream: LiveStream) -> None:
        """A stream has come. It is to be ended like all others, even before it is let in."""
        self._here[stream] = ()
        self._changed()

    def admit(
        self,
        stream: LiveStream,
        key: int | None = None,
        address: str | None = None,
        *,
        places: int = 1,
    ) -> None:
        """Gives a stream its place, or further ones.

        Args:
            stream: that asks.
            key: number of its client's key; None without keys.
            address: its client's, where it is known.
            places: how many.

        Raises:
            TooManyStreams: none is left, in all or for this client.
        """
        for _ in range(places):
            self._here[stream] = (*self._here.get(stream, ()), self._quota.take(key, address))
        self._changed()

    def release(self, stream: LiveStream) -> None:
        """It has gone; its places, if it had any, are free."""
        for ticket in self._here.pop(stream, ()):
            ticket.give_back()
        self._changed()

    async def drain(self, why: ServiceError, grace_s: float) -> None:
        """Ends all streams: kindly at first, and after `grace_s` those that can't be reached."""
        for stream in list(self._here):
            stream.stop(why)
        if await self._wait_empty(grace_s):
            return
        log.warning("streams_cancelled", count=len(self._here))
        for stream in list(self._here):
            stream.cancel()
        await self._wait_empty(CANCELLED_S)

    async def _wait_empty(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def _changed(self) -> None:
        self._gauge.set(len(self))
        if self._here:
            self._empty.clear()
        else:
            self._empty.set()
