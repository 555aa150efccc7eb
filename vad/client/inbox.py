"""What has arrived and waits to be read."""

from __future__ import annotations

import asyncio
from collections import deque

from vad.client.errors import Refused
from vad.events import Event


class Inbox:
    """Events in order, refusals among them, and an end that may be an error."""

    def __init__(self) -> None:
        self._items: deque[Event | Refused] = deque()
        self._changed = asyncio.Event()
        self._over = False
        self._failure: Exception | None = None

    def put(self, item: Event | Refused) -> None:
        self._items.append(item)
        self._changed.set()

    def close(self, failure: Exception | None) -> None:
        """Nothing more will come; with an error, that is what the reader learns last."""
        self._over, self._failure = True, failure
        self._changed.set()

    async def get(self) -> Event:
        """The next event, once there is one.

        Raises:
            Refused: in place of an event; reading can go on.
            StopAsyncIteration: the end. An error that it was closed with comes instead.
        """
        while not self._items:
            if self._over:
                raise self._failure or StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        item = self._items.popleft()
        if isinstance(item, Refused):
            raise item
        return item

    def poll(self) -> list[Event]:
        """The events up to the next refusal; what `get` would raise, if that comes first."""
        found: list[Event] = []
        while self._items and not isinstance(self._items[0], Refused):
            item = self._items.popleft()
            assert not isinstance(item, Refused)
            found.append(item)
        if found:
            return found
        if self._items and isinstance(refused := self._items.popleft(), Refused):
            raise refused
        if self._over and self._failure is not None:
            raise self._failure
        return found
