"""How WebSockets end when the server does."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, but a shutdown leaves to the application how its WebSockets end.

    uvicorn closes each without a word, and answers a handshake under way with a bare 500, which
    is a fault to any client. The application ends its streams by itself: those that it has by
    draining, one whose handshake comes late with the error and the close of a server that is
    shutting down. Whatever it fails to end is cancelled when uvicorn's patience ends.
    """

    def shutdown(self) -> None:
        if self.close_sent:  # and only the client's reply is still awaited
            super().shutdown()
