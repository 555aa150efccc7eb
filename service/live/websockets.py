"""uvicorn's WebSockets, but for audio, for floods, for their ends and for who does not read."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle, get_running_loop
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

# An extension in an ASGI scope. Its `attach` is given a `Receiver`, or None.
SHORT_CUT = "convad.short_cut"

# What a client gets to take what was still to be sent; uvicorn itself waits 10 s for its close.
LINGER_S = 20.0

# Frames that are no audio take longer to read than to send. So many of all connections are read
# in a turn, and the next turn is not before `SHARE` times what that took: the rest of the time is
# for everybody else. Data is cut so that few more can be in one piece.
FRAMES_A_TURN, TURN_S, SHARE = 64, 0.008, 4
PIECE = 1024  # bytes

# uvicorn says of each connection what was asked for, query and all: there may be secrets in it.
_LOGGER = logging.getLogger("uvicorn.error.websockets")
_LOGGER.setLevel(logging.WARNING)


class Receiver(Protocol):
    """Who takes what comes, past ASGI, where each message wakes a task."""

    def offer(self, data: bytes) -> bool:
        """Takes a binary message; False has it received as usual."""
        ...

    def count(self, frames: int) -> None:
        """So many pings, or other frames without content, have come."""
        ...


class Allowance:
    """How many frames that are no audio may be read in a turn, of all connections together."""

    def __init__(self) -> None:
        self._left = FRAMES_A_TURN
        self._taken_s = 0.0  # in this turn
        self._waiting: deque[Callable[[], None]] = deque()
        self._loop: AbstractEventLoop | None = None
        self._timer: TimerHandle | None = None

    @property
    def left(self) -> bool:
        """Whether anybody may go on reading."""
        return self._left > 0

    def spend(self, frames: int, seconds: float) -> None:
        """So many have been read, in so much time."""
        self._left -= frames
        self._taken_s += seconds
        self._renew_soon()

    def wait(self, read_on: Callable[[], None]) -> None:
        """Calls once there is more, whoever waits longest first."""
        self._waiting.append(read_on)
        self._renew_soon()

    def _renew_soon(self) -> None:
        if self._timer is None:
            self._timer = get_running_loop().call_later(TURN_S, self._renew)

    def _renew(self) -> None:
        self._timer = None
        if (rest := SHARE * self._taken_s - TURN_S) > 0:
            self._taken_s = 0.0
            self._timer = get_running_loop().call_later(rest, self._renew)
            return
        self._left, self._taken_s = FRAMES_A_TURN, 0.0
        while self._waiting and self.left:
            self._waiting.popleft()()
        if self._waiting:
            self._renew_soon()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, but a shutdown leaves to the application how its WebSockets end.

    uvicorn closes each without a word, and answers a handshake under way with a bare 500, which
    is a fault to any client. The application ends its streams by itself: those that it has by
    draining, one whose handshake comes late with the error and the close of a server that is
    shutting down. Whatever it fails to end is cancelled when uvicorn's patience ends.

    Nothing piles up for a client that doesn't read: its pings get no pongs meanwhile, and what
    it doesn't take after the end is dropped with the connection. And none that floods its
    connection keeps others waiting: what is beyond the allowance is read later.

    Args:
        allowance: of all connections together.
    """

    def __init__(self, *args: Any, allowance: Allowance, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _LOGGER
        self._allowance = allowance
        self._unread = bytearray()
        self._receiver: Receiver | None = None
        self._linger: TimerHandle | None = None
        self._frames = self._empty = 0  # of the piece in hand: no audio, and without content

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
        elif self._unread:  # somebody else had reading resumed
            self._unread += data
            self._pause()
        else:
            self._unread += data
            self._read_on()

    def _read_on(self) -> None:
        while self._unread and not self.transport.is_closing():
            if not self._allowance.left:
                self._pause()
                self._allowance.wait(self._read_on)
                return
            piece = bytes(self._unread[:PIECE])
            del self._unread[:PIECE]
            started = perf_counter()
            super().data_received(piece)
            if self._frames:
                self._allowance.spend(self._frames, perf_counter() - started)
                if self._empty and self._receiver is not None:
                    self._receiver.count(self._empty)
                self._frames = self._empty = 0
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _pause(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    async def receive(self) -> Any:
        message = await super().receive()
        if self._unread:
            self._pause()
        return message

    def handle_bytes(self, event: Frame) -> None:
        if not event.data:
            self._empty_frame()
        # What waits to be received came before.
        whole = event.fin and not self.close_sent and self.queue.empty()
        if not whole or self._receiver is None or not self._receiver.offer(bytes(event.data)):
            super().handle_bytes(event)

    def handle_text(self, event: Frame) -> None:
        self._frames += 1
        super().handle_text(event)

    def handle_cont(self, event: Frame) -> None:
        self._empty_frame()
        super().handle_cont(event)

    def handle_pong(self, event: Frame) -> None:
        self._empty_frame()
        super().handle_pong(event)

    def handle_ping(self) -> None:
        self._empty_frame()
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()  # dropped

    def _empty_frame(self) -> None:
        self._frames += 1
        self._empty += 1

    async def run_asgi(self) -> None:
        extensions = self.scope.setdefault("extensions", {})
        extensions[SHORT_CUT] = {"attach": self._attach}
        try:
            await super().run_asgi()
        finally:
            del extensions[SHORT_CUT]  # which refers back to this: nobody would be freed at once
        if not self.disconnected:
            self._linger = self.loop.call_later(LINGER_S, self.transport.abort)

    def _attach(self, receiver: Receiver | None) -> None:
        self._receiver = receiver

    def connection_lost(self, exc: Exception | None) -> None:
        if self._linger is not None:
            self._linger.cancel()
        self._unread.clear()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self.close_sent:  # and only the client's reply is still awaited
            super().shutdown()
