"""convad over HTTP and WebSocket: FastAPI on top of `vad`, no signal processing of its own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.app import create_app
    from service.server import create_server, serve
    from service.settings import Settings

__all__ = ["Settings", "create_app", "create_server", "serve"]

# Imported when first asked for: the decoding processes, which are made of this package too,
# need neither torch nor FastAPI.
_LAZY = {
    "Settings": "service.settings",
    "create_app": "service.app",
    "create_server": "service.server",
    "serve": "service.server",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return found
