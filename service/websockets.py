"""uvicorn's WebSockets, but for their ends and for clients that do not read."""

from __future__ import annotations

from asyncio import TimerHandle

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# What a client gets to take what was still to be sent; uvicorn itself waits 10 s for its close.
LINGER_S = 20.0


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, but a shutdown leaves to the application how its WebSockets end.

    uvicorn closes each without a word, and answers a handshake under way with a bare 500, which
    is a fault to any client. The application ends its streams by itself: those that it has by
    draining, one whose handshake comes late with the error and the close of a server that is
    shutting down. Whatever it fails to end is cancelled when uvicorn's patience ends.

    And nothing piles up for a client that doesn't read: its pings get no pongs meanwhile, and
    what it doesn't take after the end is dropped with the connection.
    """

    _linger: TimerHandle | None = None

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if not self.disconnected:
            self._linger = self.loop.call_later(LINGER_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._linger is not None:
            self._linger.cancel()
        super().connection_lost(exc)

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()  # dropped

    def shutdown(self) -> None:
        if self.close_sent:  # and only the client's reply is still awaited
            super().shutdown()
