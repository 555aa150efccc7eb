"""The text frames of a live stream; the events among them are those of `vad.events`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from service.errors import MalformedMessage
from service.fields import load_json
from service.problems import detail, field_errors, problem_type
from vad.events import Event


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """The stream is open.

    Attributes:
        session_id: also in the server's log.
        model: name of the loaded weights.
        params: effective ones, derived values filled in.
        limits: `max_message_bytes`, `stream_idle_s`, `max_stream_s`.
        hop_ms: distance between probabilities.
        latency_ms: longest time from a frame's end to its probability, computing aside.
    """

    session_id: str
    model: str
    params: Mapping[str, Any]
    limits: Mapping[str, float]
    hop_ms: int
    latency_ms: int
    type: Literal["session.created"] = field(default="session.created", init=False)


@dataclass(frozen=True, slots=True)
class SessionUpdated:
    """New parameters hold from the next frame not yet computed."""

    params: Mapping[str, Any]
    type: Literal["session.updated"] = field(default="session.updated", init=False)


@dataclass(frozen=True, slots=True)
class Error:
    """Something was refused.

    Attributes:
        code: slug of the problem type, the same as over HTTP.
        message: what to do about it.
        param: the parameter at fault, if one is.
        fatal: whether the stream ends here.
        retry_after: seconds after which trying again makes sense; None where it makes none.
    """

    code: str
    message: str
    param: str | None
    fatal: bool
    retry_after: int | None = None
    type: Literal["error"] = field(default="error", init=False)


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """Last message of a stream that was open.

    Attributes:
        audio_ms: received, of each channel.
        speech_ms: sum of the segments' durations, padding included.
        segments: their number, discarded ones aside.
        analytics: a `vad.analytics.CallAnalytics`, where they were asked for.
    """

    audio_ms: int
    speech_ms: int
    segments: int
    analytics: Mapping[str, Any] | None = None
    type: Literal["session.closed"] = field(default="session.closed", init=False)


OMITTED = frozenset({"channel", "analytics"})  # where there is nothing to say of them
_JSON = json.JSONEncoder(separators=(",", ":"))
ServerMessage = SessionCreated | SessionUpdated | Error | SessionClosed | Event


def encode(message: ServerMessage) -> str:
    """A message as the text frame that carries it, its type first."""
    names = (each.name for each in fields(message) if each.name != "type")
    values = {
        name: _rounded(value)
        for name in names
        if (value := getattr(message, name)) is not None or name not in OMITTED
    }
    return _JSON.encode({"type": message.type} | values)


def _rounded(value: object) -> object:
    """Probabilities to four places: the rest is noise, and three quarters of the bytes."""
    if isinstance(value, tuple):
        return [round(item, 4) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def error_of(exc: BaseException, *, fatal: bool) -> Error:
    """What a client is told of an exception."""
    blamed = field_errors(exc)
    param = blamed[0].param if blamed else None
    kind = problem_type(exc)
    return Error(kind.slug, detail(exc), param, fatal, kind.retry_after)


def decode(text: str) -> tuple[str, dict[str, Any]]:
    """A client's text frame as its type and its other fields.

    Raises:
        MalformedMessage: not a JSON object with a type.
    """
    try:
        values = load_json(text)
    except ValueError as exc:
        raise MalformedMessage(f"a text frame must be JSON: {exc}") from None
    if not isinstance(values, dict) or not isinstance(kind := values.pop("type", None), str):
        raise MalformedMessage('a text frame must be a JSON object with a "type"')
    return kind, values
