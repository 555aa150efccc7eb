"""Live audio over the WebSocket, for asyncio."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Any, Self, Unpack
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from vad.client.connecting import CONNECT_S, Config
from vad.client.errors import (
    ConnectionFailed,
    Refused,
    StreamLost,
    Unavailable,
    refusal,
    refusal_of_response,
)
from vad.client.files import Thresholds, as_query
from vad.client.session import Session, SessionInfo, StreamSummary
from vad.errors import StreamClosed
from vad.events import Event

ABNORMAL_CLOSURE = 1006  # stands for a connection that went without a close frame
# Audio that waits in the service holds up its pongs, so only a long silence means anything.
SILENCE_S = 60


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


class AsyncStream:
    """One live stream; made by `AsyncClient.stream` and used with `async with`.

    One task may send while another iterates. Events wait in memory until they are read.
    Iteration ends when the service has told everything, which is after `end`.

    A stream can't be resumed: what the service heard is gone with the connection. If that
    breaks, a segment that was open is ended with the reason "disconnect" and StreamLost is
    raised, or with `reconnect` a new connection is made, where times and ids go on.
    """

    def __init__(self, params: Mapping[str, Any], config: Config, reconnect: bool) -> None:
        self._session = Session(params)
        self._config, self._reconnect = config, reconnect
        self._connection: ClientConnection | None = None
        self._usable = asyncio.Event()  # there is a connection, or there will be none
        self._inbox = Inbox()
        self._failure: Exception | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def info(self) -> SessionInfo:
        """What the service said when the stream was opened.

        Raises:
            StreamClosed: it was not opened yet.
        """
        if self._session.info is None:
            raise StreamClosed("the stream is not open: use it in a with block")
        return self._session.info

    @property
    def summary(self) -> StreamSummary | None:
        """Totals, once the stream has ended in good order."""
        return self._session.summary

    @property
    def audio_ms(self) -> int:
        """Audio sent so far, on the scale of the events' times."""
        return self._session.audio_ms

    async def send(self, audio: bytes | bytearray | memoryview) -> None:
        """Sends audio of the declared encoding, any number of bytes.

        Waits while the service is slower than the audio, and while a connection is made anew.

        Raises:
            StreamLost, Refused, ConnectionFailed: the stream is over.
            StreamClosed: after `end`, or outside the `with` block.
        """
        rest = memoryview(audio).cast("B")
        while rest:
            connection = await self._current()
            rest = rest[self._session.drop(len(rest)) :]
            piece = rest[: self._session.message_bytes]
            if piece and await self._delivered(connection, bytes(piece)):
                self._session.sent(len(piece))
                rest = rest[len(piece) :]

    async def update(self, **thresholds: Unpack[Thresholds]) -> None:
        """Changes thresholds from the next frame not yet computed.

        A value that the service refuses comes out of the iteration as InvalidParameter, after
        which the iteration can go on.

        Raises:
            StreamLost, Refused, ConnectionFailed: the stream is over.
            StreamClosed: after `end`, or outside the `with` block.
        """
        connection = await self._current()
        if await self._delivered(connection, _message("session.update", **thresholds)):
            self._session.params.update(thresholds)

    async def flush(self) -> None:
        """Closes an open segment now."""
        await self._delivered(await self._current(), _message("flush"))

    async def reset(self) -> None:
        """Closes an open segment and forgets all sound heard; time goes on."""
        await self._delivered(await self._current(), _message("reset"))

    async def keepalive(self) -> None:
        """Shows that the stream is still wanted while there is no audio."""
        await self._delivered(await self._current(), _message("keepalive"))

    async def end(self) -> None:
        """No more audio: what is left to say comes out of the iteration, which then ends."""
        while not self._session.ending:
            if await self._delivered(await self._current(), _message("end")):
                self._session.ending = True

    def poll(self) -> list[Event]:
        """The events that have arrived, without waiting.

        Raises:
            StreamLost, Refused: in the place of the events that would follow; those that came
                before are returned first.
        """
        return self._inbox.poll()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self._inbox.get()

    async def __aenter__(self) -> Self:
        self._connection = await self._connect(again=False)
        self._usable.set()
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Goes away, whatever is still to be said."""
        self._fail(StreamClosed("the stream is closed"))
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._connection is not None:
            await self._connection.close()

    async def _current(self) -> ClientConnection:
        """The connection, once there is one that works."""
        await self._usable.wait()
        if self._failure is not None:
            raise self._failure
        if self._session.ending or self._connection is None:
            raise StreamClosed("the stream has ended: open a new one")
        return self._connection

    async def _delivered(self, connection: ClientConnection, message: str | bytes) -> bool:
        """Whether a message went out before the connection broke, as far as one can tell."""
        try:
            await connection.send(message)
        except ConnectionClosed:
            # The reader learns of it too, and finds a new one or gives up.
            if connection is self._connection:
                self._usable.clear()
            return False
        return connection is self._connection and self._usable.is_set()

    def _fail(self, failure: Exception | None) -> None:
        self._failure = self._failure or failure
        self._inbox.close(self._failure)
        self._usable.set()

    async def _read(self) -> None:
        """Takes messages until the stream's end, from one connection after another."""
        try:
            while (failure := await self._exhausted()) is not None:
                if not isinstance(failure, StreamLost) or self._session.ending:
                    break
                pause = failure.retry_after or 0.0
                if not self._reconnect or pause > self._config.retry.longest_s:
                    break
                await asyncio.sleep(pause)
                self._connection = await self._connect(again=True)
                self._usable.set()
        except Exception as exc:  # whoever reads or sends shall hear of it
            failure = exc
        self._fail(failure)

    async def _exhausted(self) -> Exception | None:
        """Reads a connection to its end; why it ended, if not in good order."""
        connection = self._connection
        assert connection is not None
        try:
            while True:
                item = self._session.receive(str(await connection.recv()))
                if item is not None:
                    self._inbox.put(item)
        except ConnectionClosed as exc:
            code = ABNORMAL_CLOSURE if exc.rcvd is None else exc.rcvd.code
            reason = "" if exc.rcvd is None else exc.rcvd.reason
        if self._session.summary is not None:
            return None
        self._usable.clear()
        stops, failure = self._session.lost(code, reason)
        for stop in stops:
            self._inbox.put(stop)
        return failure

    async def _connect(self, *, again: bool) -> ClientConnection:
        """A connection to which the service has said welcome.

        Args:
            again: the service was there a moment ago, so it's worth waiting for its return.

        Raises:
            Refused, ConnectionFailed: it won't have the stream, or isn't there.
        """
        for tried in count():
            try:
                return await self._dial()
            except (Refused, ConnectionFailed) as exc:
                pause = self._config.retry.pause(tried, exc)
                if pause is None or not _may_pass(exc, again):
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _dial(self) -> ClientConnection:
        url = self._config.stream_url
        try:
            connection = await connect(
                f"{url}?{urlencode(as_query(self._session.params))}",
                additional_headers=self._config.headers,
                compression=None,  # PCM doesn't compress
                open_timeout=CONNECT_S,
                ping_timeout=SILENCE_S,
                max_size=None,  # the service's messages are small, and its own
            )
        except InvalidStatus as exc:
            answer = exc.response
            body = bytes(answer.body or b"")
            raise refusal_of_response(answer.status_code, answer.headers, body) from exc
        except (OSError, WebSocketException) as exc:
            raise ConnectionFailed(f"{url} can't be reached: {exc}") from exc
        try:
            await self._welcome(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _welcome(self, connection: ClientConnection) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                problem = self._session.opened(str(await connection.recv()))
                if problem is not None:
                    await connection.wait_closed()
                    raise refusal(problem, connection.close_code)
        except (TimeoutError, ConnectionClosed) as exc:
            raise ConnectionFailed(f"no welcome from {self._config.stream_url}: {exc!r}") from exc


def _may_pass(failure: Refused | ConnectionFailed, again: bool) -> bool:
    """Whether another try makes sense.

    Args:
        failure: of the last one.
        again: while a service restarts, nobody may be there, and a proxy before it, or the
            service itself, may answer with any status from 500 on.
    """
    if isinstance(failure, Unavailable):
        return True
    if isinstance(failure, Refused):
        return again and (failure.problem.status or 0) >= 500
    return again


def _message(type: str, **values: Any) -> str:
    return json.dumps({"type": type, **values})
