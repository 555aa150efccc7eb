"""Traces for OpenTelemetry, where they are asked for.

    request ── file ─┬ decode      HTTP: one span a file, its parts, and what became of it
                     ├ inference
                     └ format
    stream                         WebSocket: one span a connection
    tick                           live audio: turns that kept streams waiting, with their number

On with the extra `otel` and OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT),
which names a collector of OTLP over HTTP; all other settings are OpenTelemetry's own, such as
OTEL_SERVICE_NAME and OTEL_TRACES_SAMPLER. A client's `traceparent` is the request's parent. Off,
nothing is imported and no time is spent. Spans hold numbers and names, never audio.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vad import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

# A turn of live streams has a span only if it lasts so long: each second has a hundred others.
SLOW_TICK_S = 0.05

log = structlog.get_logger(__name__)


class Tracing:
    """Makes spans.

    Args:
        provider: of OpenTelemetry's SDK; ended by `close`.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import context, propagate, trace

        self._provider, self._trace, self._propagate = provider, trace, propagate
        self._here = context.get_current
        self._tracer = provider.get_tracer("convad", __version__)

    def here(self) -> Context:
        """Whatever span is under way here, to be the parent of others elsewhere."""
        return self._here()

    def span(
        self, name: str, start: float, seconds: float, parent: Context | None = None, **about: Any
    ) -> Context:
        """Something that is over.

        Args:
            start: by `time.time`.
            seconds: how long it took.
            parent: None: a trace of its own.
            about: attributes.

        Returns:
            The parent of what was part of it.
        """
        begun = int(start * 1e9)
        span = self._tracer.start_span(
            name,
            parent or self._trace.set_span_in_context(self._trace.INVALID_SPAN),
            start_time=begun,
            attributes=about,
        )
        span.end(begun + int(seconds * 1e9))
        return self._trace.set_span_in_context(span)

    def tick(self, seconds: float, streams: int) -> None:
        """A turn of live streams has ended; told if it was slow."""
        if seconds >= SLOW_TICK_S:
            self.span("tick", time.time() - seconds, seconds, streams=streams)

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Calls an ASGI application within a span of its own."""
        kind = self._trace.SpanKind.SERVER
        parent = self._propagate.extract(Headers(scope=scope))
        with self._tracer.start_as_current_span(scope["type"], parent, kind) as span:

            async def told(message: Message) -> None:
                if message["type"] in ("http.response.start", "websocket.http.response.start"):
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(self._trace.StatusCode.ERROR)
                elif message["type"] == "websocket.close":
                    span.set_attribute("websocket.close_code", message.get("code", 1000))
                await send(message)

            try:
                await app(scope, receive, told)
            finally:
                route = getattr(scope.get("route"), "path", "unmatched")
                span.update_name(f"{scope.get('method', 'WS')} {route}")
                span.set_attributes(_about(scope, route))

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()


class Requests:
    """ASGI middleware: a span for each request and stream."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self.app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        await self._tracing.run(self.app, scope, receive, send)


def _about(scope: Scope, route: str) -> dict[str, str]:
    about = {"http.route": route, "http.request.method": scope.get("method", "GET")}
    if request_id := scope.get("state", {}).get("request_id"):
        about["convad.request_id"] = request_id
    return about


def from_environment(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Traces as OpenTelemetry's variables ask for them; None if they don't."""
    asked = next((name for name in _ENDPOINTS if environment.get(name)), None)
    if asked is None or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("no_traces", reason=f"{asked} is set: pip install '.[otel]' in a checkout")
        return None
    named = Resource({SERVICE_NAME: "convad"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=named)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
