"""Turns of clients at what few may do at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Places, of which the next goes to the client who holds the fewest.

    Of several such clients it is who got one longest ago, and of one client's, what came first.

    Args:
        places: how many there are.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._held: Counter[str] = Counter()
        self._waiting: dict[object, str] = {}  # in the order of their arrival
        self._served: dict[str, int] = {}  # of clients that wait or hold: when each last got one
        self._count = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def of(self, client: str) -> AsyncIterator[None]:
        """Waits for a place, and holds it."""
        ticket = object()
        self._waiting[ticket] = client
        async with self._changed:
            try:
                await self._changed.wait_for(lambda: self._is_next(ticket))
                self._held[client] += 1
                self._count += 1
                self._served[client] = self._count
            finally:
                del self._waiting[ticket]
                self._changed.notify_all()
        try:
            yield
        finally:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]
            self._served = {
                each: at
                for each, at in self._served.items()
                if each in self._held or each in self._waiting.values()
            }
            async with self._changed:
                self._changed.notify_all()

    def _is_next(self, ticket: object) -> bool:
        def rank(each: object) -> tuple[int, int]:
            client = self._waiting[each]
            return self._held[client], self._served.get(client, 0)

        return self._held.total() < self._places and ticket is min(self._waiting, key=rank)
