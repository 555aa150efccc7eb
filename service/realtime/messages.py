"""The events of the OpenAI Realtime protocol, as far as they concern turn detection.

Names and shapes are those of https://platform.openai.com/docs/api-reference/realtime.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import EventRefused
from service.fields import LONGEST, MAX_FIELDS, load_json
from service.problems import detail, field_errors, problem_type
from vad.events import StopReason

NO_ANSWERS = (
    "this server detects turns and makes no answers: "
    "act on input_audio_buffer.speech_started, .speech_stopped and .committed"
)
# What a client may send that concerns answers, transcripts or the conversation.
OUT_OF_SCOPE = frozenset(
    {
        "conversation.item.create",
        "conversation.item.delete",
        "conversation.item.retrieve",
        "conversation.item.truncate",
        "output_audio_buffer.clear",
        "response.cancel",
        "response.create",
        "transcription_session.update",
    }
)


class Strict(BaseModel):
    """What a client sends: nothing unknown, and each value of its own type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Update(Strict):
    """`session.update`."""

    session: dict[str, Any]


class Append(Strict):
    """`input_audio_buffer.append`; audio is base64."""

    audio: str


class NoFields(Strict):
    """`input_audio_buffer.commit` and `.clear`."""


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """A client's text frame, its own fields not looked at yet."""

    type: str
    event_id: str | None
    values: Mapping[str, Any]


class ServerEvent(BaseModel):
    """What the server sends; its id is unique."""

    model_config = ConfigDict(frozen=True)

    event_id: str


class SessionCreated(ServerEvent):
    type: Literal["session.created"] = "session.created"
    session: Mapping[str, Any]


class SessionUpdated(ServerEvent):
    type: Literal["session.updated"] = "session.updated"
    session: Mapping[str, Any]


class SpeechStartedEvent(ServerEvent):
    """Speech has lasted for the minimum.

    Attributes:
        audio_start_ms: where it starts, the prefix padding included.
        item_id: of the item that its audio becomes.
    """

    type: Literal["input_audio_buffer.speech_started"] = "input_audio_buffer.speech_started"
    audio_start_ms: int
    item_id: str


class SpeechStoppedEvent(ServerEvent):
    """Speech has ended.

    Attributes:
        audio_end_ms: where its audio ends, the silence that ended it included.
        item_id: that of the start.
        reason: for the log alone.
    """

    type: Literal["input_audio_buffer.speech_stopped"] = "input_audio_buffer.speech_stopped"
    audio_end_ms: int
    item_id: str
    reason: StopReason = Field(exclude=True)


class Committed(ServerEvent):
    """What was in the buffer is an item now."""

    type: Literal["input_audio_buffer.committed"] = "input_audio_buffer.committed"
    previous_item_id: str | None
    item_id: str


class Cleared(ServerEvent):
    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


class AudioContent(BaseModel):
    type: Literal["input_audio"] = "input_audio"
    transcript: None = None


class Item(BaseModel):
    """A stretch of committed audio, of which nothing but the id is kept."""

    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["message"] = "message"
    status: Literal["completed"] = "completed"
    role: Literal["user"] = "user"
    content: tuple[AudioContent, ...] = (AudioContent(),)


class ItemEvent(ServerEvent):
    """`added` and `done` follow each `Committed`."""

    type: Literal["conversation.item.added", "conversation.item.done"]
    previous_item_id: str | None
    item: Item


class ErrorDetail(BaseModel):
    """What went wrong.

    Attributes:
        type: whose fault it is.
        code: for programs.
        message: what to do about it.
        param: the parameter at fault, if one is.
        event_id: of the client's event at fault, if it had one.
    """

    type: Literal["invalid_request_error", "server_error"]
    code: str
    message: str
    param: str | None
    event_id: str | None


class ErrorEvent(ServerEvent):
    type: Literal["error"] = "error"
    error: ErrorDetail


ModelT = TypeVar("ModelT", bound=Strict)


def validated(model: type[ModelT], values: Mapping[str, Any], *where: str) -> ModelT:
    """Values as a model.

    Args:
        where: names of the objects that they lie in.

    Raises:
        EventRefused: they don't fit; names the first that doesn't.
    """
    if _fields(values) > MAX_FIELDS:
        raise EventRefused("invalid_value", f"An event may have {MAX_FIELDS} fields.")
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        error = exc.errors()[0]
        param = ".".join(map(str, (*where, *error["loc"])))[:LONGEST]
        if error["type"] == "extra_forbidden":
            raise EventRefused(
                "unknown_parameter", f"Unknown parameter: {param!r}.", param
            ) from None
        if error["type"] == "missing":
            message = f"Missing required parameter: {param!r}."
            raise EventRefused("missing_required_parameter", message, param) from None
        code = "invalid_type" if error["type"].endswith("_type") else "invalid_value"
        raise EventRefused(code, f"Invalid {param!r}: {error['msg']}.", param) from None


def _fields(values: Mapping[str, Any]) -> int:
    """Counts the fields of an object and of those in it, lists aside, up to what may be."""
    found, left = 0, [values]
    while left and found <= MAX_FIELDS:
        each = left.pop()
        found += len(each)
        if found <= MAX_FIELDS:
            left += [value for value in each.values() if isinstance(value, dict)]
    return found


def decode(text: str) -> ClientEvent:
    """A client's text frame.

    Raises:
        EventRefused: not a JSON object with a type.
    """
    try:
        values = load_json(text)
    except ValueError as exc:
        raise EventRefused("invalid_json", f"An event must be JSON: {exc}.") from None
    if not isinstance(values, dict):
        raise EventRefused("invalid_json", "An event must be a JSON object.")
    if not isinstance(kind := values.pop("type", None), str):
        message = "Missing required parameter: 'type'."
        raise EventRefused("missing_required_parameter", message, "type")
    if not isinstance(event_id := values.pop("event_id", None), str | None):
        raise EventRefused("invalid_type", "Invalid 'event_id': must be a string.", "event_id")
    if event_id is not None and not _is_text(event_id):
        raise EventRefused("invalid_value", "Invalid 'event_id': must be text.", "event_id")
    return ClientEvent(kind, event_id, values)


def _is_text(value: str) -> bool:
    """Whether it can be sent back: JSON's escapes can say half a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def decode_audio(audio: str) -> bytes:
    """The audio of an `Append`.

    Raises:
        EventRefused: not base64.
    """
    try:
        return base64.b64decode(audio, validate=True)
    except ValueError as exc:
        message = f"Invalid 'audio': expected base64-encoded audio bytes ({exc})."
        raise EventRefused("invalid_value", message, "audio") from None


def error_detail(exc: BaseException, event_id: str | None) -> ErrorDetail:
    """What a client is told of an exception."""
    if isinstance(exc, EventRefused):
        code, param = exc.code, exc.param
    else:
        code = problem_type(exc).slug.replace("-", "_")
        param = next((error.param for error in field_errors(exc)), None)
    return ErrorDetail(
        type="server_error" if problem_type(exc).status >= 500 else "invalid_request_error",
        code=code,
        message=detail(exc),
        param=param,
        event_id=event_id,
    )
