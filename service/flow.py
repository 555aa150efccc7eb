"""Messages on their way from a stream's inbox through its session, without waking a task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from time import perf_counter
from typing import Any, Generic

from fastapi import WebSocketDisconnect
from starlette.types import Message

from service.errors import StreamIdle
from service.inbox import Inbox
from service.live_session import LiveSession, MessageT
from service.returns import Returns
from service.strand import Outcome, Strand

Call = Callable[[], list[MessageT]]
Measure = Callable[[float, list[MessageT]], None]


class Flow(Generic[MessageT]):
    """What goes on between a connection's reader and its own task.

        reader ──▶ inbox ── hand_on ──▶ a job ── _done ─┐
                              ▲                          │ no events: most messages bring none
                              ├──────────────────────────┤
        task ◀── unsent ◀─────┴─────── events ──────────┘

    Waking the task for each message would cost more than the network does.

    Args:
        session: whose messages they are.
        inbox: where they wait.
        jobs: of the session, one after another.
        returns: to the event loop.

    Attributes:
        job: what is under way with the session, if anything.
        unsent: for the client, to be sent before the next message is handed on.
    """

    def __init__(
        self,
        session: LiveSession[MessageT],
        inbox: Inbox,
        jobs: Strand,
        returns: Returns,
    ) -> None:
        self._session, self._inbox, self._jobs = session, inbox, jobs
        self._returns = returns
        self.job: Future[list[MessageT]] | Outcome[list[MessageT]] | None = None
        self.unsent: deque[MessageT] = deque()
        self._measure: Measure[MessageT] | None = None  # while it is open
        self._news = asyncio.Event()  # something for the task
        self._why_not: Exception | None = None  # the next message could not be handed on
        self._started = self._idle_since = perf_counter()

    def open(self, measure: Measure[MessageT]) -> None:
        """From now on messages go around; nothing may be under way or unsent.

        Args:
            measure: told how many seconds each took, and its answers.
        """
        self._measure, self._idle_since = measure, perf_counter()
        self._news.clear()
        self.hand_on()

    def close(self) -> None:
        """No more: a job that is under way is left in `job`."""
        self._measure = None

    def offer(self, data: bytes) -> bool:
        """Takes a binary message, if there is room."""
        if taken := self._inbox.offer({"type": "websocket.receive", "bytes": data}):
            self.hand_on()
        return taken

    def hand_on(self) -> None:
        """Makes a job of the next message, unless one is under way or the task has to act."""
        if self._measure is None or self.job is not None or self._news.is_set():
            return
        try:
            if (message := self._inbox.take()) is None:
                return
            self._started = perf_counter()
            self.job = self._jobs.post(call_of(message, self._session), self._told)
        except Exception as exc:
            self._why_not = exc
            self._news.set()

    async def listen(self, patience_s: float) -> None:
        """Until there is something to send, or the session has ended.

        Raises:
            StreamIdle: there was no message for so long.
            Exception: it can't go on; no job is under way.
        """
        while not self._news.is_set():
            try:
                # Until then nobody needs to wake up for it.
                async with asyncio.timeout(self._idle_since + patience_s - perf_counter()):
                    await self._news.wait()
            except TimeoutError:
                now = perf_counter()
                if self.job is not None:
                    self._idle_since = now
                elif now >= self._idle_since + patience_s:
                    raise idle(patience_s) from None
        if self._why_not is not None:
            raise self._why_not

    def _told(self, job: Outcome[list[MessageT]]) -> None:
        self._returns.call(partial(self._done, job))

    def _done(self, job: Outcome[list[MessageT]]) -> None:
        """What has become of a message."""
        if job is not self.job or self._measure is None:
            return  # whoever closed the flow sees to it
        self.job = None
        self._idle_since = perf_counter()
        messages: list[MessageT] = []
        try:
            messages = job.result()
        except Exception as exc:
            self._why_not = exc
        self.unsent.extend(messages)
        self._measure(self._idle_since - self._started, messages)
        if self.unsent or self._why_not or not self._session.running:
            self._news.set()
        else:
            self.hand_on()


def call_of(message: Message, session: LiveSession[MessageT]) -> Call[MessageT]:
    """What a message asks of its session.

    Raises:
        WebSocketDisconnect: nothing more; the client has gone.
    """
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    if (text := message.get("text")) is not None:
        return partial(session.receive_text, text)
    return partial(session.receive_bytes, message["bytes"])


def idle(patience_s: float) -> StreamIdle:
    """Why a stream without messages ends."""
    return StreamIdle(f"no message for {patience_s:g} s")


def cancelled(job: Future[Any] | Outcome[Any]) -> bool:
    """Whether a job will never have a result."""
    return isinstance(job, Future) and job.cancelled()
