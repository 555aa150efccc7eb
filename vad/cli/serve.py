"""`vad serve`."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer


def serve(
    host: Annotated[
        str | None, typer.Option(metavar="NAME", help="Else VAD_HOST, else 127.0.0.1.")
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="N", help="Else VAD_PORT, else 8000.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Else VAD_MODEL.")] = None,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="Else VAD_DEVICE.")] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes. Else VAD_WORKERS, else 1.")
    ] = None,
) -> None:
    """Serve HTTP and WebSocket; every other setting is a VAD_… variable."""
    given: dict[str, str | int | None] = {"host": host, "port": port, "model": model}
    given |= {"device": device, "workers": workers}
    # The service stands on this library, so the library knows it by name alone.
    service = importlib.import_module("service")
    service.serve(**{name: value for name, value in given.items() if value is not None})
