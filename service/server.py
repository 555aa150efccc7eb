"""Runs the application under uvicorn, in one process or several, and ends it in good order."""

from __future__ import annotations

import asyncio
import errno
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from service import logs
from service.allowance import Allowance
from service.app import create_app
from service.http.protocol import REQUESTS_A_TURN, HttpProtocol
from service.jobs.runner import check_folder
from service.live.protocol import StreamLimits
from service.live.websockets import FRAMES_A_TURN, WebSocketProtocol
from service.security import hide_environment, warn_if_open
from service.settings import Settings
from service.state import Service, load
from service.supervisor import STARTUP_FAILURE, Supervisor
from vad import Detector, ParameterError, VadError
from vad.nn import weights

log = structlog.get_logger(__name__)
RESERVED = 96  # descriptors that connections leave to the rest of a process
END_S = 1.0  # what requests may take to end once they are cancelled
SPARE = 16  # connections that neither streams nor requests with audio take


class Server(uvicorn.Server):
    """uvicorn, but live streams hear of a shutdown before their sockets close.

    uvicorn's own shutdown closes every WebSocket with 1012 at once, so what the application
    had to say last would be lost. Draining first leaves it none to close. Requests in flight
    get what is left of `shutdown_grace_s`, in whole seconds and at least one.

    Attributes:
        alone: whether the process is the server's, so that a second signal may end it at once.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self.alone = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and self.alone:
            os._exit(128 + sig)
        super().handle_exit(sig, frame)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn raises a captured signal once more when it is done, which would make the orderly
        # end that SIGTERM asks for look like a crash. Signals are the main thread's business.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: None)
        super().run(sockets)
        if self.alone and self._service.stuck:
            sys.stdout.flush()
            os._exit(1)  # Python would wait for the threads

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        started = time.monotonic()
        await self._service.drain()
        left = self._service.settings.shutdown_grace_s - (time.monotonic() - started)
        self.config.timeout_graceful_shutdown = max(1, math.ceil(left))
        await super().shutdown(sockets)
        # Whose client doesn't read stays open, lest a byte be lost; the loop can't close with it.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=END_S)
        await asyncio.sleep(0)


def create_server(settings: Settings, detector: Detector | None = None) -> Server:
    """A server that is ready to run.

    Args:
        settings: where it listens, and all else.
        detector: as for `create_app`.
    """
    app = create_app(settings, detector)
    return Server(_config(app, settings), app.state.service)


def _config(app: FastAPI | str, settings: Settings) -> uvicorn.Config:
    most = _connections(settings)
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=partial(
            HttpProtocol,
            head_s=settings.head_timeout_s,
            stall_s=settings.stream_stall_s,
            most=most,
            most_sockets=max(1, most - settings.max_requests - SPARE),
            allowance=Allowance(REQUESTS_A_TURN),
        ),  # type: ignore[arg-type]
        ws=partial(WebSocketProtocol, allowance=Allowance(FRAMES_A_TURN)),  # type: ignore[arg-type]
        # The limit itself is the session's, which can say so before it closes; this one only
        # keeps a message from filling the memory.
        ws_max_size=2 * StreamLimits.of(settings).max_event_bytes,
        ws_per_message_deflate=False,  # PCM doesn't compress, and trying costs time a message
        # Pongs queue up behind audio that a stream has yet to take, so their lateness says
        # nothing; a client that has gone is found by `stream_idle_s`.
        ws_ping_interval=None,
        access_log=False,  # logs.RequestContext writes one with request ids
        log_config=None,
        server_header=False,
        root_path=settings.root_path,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
    )


def _connections(settings: Settings) -> int:
    """How many may be open, so that files and health checks never lack descriptors."""
    try:
        import resource  # POSIX alone has it
    except ImportError:
        return settings.max_connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(OSError, ValueError):
            soft = hard if hard != resource.RLIM_INFINITY else max(soft, 2**16)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(settings.max_connections, soft - RESERVED))


def serve(**overrides: Any) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        overrides: settings by name; the environment says the rest.

    Raises:
        ParameterError: a setting that is unknown, ill-typed or out of range, or a port where
            another program listens.
        ModelError: the model cannot be loaded.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as exc:
        error = exc.errors()[0]
        name = error["loc"][0] if error["loc"] else "api_keys_file"
        raise ParameterError(f"VAD_{name}".upper(), error["msg"]) from None
    if settings.api_keys or settings.job_secret:
        hide_environment()
    logs.configure(settings)
    logs.configure_stdlib(settings)
    warn_if_open(settings)
    check_folder(settings)
    if settings.workers == 1:
        # Loaded here rather than by the lifespan, where a failure would come out as a traceback.
        server = create_server(settings, load(settings))
        server.alone = True
        _check_port(settings)
        server.run()
        return
    weights.load(settings.model)  # so that what is wrong with them is told once
    _check_port(settings)
    listener = _config("service:create_app", settings).bind_socket()
    sys.exit(Supervisor(settings, work, listener).run())


def _check_port(settings: Settings) -> None:
    """uvicorn would log that it is taken, and not what to do."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as trial:
        if os.name == "posix":  # where it means "though connections of before linger"
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((settings.host, settings.port))
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                raise ParameterError(
                    "VAD_PORT",
                    f"another program listens on {settings.host}:{settings.port}; "
                    "--port or VAD_PORT chooses another port",
                ) from None
            # Whatever else is wrong with the address is told by who listens.


def work(settings: Settings, listener: socket.socket) -> None:
    """What each of several processes does: serves on a socket that all of them share.

    Args:
        settings: of the service.
        listener: bound; the connections go to whoever is free.
    """
    # A Ctrl-C reaches all processes of a terminal; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logs.configure(settings)
    logs.configure_stdlib(settings)
    try:
        detector = load(settings)
    except VadError as exc:
        log.error("worker_failed", reason=str(exc))
        sys.exit(STARTUP_FAILURE)
    if settings.api_keys or settings.job_secret:
        hide_environment()
    server = create_server(settings, detector)
    server.alone = True
    server.run([listener])


def _end_with_parent() -> None:
    """Lest workers of a parent that was killed hold its port for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
