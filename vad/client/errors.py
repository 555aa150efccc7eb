"""What goes wrong between client and service.

    ClientError (a VadError)
    ├── ConnectionFailed        the service can't be reached, or an answer broke off
    ├── StreamLost              a live stream broke off; says what had been reported
    └── Refused                 the service said no; `.problem` tells why
        ├── InvalidParameter    (also ParameterError) `.param` names it
        ├── BadAudio            (also AudioError) not decodable, or of an unsupported form
        ├── Unauthorized        the key is missing or wrong
        ├── TooLarge            more bytes, seconds, files or messages than the service takes
        ├── TimedOut            the body came too slowly, or the work took too long
        ├── Unavailable         busy, starting or shutting down; `.retry_after` seconds
        └── ServerFailed        a fault of the service; give its operator the request id

`except ParameterError` and `except AudioError` thus catch the same mistakes whether the work
is done here or by the service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from vad.errors import AudioError, ParameterError, VadError


class ClientError(VadError):
    """Base of all errors above."""


class ConnectionFailed(ClientError):
    """The service can't be reached, or an answer broke off; `__cause__` tells more."""


class StreamLost(ClientError):
    """A live stream broke off, and with it what the service had heard so far.

    Attributes:
        code: the WebSocket's close code; 1006 where the connection went without one.
        audio_ms: audio that was sent. How much of its end was still heard is not known.
        speech_ms: sum of the segments that were reported.
        segments: their number. One that was open was ended with the reason "disconnect".
        retry_after: seconds after which a new stream makes sense; None if not said.
    """

    def __init__(
        self,
        code: int,
        why: str,
        audio_ms: int,
        speech_ms: int,
        segments: int,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"the stream broke off after {audio_ms} ms of audio: {why} ({code})")
        self.code = code
        self.audio_ms = audio_ms
        self.speech_ms = speech_ms
        self.segments = segments
        self.retry_after = retry_after


@dataclass(frozen=True)
class Problem:
    """An RFC 9457 problem, or the `error` of a stream.

    Attributes:
        code: its kind, such as "invalid-parameter"; the end of the problem's `type`.
        detail: for people.
        status: over HTTP; None for a stream.
        errors: (parameter, what is wrong with it).
        request_id: by which the service logged it; None for a stream.
        retry_after: seconds after which trying again makes sense, where the service says so.
    """

    code: str
    detail: str
    status: int | None = None
    errors: tuple[tuple[str, str], ...] = ()
    request_id: str | None = None
    retry_after: float | None = None


class Refused(ClientError):
    """The service said no.

    Attributes:
        problem: what it said.
    """

    def __init__(self, problem: Problem) -> None:
        known = f" (request {problem.request_id})" if problem.request_id else ""
        Exception.__init__(self, f"{problem.detail}{known}")
        self.problem = problem


class InvalidParameter(Refused, ParameterError):
    """A parameter is unknown, of the wrong type or out of range."""

    def __init__(self, problem: Problem) -> None:
        Refused.__init__(self, problem)
        self.param, self.message = (*problem.errors, ("", problem.detail))[0]


class BadAudio(Refused, AudioError):
    """The audio can't be decoded, or is of an unsupported form."""


class Unauthorized(Refused):
    """The key is missing or wrong."""


class TooLarge(Refused):
    """More bytes, seconds, files or messages than the service takes."""


class TimedOut(Refused):
    """The body came too slowly, or the work took too long."""


class Unavailable(Refused):
    """Busy, starting or shutting down.

    Attributes:
        retry_after: seconds after which trying again makes sense; None if not said.
    """

    @property
    def retry_after(self) -> float | None:
        return self.problem.retry_after


class ServerFailed(Refused):
    """A fault of the service."""


_BY_CODE: Mapping[str, type[Refused]] = {
    "invalid-parameter": InvalidParameter,
    "model-not-found": InvalidParameter,
    "undecodable-audio": BadAudio,
    "unsupported-audio": BadAudio,
    "internal": ServerFailed,
    # What streams say with a close code that tells less.
    "unauthorised": Unauthorized,
    "origin-not-allowed": Unauthorized,
    "stream-idle": TimedOut,
    "stream-too-long": TooLarge,
}
_BY_STATUS: Mapping[int, type[Refused]] = {
    401: Unauthorized,
    403: Unauthorized,
    408: TimedOut,
    413: TooLarge,
    429: Unavailable,
    503: Unavailable,
    504: TimedOut,
}
_BY_CLOSE: Mapping[int, type[Refused]] = {
    1009: TooLarge,
    1011: ServerFailed,
    1012: Unavailable,
    1013: Unavailable,
}


def refusal(problem: Problem, close_code: int | None = None) -> Refused:
    """A problem as the exception to raise.

    Args:
        problem: what the service said.
        close_code: of the stream that it ended, if it did.
    """
    kind = _BY_CODE.get(problem.code)
    if kind is None and problem.status is not None:
        failed = ServerFailed if problem.status >= 500 else Refused
        kind = _BY_STATUS.get(problem.status, failed)
    return (kind or _BY_CLOSE.get(close_code or 0, Refused))(problem)


def refusal_of_response(status: int, headers: Mapping[str, str], body: bytes) -> Refused:
    """An HTTP response that is no success; a proxy's own pages are understood as far as they go."""
    try:
        values: Any = json.loads(body)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        values = {"detail": f"HTTP {status} without a problem object; from a proxy?"}
    return refusal(problem_of(values, status, _seconds(headers.get("Retry-After"))))


def problem_of(
    values: Mapping[str, Any], status: int | None = None, retry_after: float | None = None
) -> Problem:
    """A problem object, as it came in JSON."""
    wrong = [e for e in values.get("errors") or () if isinstance(e, dict)]
    return Problem(
        code=str(values.get("type", "about:blank")).rpartition(":")[2],
        detail=str(values.get("detail") or values.get("title") or "refused without a reason"),
        status=values.get("status", status),
        errors=tuple((str(e.get("param", "")), str(e.get("message", ""))) for e in wrong),
        request_id=values.get("request_id"),
        retry_after=retry_after,
    )


def problem_of_error(message: Mapping[str, Any]) -> Problem:
    """A stream's `error` message."""
    param, text = message.get("param"), str(message.get("message", ""))
    blamed = () if param is None else ((str(param), text),)
    seconds = message.get("retry_after")
    return Problem(
        code=str(message.get("code", "")),
        detail=text,
        errors=blamed,
        retry_after=max(0.0, seconds) if isinstance(seconds, int | float) else None,
    )


def _seconds(retry_after: str | None) -> float | None:
    """The header's value, which is a number of seconds or a date (RFC 9110 §10.2.3)."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
