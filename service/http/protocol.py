"""uvicorn's HTTP/1.1 connections, but each within bounds of bytes, of time and of work a turn."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.allowance import Allowance

MAX_HEAD_BYTES, MAX_HEADERS = 2**16, 100  # of one request
# A small request takes about a millisecond of the event loop, and it is as short of that as
# live streams are.
REQUESTS_A_TURN = 4
# Bytes that are parsed at a time: of heads, of which few shall be in one piece, and of bodies.
PIECE, BODY_PIECE = 2**8, 2**16
CHECKS = 5  # of a client that doesn't read, in `stall_s`


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, with bounds that its parser does not have.

    - A request's line and headers have so many bytes and come within `head_s`: else 431, or the
      end of the connection, which has to be of use within that time again and again.
    - Of all connections together only so many requests begin in a turn: further ones wait.
    - Requests that are sent before the answers to earlier ones wait unread.
    - A client that takes nothing of its answer for `stall_s` loses the connection.
    - Where more than `most` connections are open, one that waits for a request gives way; none
      could if all were WebSockets, so these may be `most_sockets`: then 503.

    Args:
        head_s: seconds for a request's head.
        stall_s: seconds without progress in writing.
        most, most_sockets: connections of this process, and WebSockets among them.
        allowance: of requests, of all connections together.
    """

    def __init__(
        self,
        *args: Any,
        head_s: float,
        stall_s: float,
        most: int,
        most_sockets: int,
        allowance: Allowance,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._head_s, self._stall_s, self._most = head_s, stall_s, most
        self._most_sockets, self._allowance = most_sockets, allowance
        self._unread = bytearray()
        self._held = False  # whether it is for us that reading is paused
        self._in_head, self._head_bytes = True, 0
        self._refused = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self._most:
            idle = [c for c in self.connections if isinstance(c, HttpProtocol) and c.waits]
            oldest = min(idle, key=lambda c: c._head_timer.when() if c._head_timer else 0.0)
            oldest.transport.abort()

    @property
    def waits(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._unread.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) > len(data):  # what is there waits for its turn
            self._hold()
        else:
            self._read_on()

    def _hold(self) -> None:
        self._held = True
        self.flow.pause_reading()

    def _read_on(self) -> None:
        while self._unread and not self.transport.is_closing():
            if self.pipeline:  # a request that waits for its predecessor's answer
                self._hold()
                return
            if self._in_head and self._allowance.left <= 0:
                self._hold()
                self._allowance.wait(self.client and self.client[0], self._read_on)
                return
            size = PIECE if self._in_head else BODY_PIECE
            piece = bytes(self._unread[:size])
            del self._unread[:size]
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self.transport.get_protocol() is not self:  # it is a WebSocket from now on
                self.transport.resume_reading()  # which had its turn late, perhaps
                return
            if self.waits and self._head_timer is None:
                self._await_head()
            if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse()
        if self._held and not self.transport.is_closing():
            self._held = False
            if self.waits or len(self.cycle.body) <= HIGH_WATER_LIMIT:
                self.flow.resume_reading()

    # A request's head.

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            self._refused = True
            raise httptools.HttpParserError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._allowance.spend(1)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._refused:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self, status: int = 431) -> None:
        if not self.transport.is_closing():
            self.transport.write(
                STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_s, self._head_too_late)

    def _head_too_late(self) -> None:
        self._head_timer = None
        if self.waits:
            self.transport.close()

    def handle_websocket_upgrade(self) -> None:
        sockets = sum(not isinstance(other, HttpProtocol) for other in self.connections)
        if sockets >= self._most_sockets:
            return self._refuse(503)
        self._forget()
        super().handle_websocket_upgrade()

    # Its answer.

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which resumes reading
        if self._unread:
            self._hold()
            self.loop.call_soon(self._read_on)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._forget_stall()
        self._watch(self.transport.get_write_buffer_size(), CHECKS)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_stall()

    def _watch(self, before: int, left: int) -> None:
        self._stall_timer = self.loop.call_later(self._stall_s / CHECKS, self._check, before, left)

    def _check(self, before: int, left: int) -> None:
        now = self.transport.get_write_buffer_size()
        if now < before:
            self._watch(now, CHECKS)
        elif left > 1:
            self._watch(before, left - 1)
        else:
            self.transport.abort()

    def _forget(self) -> None:
        """Nothing more is awaited."""
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._stall_timer = None

    def _forget_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
