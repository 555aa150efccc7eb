"""uvicorn's WebSockets, but for audio, for floods, for their ends and for who does not read."""

from __future__ import annotations

import logging
from asyncio import TimerHandle
from time import perf_counter
from typing import Any, Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from service.allowance import Allowance

# An extension in an ASGI scope. Its `attach` is given a `Receiver`, or None.
SHORT_CUT = "convad.short_cut"

# What a client gets to take what was still to be sent; uvicorn itself waits 10 s for its close.
LINGER_S = 20.0

# Frames that are no audio take longer to read than to send: so many are read in a turn. Data is
# cut so that few more can be in one piece.
FRAMES_A_TURN = 64
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
            if self._allowance.left <= 0:
                self._pause()
                self._allowance.wait(self.client and self.client[0], self._read_on)
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
