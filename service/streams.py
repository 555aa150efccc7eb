"""`WS /v1/vad/stream`: the asyncio shell around `session.StreamSession`."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from prometheus_client import Gauge

from service.errors import ServiceError, StreamIdle, TooManyStreams
from service.messages import Error, ServerMessage, encode
from service.session import StreamLimits, StreamSession
from vad.events import SpeechEvent, StopReason

if TYPE_CHECKING:
    from service.state import Service

log = structlog.get_logger(__name__)
router = APIRouter()
CANCELLED_S = 1.0  # what a cancelled stream gets to write its last records
ABNORMAL_CLOSURE, SERVICE_RESTART = 1006, 1012


class LiveStream(Protocol):
    """What the registry needs of a stream."""

    def stop(self, why: ServiceError) -> None: ...
    def cancel(self) -> None: ...


class StreamRegistry:
    """The streams that are open.

    Args:
        limit: how many may be.
        gauge: shows how many are.
    """

    def __init__(self, limit: int, gauge: Gauge) -> None:
        self._limit = limit
        self._gauge = gauge
        self._streams: set[LiveStream] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._streams)

    def admit(self, stream: LiveStream) -> None:
        """Gives a stream its place.

        Raises:
            TooManyStreams: none is left.
        """
        if len(self) >= self._limit:
            raise TooManyStreams(f"all {self._limit} places for live streams are taken")
        self._streams.add(stream)
        self._changed()

    def release(self, stream: LiveStream) -> None:
        """Takes the place back, if there is one."""
        self._streams.discard(stream)
        self._changed()

    async def drain(self, why: ServiceError, grace_s: float) -> None:
        """Ends all streams: kindly at first, and after `grace_s` those that can't be reached."""
        for stream in list(self._streams):
            stream.stop(why)
        if await self._wait_empty(grace_s):
            return
        log.warning("streams_cancelled", count=len(self))
        for stream in list(self._streams):
            stream.cancel()
        await self._wait_empty(CANCELLED_S)

    async def _wait_empty(self, timeout: float) -> bool:
        try:
            await asyncio.wait_for(self._empty.wait(), timeout)
        except TimeoutError:
            return False
        return True

    def _changed(self) -> None:
        self._gauge.set(len(self))
        if self._streams:
            self._empty.clear()
        else:
            self._empty.set()


@router.websocket("/v1/vad/stream")
async def stream(websocket: WebSocket) -> None:
    await Connection(websocket, websocket.app.state.service).run()


class Connection:
    """Carries messages between one WebSocket and its session.

    The next message is read only after the last one's answers are sent, so a client that
    sends faster than the server computes is held back by TCP, and nothing is dropped.
    """

    def __init__(self, websocket: WebSocket, service: Service) -> None:
        session_id = f"sess_{uuid.uuid4().hex}"
        settings = service.settings
        limits = StreamLimits(
            settings.max_message_bytes, settings.stream_idle_s, settings.max_stream_s
        )
        self._websocket = websocket
        self._service = service
        self._session = StreamSession(service.detector, limits, session_id)
        self._log = log.bind(session_id=session_id)
        self._stop: asyncio.Future[ServiceError] = asyncio.get_running_loop().create_future()
        self._task = asyncio.current_task()
        self._job: Future[list[ServerMessage]] | None = None
        self._unsent: deque[ServerMessage] = deque()
        self._counted_ms = 0
        self._gone: StopReason = "disconnect"

    def stop(self, why: ServiceError) -> None:
        """Ends the stream once the message in hand is done with."""
        if not self._stop.done():
            self._stop.set_result(why)

    def cancel(self) -> None:
        """Ends the stream at once, whatever it waits for."""
        self._gone = "shutdown"
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Serves the stream until its end, whichever side brings it about."""
        await self._websocket.accept()
        try:
            await self._converse()
        except WebSocketDisconnect as exc:
            if exc.code == SERVICE_RESTART:
                self._gone = "shutdown"
        except asyncio.CancelledError:
            if self._gone != "shutdown":  # by somebody else
                raise
        finally:
            self._service.streams.release(self)
            self._service.live.submit(self._conclude)

    async def _converse(self) -> None:
        await self._step(self._admit())
        while self._session.running:
            await self._step(await self._next())
        with _closed_is_disconnected():
            await self._websocket.close(self._session.close_code)

    def _admit(self) -> Callable[[], list[ServerMessage]]:
        try:
            self._service.check_ready()
            self._service.streams.admit(self)
        except ServiceError as exc:
            return partial(self._session.fail, exc)
        return partial(self._session.open, self._websocket.query_params.multi_items())

    async def _next(self) -> Callable[[], list[ServerMessage]]:
        """What there is to do next: a message, or one of the reasons to end."""
        idle = self._service.settings.stream_idle_s
        receive = asyncio.ensure_future(self._websocket.receive())
        try:
            either: set[asyncio.Future[Any]] = {receive, self._stop}
            await asyncio.wait(either, timeout=idle, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.done():
                return partial(self._session.fail, self._stop.result())
            if not receive.done():
                return partial(self._session.fail, StreamIdle(f"no message for {idle:g} s"))
            message = receive.result()
        finally:
            receive.cancel()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        if (text := message.get("text")) is not None:
            return partial(self._session.receive_text, text)
        return partial(self._session.receive_bytes, message["bytes"])

    async def _step(self, call: Callable[[], list[ServerMessage]]) -> None:
        started = perf_counter()
        self._job = self._service.live.submit(call)
        messages = await asyncio.wrap_future(self._job)
        self._job = None
        self._unsent.extend(messages)
        self._measure(perf_counter() - started)
        while self._unsent:
            with _closed_is_disconnected():
                await self._websocket.send_text(encode(self._unsent[0]))
            self._unsent.popleft()

    def _measure(self, seconds: float) -> None:
        metrics = self._service.metrics
        metrics.step_seconds.observe(seconds)
        fresh_ms = self._session.audio_ms - self._counted_ms
        metrics.audio_seconds.labels(kind="stream").inc(fresh_ms / 1000)
        self._counted_ms += fresh_ms
        for message in self._unsent:
            if isinstance(message, Error):
                metrics.rejections.labels(reason=message.code).inc()

    def _conclude(self) -> None:
        """Logs the stream's end, and the ends of segments that no one else will hear of.

        Runs behind the connection's last job, in the same threads.
        """
        session, untold = self._session, list(self._unsent)
        if self._job is not None and not self._job.cancelled():
            untold += self._job.result()
        events: Sequence[ServerMessage] = [*untold, *session.closed(self._gone)]
        for event in events:
            if isinstance(event, SpeechEvent):
                fields = asdict(event)
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


@contextmanager
def _closed_is_disconnected() -> Iterator[None]:
    """uvicorn and Starlette raise RuntimeError for a socket that uvicorn closed by itself."""
    try:
        yield
    except RuntimeError as exc:
        raise WebSocketDisconnect(ABNORMAL_CLOSURE) from exc
