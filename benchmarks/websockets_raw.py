"""A WebSocket client that costs next to nothing, so that the server is what is measured.

It sends binary frames made beforehand (masked with zeros, which changes nothing in them) and
takes text frames apart; all streams share one clock.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable


def frame(payload: bytes, text: bool = False) -> bytes:
    """One whole message from a client."""
    kind = 0x81 if text else 0x82
    if len(payload) < 126:
        head = bytes([kind, 0x80 | len(payload)])
    else:
        head = struct.pack("!BBH", kind, 0x80 | 126, len(payload))
    return head + bytes(4) + payload


class Client(asyncio.Protocol):
    """One connection.

    Args:
        path: of the request.
        on_message: gets each text message.
    """

    def __init__(self, path: str, on_message: Callable[[bytes], None]) -> None:
        self._path, self._on_message = path, on_message
        self._received = b""
        self._open = False
        self.lost = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.send(
            f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def send(self, data: bytes) -> None:
        self._transport.write(data)

    def close(self) -> None:
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("refused"))

    def data_received(self, data: bytes) -> None:
        data = self._received + data
        if not self._open:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._received = head
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0] + b" ":
                self._transport.abort()
                return
            self._open = True
            self.opened.set_result(None)
        self._received = self._messages(data)

    def _messages(self, data: bytes) -> bytes:
        """Hands on what is whole; returns the rest."""
        at = 0
        while len(data) - at >= 2:
            kind, size, start = data[at] & 0x0F, data[at + 1] & 0x7F, at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if start > len(data) or len(data) - start < size:
                break
            at = start + size
            if kind == 1:
                self._on_message(data[start:at])
        return data[at:]
