"""convad over HTTP and WebSocket: FastAPI on top of `vad`, no signal processing of its own."""

from service.app import create_app
from service.server import create_server, serve
from service.settings import Settings

__all__ = ["Settings", "create_app", "create_server", "serve"]
