"""uvicorn's WebSockets, but for audio, for their ends and for clients that do not read."""

from __future__ import annotations

from asyncio import BaseTransport, TimerHandle
from collections.abc import Callable

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service.websocket_frames import Splitter

# An extension in an ASGI scope. Its `attach` is given a function that takes binary messages as they
# come; where it says False, or None is given, they are received as usual.
SHORT_CUT = "convad.short_cut"
Sink = Callable[[bytes], bool]

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

    Small binary messages may take a short cut past ASGI, in which each wakes a task.
    """

    _linger: TimerHandle | None = None
    _sink: Sink | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        self._splitter = Splitter()
        super().connection_made(transport)

    def attach(self, sink: Sink | None) -> None:
        """See `SHORT_CUT`."""
        self._sink = sink

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            return
        pieces = self._splitter.push(data)
        for i, (raw, audio) in enumerate(pieces):
            if audio is None:
                super().data_received(raw)
            elif not self._takes(audio):  # and what follows has to wait behind it
                super().data_received(b"".join(piece.raw for piece in pieces[i:]))
                return

    def _takes(self, audio: bytes) -> bool:
        # What waits to be received came before.
        return self._sink is not None and self.queue.empty() and self._sink(audio)

    async def run_asgi(self) -> None:
        extensions = self.scope.setdefault("extensions", {})
        extensions[SHORT_CUT] = {"attach": self.attach}
        try:
            await super().run_asgi()
        finally:
            del extensions[SHORT_CUT]  # which refers back to this: nobody would be freed at once
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
