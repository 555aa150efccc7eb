"""One WebSocket and its session, whatever protocol it speaks.

    socket ──▶ _read ──▶ what waits ──▶ turns of the hub ──▶ what is unsent ──▶ _write ──▶ socket

A client that sends faster than the server computes, or that doesn't take its events, is held
back by TCP, and nothing is dropped: while more waits than may, the socket is not read.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic

import structlog
from fastapi import WebSocket, WebSocketDisconnect
from starlette.types import Message

from service.errors import StreamIdle, StreamStalled, StreamTooLong, TooManyMessages
from service.live.hub import Pushes
from service.live.protocol import LiveSession, MessageT, StreamLimits
from service.live.websockets import SHORT_CUT, Receiver
from service.metrics import StreamMeter
from service.security import address, check_host, check_origin
from vad.events import StopReason, as_dict
from vad.inference.engine import EMPTY, Frames

if TYPE_CHECKING:
    from service.state import Service

log = structlog.get_logger(__name__)
ABNORMAL_CLOSURE, SERVICE_RESTART = 1006, 1012
OVERHEAD = 64  # bytes that a message counts beside its own, so that empty ones count too
MESSAGES_A_TURN = 16  # other than audio
LOOKED_AT = 256  # messages, to see how much audio waits
MAX_UNSENT = 64  # messages for the client, beyond which it gets no more turns
BURST_S = 2.0  # what a client may send at once beside audio, in seconds of its rate
IN_FLIGHT_S = 0.05  # for what a client has sent already to be read
FAREWELL_S = 1.0  # what a client gets to take the last messages of a stream that is stuck

Call = Callable[[], list[MessageT]]


class Connection(ABC, Generic[MessageT]):
    """Carries messages between one WebSocket and its session.

    The session is used in the hub's turns only, once the stream has been let in.
    """

    def __init__(self, websocket: WebSocket, service: Service) -> None:
        session_id = f"sess_{uuid.uuid4().hex}"
        self._websocket, self._service, self._hub = websocket, service, service.hub
        settings = service.settings
        self._limits = StreamLimits.of(settings)
        self._max_waiting, self._stall_s = settings.max_queue_bytes, settings.stream_stall_s
        self._session: LiveSession[MessageT] = self._begin(self._limits, session_id)
        self._log = log.bind(session_id=session_id)
        self._meter = StreamMeter(service.metrics)
        self._task = asyncio.current_task()
        self._admitted = False
        # What waits for a turn, with its size.
        self._waiting: deque[tuple[bytes | Call[MessageT], int]] = deque()
        # Bytes of what ever waited, and of what has had its turn: a turn may be another thread's.
        self._arrived = self._served = 0
        self._opened = self._heard = self._since = perf_counter()
        self._others = 0  # messages other than audio
        self._room = asyncio.Event()
        # What is on its way to the client.
        self._unsent: deque[MessageT] = deque()
        self._news = asyncio.Event()
        # How it ends.
        self._why: Exception | None = None  # before all that waits
        self._last: Exception | None = None  # behind all that has been sent
        self._read_since = 0.0  # since when it is read; infinity while it isn't
        self._gone: StopReason | None = None  # the client, behind all that waits

    # Its life.

    async def run(self) -> None:
        """Serves the stream until its end, whichever side brings it about."""
        await self._websocket.accept(self._subprotocol())
        self._service.streams.enter(self)
        self._attach(self)
        reader = asyncio.create_task(self._read())
        try:
            await self._write()
        except WebSocketDisconnect:
            self._gone = self._gone or "disconnect"
        except asyncio.CancelledError:
            if self._gone != "shutdown":  # by somebody else
                raise
        finally:
            reader.cancel()
            self._attach(None)
            await self._hub.leave(self)
            self._meter.tell()
            self._service.streams.release(self)
            self._conclude()

    def finish(self, why: Exception) -> None:
        """Ends the stream behind all that its client has sent, unless that ends it."""
        self._last, self._read_since = why, max(self._read_since, perf_counter())
        if self._admitted:
            self._hub.wake(self)
        else:
            self.stop(why)

    def stop(self, why: Exception) -> None:
        """Ends the stream once the message in hand is done with."""
        self._why = self._why or why
        if self._admitted:
            self._hub.wake(self)
        else:
            self._end()
            self._news.set()

    def cancel(self) -> None:
        """Ends the stream at once, whatever it waits for."""
        self._gone = "shutdown"
        if self._task is not None:
            self._task.cancel()

    def _conclude(self) -> None:
        """Logs the stream's end, and the ends of segments that no one else will hear of."""
        self._end()
        session = self._session
        last = [as_dict(event) for event in session.closed(self._gone or "disconnect")]
        for fields in [*filter(None, map(self._record, self._unsent)), *last]:
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

    # What arrives.

    async def _read(self) -> None:
        """Takes what the client sends, for as long as there is room."""
        try:
            await self._admit()
            while True:
                self.receive(await self._next())
                while self._arrived - self._served > self._max_waiting:
                    self._read_since = math.inf
                    await self._progress()
                    self._heard = self._read_since = perf_counter()
        except WebSocketDisconnect as exc:
            self._leave("shutdown" if exc.code == SERVICE_RESTART else "disconnect")
        except Exception as exc:
            self.stop(exc)

    async def _admit(self) -> None:
        """Lets the stream in.

        Raises:
            ServiceError: it may not come in.
        """
        self._service.check_ready()
        check_host(self._websocket, self._service.settings)
        check_origin(self._websocket, self._service.settings.allowed_origins)
        key = await self._authenticate()
        client = key, address(self._websocket)
        self._service.streams.admit(self, *client)
        await self._prepare()
        self._tell(self._session.open(self._websocket.query_params.multi_items()))
        self._service.streams.admit(self, *client, places=self._session.channels - 1)
        self._admitted = True
        self._news.set()

    async def _authenticate(self) -> int | None:
        """The number of the client's key; None without keys.

        Raises:
            Unauthorised: it has none.
        """
        return self._service.keys.check(self._websocket)

    async def _prepare(self) -> None:
        """What takes longer than a turn, before the session is opened."""

    async def _next(self, patience_s: float | None = None) -> Message:
        """The client's next message.

        Args:
            patience_s: for it; None is what a stream may be idle.

        Raises:
            StreamIdle: there was none for so long.
            WebSocketDisconnect: there will be none.
        """
        limit = self._limits.stream_idle_s if patience_s is None else patience_s
        while True:
            # Audio takes the short cut and only moves `_heard`: nobody wakes up for it.
            now = perf_counter()
            left = self._heard + limit - now
            if left <= 0:
                raise StreamIdle(f"no message for {limit:g} s")
            most = self._service.settings.max_stream_open_s
            left = min(left, self._opened + most - now)
            if left <= 0:
                raise StreamTooLong(f"a stream may be open for {most:g} s")
            try:
                # Not by `wait_for`, which in Python 3.11 loses a cancellation that comes together
                # with a message.
                async with asyncio.timeout(left):
                    message = await self._websocket.receive()
            except TimeoutError:
                if self._waiting:  # it is the server that is slow
                    self._heard = perf_counter()
                continue
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            self._heard = perf_counter()
            return message

    def receive(self, message: Message) -> None:
        """A message, which waits for its turn."""
        if (data := message.get("bytes")) is not None:
            if len(data) > self._limits.max_message_bytes or not self._session.takes_audio:
                self._wait(partial(self._session.receive_bytes, data), len(data))
            else:
                self._wait(data, len(data))
        elif (audio := self._session.audio_in(message["text"])) is not None:
            self._wait(audio, len(audio))
        else:
            text = message["text"]
            self._wait(partial(self._session.receive_text, text), len(text))
            self.count(1)

    def offer(self, data: bytes) -> bool:
        """Audio by the short cut, if there is room; what is none is received as usual."""
        if (
            not self._admitted
            or self._arrived - self._served > self._max_waiting
            or len(data) > self._limits.max_message_bytes
            or not self._session.takes_audio
        ):
            return False
        self._heard = perf_counter()
        self._wait(data, len(data))
        return True

    def count(self, frames: int) -> None:
        """So many messages other than audio have come, pings and empty ones among them."""
        self._others += frames
        per_s = self._service.settings.max_controls_per_s
        if self._others > per_s * (BURST_S + perf_counter() - self._opened):
            self.stop(
                TooManyMessages(f"a stream may send {per_s:g} messages a second beside audio")
            )

    def _wait(self, what: bytes | Call[MessageT], size: int) -> None:
        if not self._waiting:
            self._since = perf_counter()
            self._hub.wake(self)
        self._waiting.append((what, size + OVERHEAD))
        self._arrived += size + OVERHEAD

    def _leave(self, reason: StopReason) -> None:
        """The client has gone; what it sent before still counts."""

        def gone() -> list[MessageT]:
            self._gone = self._gone or reason
            return []

        if self._admitted:
            self._wait(gone, 0)
        else:
            gone()
            self._news.set()

    async def _progress(self) -> None:
        self._room.clear()
        try:
            async with asyncio.timeout(self._stall_s):
                await self._room.wait()
        except TimeoutError:
            raise StreamStalled(
                f"its full queue made no progress for {self._stall_s:g} s"
            ) from None

    # Its turns: see `hub.Member`.

    def answer(self, until: float) -> float | None:
        for _ in range(MESSAGES_A_TURN):
            if not self._waiting and perf_counter() > self._read_since + IN_FLIGHT_S:
                self._why = self._why or self._last
            if self._why is not None:
                self._end()
            if not self._waiting or len(self._unsent) >= MAX_UNSENT:
                return 0
            if self._session.reason is not None or self._gone:
                return 0
            if isinstance(self._waiting[0][0], bytes):
                return self._backlog_s()
            if perf_counter() > until:
                return None
            call, size = self._waiting.popleft()
            self._served += size
            assert not isinstance(call, bytes)
            try:
                messages = call()
            except Exception as exc:
                messages = self._session.refuse(exc)
            self._tell(messages)
        return None

    def _backlog_s(self) -> float:
        size = 0
        for i in range(min(len(self._waiting), LOOKED_AT)):
            if not isinstance(what := self._waiting[i][0], bytes):
                break
            size += len(what)
        return max(size, 1) / self._session.bytes_per_second

    def feed(self, seconds: float) -> Pushes:
        per_s = self._session.bytes_per_second
        most, parts = int(seconds * per_s), list[bytes]()
        while most > 0 and self._waiting and isinstance(data := self._waiting[0][0], bytes):
            _, size = self._waiting.popleft()
            if len(data) > most:  # which may split a sample
                parts.append(data[:most])
                self._waiting.appendleft((data[most:], size - most))
                size = most
            else:
                parts.append(data)
            self._served += size
            most -= len(data)
        joined = parts[0] if len(parts) == 1 else b"".join(parts)
        self._meter.bytes_per_second = per_s
        self._meter.bytes += len(joined)
        try:
            pushes = self._session.feed(joined)
        except Exception as exc:
            self._tell(self._session.refuse(exc))
            return ()
        if any(len(audio) for _, audio in pushes):
            return pushes
        self.take([EMPTY for _ in pushes])
        return ()

    def take(self, probabilities: Sequence[Frames]) -> None:
        try:
            messages = self._session.take(probabilities)
        except Exception as exc:
            messages = self._session.refuse(exc)
        if messages:
            self._tell(messages)
        now = perf_counter()
        self._meter.step(now - self._since)
        self._since = now

    def fail(self, exc: BaseException) -> None:
        self._tell(self._session.fail(exc))

    def deliver(self) -> bool:
        self._room.set()
        over = self._session.reason is not None or self._gone is not None
        if self._unsent or over:
            self._news.set()
        if self._waiting:
            ready = self._why is not None or len(self._unsent) < MAX_UNSENT
        else:
            ready = self._why is not None or self._last is not None
        return ready and not over

    def _end(self) -> None:
        if self._why is not None:
            self._tell(self._session.fail(self._why))

    # What is sent.

    def _tell(self, messages: Iterable[MessageT]) -> None:
        for message in messages:
            if (code := self._error_code(message)) is not None:
                self._service.metrics.rejections.labels(reason=code).inc()
            self._unsent.append(message)

    async def _write(self) -> None:
        """Sends what there is to say, until the stream's end.

        Raises:
            WebSocketDisconnect: the client has gone.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            while self._unsent and not self._gone:
                try:
                    await self._send(self._unsent[0])
                except TimeoutError:
                    if isinstance(self._why, StreamStalled):
                        self._log.warning("stream_not_listening")
                        return
                    self.stop(StreamStalled(f"its client took no event for {self._stall_s:g} s"))
                else:
                    self._unsent.popleft()
            if self._gone:
                return
            if self._session.reason is not None:
                with _closed_is_disconnected():
                    await self._websocket.close(self._session.close_code, self._close_reason())
                return
            if self._waiting and self._admitted:
                self._hub.wake(self)

    async def _send(self, message: MessageT) -> None:
        stuck = isinstance(self._why, StreamStalled)
        with _closed_is_disconnected():
            async with asyncio.timeout(FAREWELL_S if stuck else self._stall_s):
                for text in self._encode(message):
                    await self._websocket.send_text(text)

    def _attach(self, receiver: Receiver | None) -> None:
        """Has audio come by the short cut, where the server has one."""
        short_cut = self._websocket.scope.get("extensions", {}).get(SHORT_CUT)
        if short_cut is not None:
            short_cut["attach"](receiver)

    # What is up to the protocol.

    def _subprotocol(self) -> str | None:
        """The one to agree on, of those that the client offers."""
        return None

    @abstractmethod
    def _begin(self, limits: StreamLimits, session_id: str) -> LiveSession[MessageT]: ...

    def _close_reason(self) -> str:
        """What the close frame says, where no message could."""
        return ""

    @abstractmethod
    def _encode(self, message: MessageT) -> Sequence[str]:
        """A message as text frames, of which there may be none."""

    @abstractmethod
    def _error_code(self, message: MessageT) -> str | None:
        """The code of an error, for the metrics; None for all else."""

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
