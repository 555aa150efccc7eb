"""What each exception means to a client: RFC 9457 problems and WebSocket close codes.

`PROBLEMS` is the only place that knows. An exception that it does not name takes the entry of
its nearest ancestor; one that has none there is a fault of the server: 500 without details.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Match

from service import errors as service
from service.errors import FieldError, InvalidFields
from vad import errors as vad
from vad.events import StopReason

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ProblemType:
    """One kind of failure.

    Attributes:
        slug: its name: end of the problem's `type`, `code` of a stream's `error`, metrics label.
        status: over HTTP.
        title: the same for every occurrence.
        close_code: of the WebSocket that it ends (RFC 6455 §7.4.1).
        retry_after: seconds after which trying again makes sense.
        stop_reason: what a segment that it ends is told to have ended by.
    """

    slug: str
    status: int
    title: str
    close_code: int = 1008
    retry_after: int | None = None
    stop_reason: StopReason = "error"

    @property
    def uri(self) -> str:
        return f"urn:problem-type:convad:{self.slug}"


INTERNAL = ProblemType("internal", 500, "The server failed", 1011)

PROBLEMS: Mapping[type[BaseException], ProblemType] = {
    vad.VadError: INTERNAL,
    vad.ParameterError: ProblemType("invalid-parameter", 422, "A parameter is invalid"),
    vad.AudioError: ProblemType("undecodable-audio", 400, "The audio can't be decoded", 1007),
    vad.UnsupportedAudio: ProblemType("unsupported-audio", 415, "Audio of an unsupported form"),
    vad.AudioTooLong: ProblemType("audio-too-long", 413, "Too many seconds of audio", 1009),
    vad.DecodedTooLarge: ProblemType("decoded-too-large", 413, "Too much audio", 1009),
    vad.DecodeTooSlow: ProblemType("decode-too-slow", 504, "Decoding took too long", 1011),
    vad.ModelNotFound: ProblemType("model-not-found", 422, "No such model"),
    vad.FormatError: ProblemType("malformed-labels", 400, "Labels that don't parse", 1007),
    vad.MissingExtra: ProblemType("not-installed", 501, "Not installed on this server", 1011),
    service.ServiceError: INTERNAL,
    service.NotReady: ProblemType("not-ready", 503, "The model is loading", 1013, 1),
    service.ShuttingDown: ProblemType(
        "shutting-down", 503, "Shutting down", 1012, 1, stop_reason="shutdown"
    ),
    service.Unauthorised: ProblemType("unauthorised", 401, "Not authorised"),
    service.OriginNotAllowed: ProblemType("origin-not-allowed", 403, "Origin not allowed"),
    service.HostNotAllowed: ProblemType("host-not-allowed", 421, "Host not served here"),
    service.UnknownPath: ProblemType("not-found", 404, "Nothing is served there"),
    service.TooManyStreams: ProblemType("too-many-streams", 503, "Too many streams", 1013, 5),
    service.KeyStreamsTaken: ProblemType(
        "too-many-streams-of-key", 429, "Too many streams of one client", 1013, 5
    ),
    service.TooManyRequests: ProblemType("too-many-requests", 503, "Too many requests", 1013, 5),
    service.KeyRequestsTaken: ProblemType(
        "too-many-requests-of-key", 429, "Too many requests of one client", 1013, 5
    ),
    service.ClientGone: ProblemType("client-gone", 499, "The client has gone", 1001),
    service.InvalidFields: ProblemType("invalid-parameter", 422, "A parameter is invalid"),
    service.BodyTooLarge: ProblemType("body-too-large", 413, "The body is too large", 1009),
    service.BodyTooSlow: ProblemType("body-too-slow", 408, "The body arrives too slowly"),
    service.StorageFull: ProblemType("storage-full", 507, "No room for the body", 1011),
    service.TooManyFiles: ProblemType("too-many-files", 413, "Too many files"),
    service.MalformedBody: ProblemType("malformed-body", 400, "The body doesn't parse"),
    service.UnsupportedMedia: ProblemType("unsupported-media", 415, "Unsupported media type"),
    service.NotAcceptable: ProblemType("not-acceptable", 406, "No acceptable answer"),
    service.JobsOff: ProblemType("jobs-off", 404, "Jobs are off on this server"),
    service.JobsBusy: ProblemType("jobs-busy", 503, "Jobs can't be kept now", 1013, 1),
    service.UnknownJob: ProblemType("job-not-found", 404, "No such job"),
    service.TooManyJobs: ProblemType("too-many-jobs", 503, "Too many jobs", 1013, 60),
    service.KeyJobsTaken: ProblemType(
        "too-many-jobs-of-client", 429, "Too many jobs of one client", 1013, 60
    ),
    service.UrlRefused: ProblemType("url-refused", 403, "The URL may not be asked for"),
    service.HostUnavailable: ProblemType("host-unavailable", 502, "The host does not answer", 1011),
    service.StreamError: ProblemType("stream-error", 400, "The stream can't go on"),
    service.UnknownMessage: ProblemType("unknown-message", 400, "Unknown message type"),
    service.NotAllowed: ProblemType("not-allowed", 400, "Not allowed in this state"),
    service.MalformedMessage: ProblemType("malformed-message", 400, "Malformed message", 1007),
    service.UnsupportedFrame: ProblemType("unsupported-frame", 400, "Unsupported frame", 1003),
    service.MessageTooLarge: ProblemType(
        "message-too-large", 413, "Message too large", 1009, stop_reason="limit"
    ),
    service.TooManyMessages: ProblemType(
        "too-many-messages", 429, "Too many messages", 1008, 5, stop_reason="limit"
    ),
    service.StreamIdle: ProblemType("stream-idle", 408, "The stream was idle", stop_reason="limit"),
    service.StreamTooLong: ProblemType(
        "stream-too-long", 413, "The stream is too long", stop_reason="limit"
    ),
    service.StreamTooFast: ProblemType(
        "stream-too-fast", 429, "The stream is too fast", 1008, 5, stop_reason="limit"
    ),
    service.StreamStalled: ProblemType(
        "stream-stalled", 503, "The stream got stuck", 1013, 5, stop_reason="limit"
    ),
}


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldError] | None = None
    request_id: str

    def to_json(self) -> str:
        return self.model_dump_json(exclude_none=True)


def problem_type(exc: BaseException) -> ProblemType:
    """The entry of an exception's class or of its nearest ancestor."""
    return next((PROBLEMS[c] for c in type(exc).__mro__ if c in PROBLEMS), INTERNAL)


