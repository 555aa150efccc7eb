"""Calls from another thread to an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Returns:
    """Calls in an event loop: many at once, since waking it up costs more than any of them.

    Args:
        loop: where they run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], object]] = deque()
        self._woken = False

    def call(self, call: Callable[[], object]) -> None:
        """Calls in the loop, soon; never, if it has closed. From any thread."""
        self._calls.append(call)
        if self._woken:
            return
        self._woken = True
        with suppress(RuntimeError):  # it has closed, and nobody is left to hear of it
            self._loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        self._woken = False  # first: what comes from now on wakes it anew
        try:
            while self._calls:
                self._calls.popleft()()
        finally:  # the loop reports what one raised; the others are still to come
            if self._calls:
                self._loop.call_soon(self._run)
