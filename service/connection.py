"""The asyncio shell of a live session: one WebSocket, whatever protocol it speaks."""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic

import structlog
from fastapi import WebSocket, WebSocketDisconnect
from starlette.types import Message

from service.errors import ServiceError, StreamStalled
from service.flow import Flow, call_of, cancelled, idle
from service.inbox import Inbox
from service.live_session import LiveSession, MessageT
from service.metrics import StreamMeter
from service.problems import problem_type
from service.protocol import StreamLimits
from service.security import check_origin
from service.websockets import SHORT_CUT
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
    however long the work takes. How messages get to the session is `service.flow`.
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
        self._meter = StreamMeter(service.metrics)
        self._flow = Flow(self._session, self._inbox, self._jobs, service.returns)
        self._gone: StopReason = "disconnect"
        self._stalled: StreamStalled | None = None

    def stop(self, why: ServiceError) -> None:
        """Ends the stream once the message in hand is done with."""
        self._inbox.interrupt(why)
        self._flow.hand_on()

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
            self._flow.close()
            reader.cancel()
            self._meter.close()
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
            self._flow.hand_on()

    async def _converse(self) -> None:
        await self._step(await self._admit())
        while self._session.running:
            try:
                await self._go_on()
            except StreamStalled:
                raise  # there is no sending to it: see `_give_up`
            except ServiceError as exc:
                await self._step(partial(self._session.fail, exc))
        with _closed_is_disconnected():
            await self._websocket.close(self._session.close_code)

    async def _go_on(self) -> None:
        """Messages go around until the session's end.

        Raises:
            Exception: why it must end before; no job is under way then.
        """
        short_cut = self._websocket.scope.get("extensions", {}).get(SHORT_CUT)
        if short_cut is not None:
            short_cut["attach"](self._flow.offer)
        try:
            while self._session.running:
                self._flow.open(self._measure)
                await self._flow.listen(self._service.settings.stream_idle_s)
                await self._send()
        finally:
            self._flow.close()
            if short_cut is not None:
                short_cut["attach"](None)

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
            return partial(self._session.fail, idle(patience_s))
        except ServiceError as exc:
            return partial(self._session.fail, exc)
        return call_of(message, self._session)

    async def _step(self, call: Callable[[], list[MessageT]]) -> None:
        started = perf_counter()
        self._flow.job = job = self._jobs.submit(call)
        messages = await asyncio.wrap_future(job)
        self._flow.job = None
        self._flow.unsent.extend(messages)
        self._measure(perf_counter() - started, messages)
        await self._send()

    async def _send(self) -> None:
        patience_s = self._service.settings.stream_stall_s
        while self._flow.unsent:
            try:
                with _closed_is_disconnected():
                    async with asyncio.timeout(patience_s):
                        await self._websocket.send_text(self._encode(self._flow.unsent[0]))
            except TimeoutError:
                raise StreamStalled(f"its client took no event for {patience_s:g} s") from None
            self._flow.unsent.popleft()

    async def _give_up(self, why: StreamStalled) -> None:
        """Ends a stream that is stuck, and tells the client if it listens."""
        interrupted, self._flow.job = self._flow.job, None
        last = self._jobs.submit(partial(self._session.fail, why))
        try:
            # Jobs are done in order: behind the last, the interrupted one is done as well.
            messages = await asyncio.wrap_future(last)
            if interrupted is not None and not cancelled(interrupted):
                messages = [*interrupted.result(), *messages]
            self._flow.unsent.extend(messages)
            self._measure(0, messages)
            async with asyncio.timeout(FAREWELL_S):
                await self._send()
                await self._websocket.close(problem_type(why).close_code)
        except (TimeoutError, StreamStalled, WebSocketDisconnect, RuntimeError):
            self._log.warning("stream_not_listening")
        except asyncio.CancelledError:
            if self._gone != "shutdown":
                raise

    def _measure(self, seconds: float, messages: list[MessageT]) -> None:
        self._meter.step(seconds, self._session.audio_ms)
        for message in messages:
            if (code := self._error_code(message)) is not None:
                self._service.metrics.rejections.labels(reason=code).inc()

    def _conclude(self) -> None:
        """Logs the stream's end, and the ends of segments that no one else will hear of.

        Runs behind the connection's last job, in the same threads.
        """
        session, untold = self._session, list(self._flow.unsent)
        if self._flow.job is not None and not cancelled(self._flow.job):
            untold += self._flow.job.result()
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