def detail(exc: BaseException) -> str:
    """What a client may read about it: nothing of the server's inside."""
    if problem_type(exc) is INTERNAL:
        return "The server failed; it has logged why under this request_id."
    return str(exc) or problem_type(exc).title


def field_errors(exc: BaseException) -> tuple[FieldError, ...]:
    """The fields that an exception blames."""
    if isinstance(exc, InvalidFields):
        return exc.errors
    if isinstance(exc, vad.ParameterError):
        return (FieldError(exc.param, exc.message),)
    return (FieldError("model", str(exc)),) if isinstance(exc, vad.ModelNotFound) else ()


def request_id(connection: HTTPConnection) -> str:
    """The id that `logs.RequestContext` gave to this request."""
    return str(connection.scope["state"]["request_id"])


def problem(request: HTTPConnection, exc: BaseException) -> Problem:
    """An exception as its problem object; counted, and logged where the server is at fault."""
    kind = problem_type(exc)
    request.app.state.service.metrics.rejections.labels(reason=kind.slug).inc()
    if kind is INTERNAL:
        log.error("request_failed", exc_info=exc)
    return Problem(
        type=kind.uri,
        title=kind.title,
        status=kind.status,
        detail=detail(exc),
        instance=request.url.path,
        errors=list(field_errors(exc)) or None,
        request_id=request_id(request),
    )


def problem_response(request: HTTPConnection, exc: BaseException) -> Response:
    """An exception as an HTTP response."""
    kind = problem_type(exc)
    headers = {} if kind.retry_after is None else {"Retry-After": str(kind.retry_after)}
    if isinstance(exc, service.Unauthorised):
        headers["WWW-Authenticate"] = exc.challenge
    body = problem(request, exc).to_json()
    return Response(body, kind.status, headers, MEDIA_TYPE)


async def _handle(request: Request, exc: Exception) -> Response:
    return problem_response(request, exc)


async def _handle_validation(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    found = [FieldError(".".join(map(str, e["loc"][1:])), e["msg"]) for e in exc.errors()]
    return problem_response(request, InvalidFields(*found))


async def _handle_http(request: Request, exc: Exception) -> Response:
    """Starlette's own errors, such as 404: a status and no more, hence `about:blank`."""
    assert isinstance(exc, HTTPException)
    title = HTTPStatus(exc.status_code).phrase
    headers = dict(exc.headers or {})
    if exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
    request.app.state.service.metrics.rejections.labels(reason=title.lower()).inc()
    body = Problem(
        type="about:blank",
        title=title,
        status=exc.status_code,
        detail=str(exc.detail),
        instance=request.url.path,
        request_id=request_id(request),
    )
    return Response(body.to_json(), exc.status_code, headers, MEDIA_TYPE)


def _allowed(request: Request) -> list[str]:
    """The methods of a path: Starlette knows those of the first route that has it alone."""
    return [
        method
        for method in ("DELETE", "GET", "POST")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def install(app: FastAPI) -> None:
    """Makes every failure of an app a problem; the unforeseen are `logs.RequestContext`'s."""
    for kind in (vad.VadError, service.ServiceError):
        app.add_exception_handler(kind, _handle)
    app.add_exception_handler(RequestValidationError, _handle_validation)
    app.add_exception_handler(HTTPException, _handle_http)
