"""What a client has sent and its stream has yet to take."""

from __future__ import annotations

import asyncio
from collections import deque

from starlette.types import Message

from service.errors import ServiceError, StreamStalled

OVERHEAD = 64  # bytes that a message counts beside its own, so that empty ones count too


class Inbox:
    """A queue bounded in bytes: who puts in waits for room, and nothing is dropped.

    Args:
        max_bytes: that wait at most; a larger message waits alone.
        stall_s: how long a full queue may make no progress.
    """

    def __init__(self, max_bytes: int, stall_s: float) -> None:
        self._max_bytes, self._stall_s = max_bytes, stall_s
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._putting = False  # whether a message waits for room
        self._interruption: ServiceError | None = None
        self._arrived, self._taken = asyncio.Event(), asyncio.Event()

    async def put(self, message: Message) -> None:
        """Queues a message once there is room.

        Raises:
            StreamStalled: nothing was taken from the full queue for `stall_s`.
        """
        self._putting = True
        try:
            while not self._fits(message):
                await self._progress()
        finally:
            self._putting = False
        self._enter(message)

    def offer(self, message: Message) -> bool:
        """Queues a message if there is room, and none before it that waits for some."""
        if self._putting or not self._fits(message):
            return False
        self._enter(message)
        return True

    async def get(self) -> Message:
        """The oldest message, once there is one.

        Raises:
            ServiceError: `interrupt` was called: its reason.
        """
        while (message := self.take()) is None:
            self._arrived.clear()
            await self._arrived.wait()
        return message

    def take(self) -> Message | None:
        """The oldest message; None if there is none.

        Raises:
            ServiceError: `interrupt` was called: its reason.
        """
        if self._interruption is not None:
            raise self._interruption
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._bytes -= _size(message)
        self._taken.set()
        return message

    def _fits(self, message: Message) -> bool:
        return not self._messages or self._bytes + _size(message) <= self._max_bytes

    def _enter(self, message: Message) -> None:
        self._messages.append(message)
        self._bytes += _size(message)
        self._arrived.set()

    async def _progress(self) -> None:
        self._taken.clear()
        try:
            async with asyncio.timeout(self._stall_s):
                await self._taken.wait()
        except TimeoutError:
            raise StreamStalled(
                f"its full queue made no progress for {self._stall_s:g} s"
            ) from None

    def interrupt(self, why: ServiceError) -> None:
        """Makes `get` raise, whatever still waits; the first reason counts."""
        self._interruption = self._interruption or why
        self._arrived.set()


def _size(message: Message) -> int:
    return OVERHEAD + len(message.get("bytes") or message.get("text") or b"")
