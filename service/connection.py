"""The asyncio shell of a live session: one WebSocket, whatever protocol it speaks."""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic

import structlog
from fastapi import WebSocket, WebSocketDisconnect
from starlette.types import Message

from service.errors import ServiceError, StreamIdle, StreamStalled
from service.inbox import Inbox
from service.live_session import LiveSession, MessageT
from service.problems import problem_type
from service.protocol import StreamLimits
from service.security import check_origin
from vad.events import StopReason

if TYPE_CHECKING:
    from service.state import Service

log = structlog.get_logger(__name__)
ABNORMAL_CLOSURE, SERVICE_RESTART = 1006, 1012
FAREWELL_S = 1.0  # what a client gets to take the last messages of a stream that is stuck


class Connection(ABC, Generic[MessageT]):
    """Carries messages between one WebSocket and its session.

    What arrives waits in a bounded queue, and beyond it in the socket: a client that sends
    faster than the server computes, or that doesn't take its events, is held back by TCP, and
    nothing is dropped. While the queue has room the socket is read, so that pings are answered
    however long the work takes.
    """

    def __init__(self, websocket: WebSocket, service: Service) -> None:
        session_id = f"sess_{uuid.uuid4().hex}"
        settings = service.settings
        self._websocket = websocket
        self._service = service
        self._session: LiveSession[MessageT] = self._begin(StreamLimits.of(settings), session_id)
        self._log = log.bind(session_id=session_id)
        self._inbox = Inbox(settings.max_queue_bytes, settings.stream_stall_s)
        self._jobs = service.live.strand()
        self._task = asyncio.current_task()
        self._job: Future[list[MessageT]] | None = None
        self._unsent: deque[MessageT] = deque()
        self._counted_ms = 0
        self._gone: StopReason = "disconnect"
        self._stalled: StreamStalled | None = None

    def stop(self, why: ServiceError) -> None:
        """Ends the stream once the message in hand is done with."""
        self._inbox.interrupt(why)

    def cancel(self) -> None:
        """Ends the stream at once, whatever it waits for."""
        self._gone = "shutdown"
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Serves the stream until its end, whichever side brings it about."""
        await self._websocket.accept(self._subprotocol())
        self._service.streams.enter(self)
        reader = asyncio.create_task(self._read())
        try:
            await self._converse()
        except WebSocketDisconnect as exc:
            if exc.code == SERVICE_RESTART:
                self._gone = "shutdown"
        except StreamStalled as exc:
            await self._give_up(exc)
        except asyncio.CancelledError:
            if self._stalled is not None and self._task is not None:
                self._task.uncancel()
                await self._give_up(self._stalled)
            elif self._gone != "shutdown":  # by somebody else
                raise
        finally:
            reader.cancel()
            self._service.streams.release(self)
            self._jobs.submit(self._conclude)

    async def _read(self) -> None:
        """Takes what the client sends, for as long as there is room."""
        message: Message = {}
        while message.get("type") != "websocket.disconnect":
            message = await self._websocket.receive()
            try:
                await self._inbox.put(message)
            except StreamStalled as exc:
                self._stalled = exc
                assert self._task is not None
                self._task.cancel()
                return

    async def _converse(self) -> None:
        await self._step(await self._admit())
        while self._session.running:
            await self._step(await self._next(self._service.settings.stream_idle_s))
        with _closed_is_disconnected():
            await self._websocket.close(self._session.close_code)

    async def _admit(self) -> Callable[[], list[MessageT]]:
        try:
            self._service.check_ready()
            check_origin(self._websocket, self._service.settings.allowed_origins)
            key = await self._authenticate()
            self._service.streams.admit(self, key)
        except ServiceError as exc:
            return partial(self._session.fail, exc)
        return partial(self._session.open, self._websocket.query_params.multi_items())

    async def _authenticate(self) -> int | None:
        """The number of the client's key; None without keys.

        Raises:
            Unauthorised: it has none.
        """
        return self._service.keys.check(self._websocket)

    async def _next(self, patience_s: float) -> Callable[[], list[MessageT]]:
        """What there is to do next: a message, or one of the reasons to end."""
        try:
            # Not by `wait_for`, which in Python 3.11 loses a cancellation that comes together
            # with a message.
            async with asyncio.timeout(patience_s):
                message = await self._inbox.get()
        except TimeoutError:
            return partial(self._session.fail, StreamIdle(f"no message for {patience_s:g} s"))
        except ServiceError as exc:
            return partial(self._session.fail, exc)
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        if (text := message.get("text")) is not None:
            return partial(self._session.receive_text, text)
        return partial(self._session.receive_bytes, message["bytes"])

    async def _step(self, call: Callable[[], list[MessageT]]) -> None:
        started = perf_counter()
        self._job = self._jobs.submit(call)
        messages = await asyncio.wrap_future(self._job)
        self._job = None
        self._unsent.extend(messages)
        self._measure(perf_counter() - started)
        await self._send()

    async def _send(self) -> None:
        patience_s = self._service.settings.stream_stall_s
        while self._unsent:
            try:
                with _closed_is_disconnected():
                    async with asyncio.timeout(patience_s):
                        await self._websocket.send_text(self._encode(self._unsent[0]))
            except TimeoutError:
                raise StreamStalled(f"its client took no event for {patience_s:g} s") from None
            self._unsent.popleft()

    async def _give_up(self, why: StreamStalled) -> None:
        """Ends a stream that is stuck, and tells the client if it listens."""
        interrupted, self._job = self._job, None
        last = self._jobs.submit(partial(self._session.fail, why))
        try:
            # Jobs are done in order: behind the last, the interrupted one is done as well.
            messages = await asyncio.wrap_future(last)
            if interrupted is not None and not interrupted.cancelled():
                self._unsent.extend(interrupted.result())
            self._unsent.extend(messages)
            self._measure(0)
            async with asyncio.timeout(FAREWELL_S):
                await self._send()
                await self._websocket.close(problem_type(why).close_code)
        except (TimeoutError, StreamStalled, WebSocketDisconnect, RuntimeError):
            self._log.warning("stream_not_listening")
        except asyncio.CancelledError:
            if self._gone != "shutdown":
                raise

    def _measure(self, seconds: float) -> None:
        metrics = self._service.metrics
        metrics.step_seconds.observe(seconds)
        fresh_ms = self._session.audio_ms - self._counted_ms
        metrics.audio_seconds.labels(kind="stream").inc(fresh_ms / 1000)
        if fresh_ms:
            metrics.real_time_factor.labels(kind="stream").observe(1000 * seconds / fresh_ms)
        self._counted_ms += fresh_ms
        for message in self._unsent:
            if (code := self._error_code(message)) is not None:
                metrics.rejections.labels(reason=code).inc()

    def _conclude(self) -> None:
        """Logs the stream's end, and the ends of segments that no one else will hear of.

        Runs behind the connection's last job, in the same threads.
        """
        session, untold = self._session, list(self._unsent)
        if self._job is not None and not self._job.cancelled():
            untold += self._job.result()
        last = [asdict(event) for event in session.closed(self._gone)]
        for fields in [*filter(None, map(self._record, untold)), *last]:
            self._log.info(fields.pop("type"), **fields)
        if session.failure is not None:
            self._log.error("stream_failed", exc_info=session.failure)
        self._log.info(
            "stream_closed",
            reason=session.reason,
            code=session.close_code,
            audio_ms=session.audio_ms,
            speech_ms=session.ledger.speech_ms,
            segments=session.ledger.segments,
        )

    # What is up to the protocol.

    def _subprotocol(self) -> str | None:
        """The one to agree on, of those that the client offers."""
        return None

    @abstractmethod
    def _begin(self, limits: StreamLimits, session_id: str) -> LiveSession[MessageT]: ...

    @abstractmethod
    def _encode(self, message: MessageT) -> str: ...

    @abstractmethod
    def _error_code(self, message: MessageT) -> str | None:
        """Of an error, for the metrics; None for all else."""

    @abstractmethod
    def _record(self, message: MessageT) -> dict[str, Any] | None:
        """An event of speech as a log record with its type; None for all else."""


@contextmanager
def _closed_is_disconnected() -> Iterator[None]:
    """uvicorn and Starlette raise RuntimeError for a socket that uvicorn closed by itself."""
    try:
        yield
    except RuntimeError as exc:
        raise WebSocketDisconnect(ABNORMAL_CLOSURE) from exc
