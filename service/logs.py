"""Structured logs and the id that ties each record to its request. Audio is never logged."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import uuid
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import Processor

from service.errors import ShuttingDown
from service.problems import problem_response
from service.settings import Settings

if TYPE_CHECKING:
    from service.state import Service

HEADER = "X-Request-ID"
_SANE_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)

log = structlog.get_logger(__name__)


def _renderers(settings: Settings) -> tuple[Processor, ...]:
    # Both without the values of local variables, which structlog would add: audio is among them.
    if settings.log_format == "json":
        plain = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return (
            structlog.processors.ExceptionRenderer(plain),
            structlog.processors.JSONRenderer(),
        )
    return (
        structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        ),
    )


def configure(settings: Settings) -> None:
    """Makes the service's own records one line each on standard output."""
    structlog.configure(processors=[*_SHARED, *_renderers(settings)])


def configure_stdlib(settings: Settings) -> None:
    """Gives records of the standard `logging`, such as uvicorn's, the same form."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def choose_request_id(headers: Mapping[str, str]) -> str:
    """The client's own id where it is fit for a log line and a header, else a new one."""
    given = headers.get(HEADER, "")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


class RequestContext:
    """ASGI middleware: gives each request its id, logs and counts it, catches the unforeseen.

    The unforeseen is caught here rather than in Starlette's outermost layer so that even its
    500 carries the request id and shows in log and metrics. So is what uvicorn cancels at the
    end of a shutdown's grace, which would be a 500 of its own.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        request_id = choose_request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        status: int | None = None

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.accept"):
                status = message.get("status", 101)
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        started = perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, tagged)
            except (Exception, asyncio.CancelledError) as exc:
                why = self._told(exc)
                begun = status is not None
                if why is None or scope["type"] == "websocket" or (begun and why is exc):
                    raise
                if not begun:  # else uvicorn says that the answer is incomplete, and closes
                    await problem_response(Request(scope), why)(scope, receive, tagged)
            finally:
                if scope["type"] == "http":
                    self._record(scope, status, perf_counter() - started)

    def _told(self, exc: BaseException) -> Exception | None:
        """What a client is told of an exception, if anything."""
        if isinstance(exc, Exception):
            return exc
        late = ShuttingDown("the server is shutting down and could not finish this request")
        return late if self._service.draining else None

    def _record(self, scope: Scope, status: int | None, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        # Labels must come from a small set: whoever sends requests chooses method and path.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        outcome = "aborted" if status is None else str(status)
        self._service.metrics.requests.labels(route=route, method=method, status=outcome).inc()
        self._service.metrics.request_seconds.labels(route=route).observe(seconds)
        fields: dict[str, Any] = {"method": method, "path": scope["path"], "status": outcome}
        log.info("request", **fields, duration_ms=round(seconds * 1000, 1))
