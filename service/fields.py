"""The fields that clients may send, typed; ranges are those that `vad.Segmentation` states."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from service.errors import FieldError, InvalidFields, MalformedBody
from vad.audio import MAX_RATE, MIN_RATE
from vad.config import PRESETS, Channels, Encoding, Segmentation
from vad.errors import ParameterError

ResponseFormat = Literal["json", "ndjson", "rttm", "srt", "vtt", "csv", "textgrid", "audacity"]
_STATED = {field.name: field for field in fields(Segmentation)}
SEGMENTATION_NAMES = frozenset(_STATED)
DEFAULT = PRESETS["default"]
MAX_STREAM_CHANNELS = 8
MAX_FIELDS = 100  # of a request, a form or a message
# Quotes, commas and opening brackets of a JSON text: parsing what has so many takes a few
# milliseconds, on the event loop. Audio in base64 has none.
MAX_MARKS = 30_000
TOLD, LONGEST = 10, 64  # mistakes that a client is told of, and characters of a name in one


def _parameter(name: str) -> Any:
    """A field with the default, the range and the description that `Segmentation` states."""
    stated = _STATED[name]
    low, high = stated.metadata["range"]
    return Field(
        default=stated.default,
        description=stated.metadata["about"],
        json_schema_extra={"minimum": low, "maximum": high},
    )


class SegmentationFields(BaseModel):
    """`vad.Segmentation` as clients write it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # What to say of a field that is unknown here but known elsewhere.
    hints: ClassVar[Mapping[str, str]] = {}
    # Fields that may be given more than once.
    lists: ClassVar[frozenset[str]] = frozenset()

    threshold: float = _parameter("threshold")
    neg_threshold: float | None = _parameter("neg_threshold")
    min_speech_duration_ms: int = _parameter("min_speech_duration_ms")
    min_silence_duration_ms: int = _parameter("min_silence_duration_ms")
    max_speech_duration_s: float | None = _parameter("max_speech_duration_s")
    speech_pad_ms: int = _parameter("speech_pad_ms")
    start_pad_ms: int | None = _parameter("start_pad_ms")
    end_pad_ms: int | None = _parameter("end_pad_ms")

    def segmentation(self, base: Segmentation = DEFAULT) -> Segmentation:
        """`base` with what was given.

        Raises:
            ParameterError: a value out of range.
        """
        given = self.model_fields_set & SEGMENTATION_NAMES
        return base.updated(**{name: getattr(self, name) for name in given})


def check_model(asked: str | None, known: Sequence[str]) -> None:
    """Raises ParameterError if a model is asked for that is not one of the known ones."""
    if asked is not None and asked not in known:
        raise ParameterError("model", f"must be {' or '.join(known)}, not {asked!r}")


def _channels(value: object) -> object:
    if value in ("mix", "separate"):
        return value
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if text.isascii() and text.isdecimal() and len(text) < 4:
        return int(text)
    raise PydanticCustomError("channels", "must be mix, separate or the index of a channel")


ChannelsField = Annotated[Channels, BeforeValidator(_channels)]


def _include(values: object) -> object:
    """Repeated, comma-separated or both."""
    names = values if isinstance(values, list) else [values]
    return [part.strip() for name in names for part in str(name).split(",")]


class RecordingFields(SegmentationFields):
    """How a recording is heard, whatever the answer looks like."""

    lists: ClassVar[frozenset[str]] = frozenset({"include"})

    model: str | None = Field(
        default=None, description="one that /v1/models names; default: its first"
    )
    channels: ChannelsField = Field(
        default="mix", description="mix down, treat each by itself, or the index of one"
    )
    include: Annotated[list[Literal["probabilities", "analytics"]], BeforeValidator(_include)] = (
        Field(
            default=[],
            description="probabilities: one a frame of 10 ms; analytics: who spoke how much, "
            "interrupted and answered when",
        )
    )
    encoding: Encoding | None = Field(
        default=None, description="of headerless PCM; needs sample_rate"
    )
    sample_rate: int | None = Field(
        default=None, ge=MIN_RATE, le=MAX_RATE, description="Hz, of headerless PCM; needs encoding"
    )

    def check(self, models: Sequence[str]) -> None:
        """All that can be checked without the audio.

        Args:
            models: that may be named.

        Raises:
            ParameterError: out of range, no such model, or one field without the other.
        """
        check_model(self.model, models)
        if (self.encoding is None) != (self.sample_rate is None):
            missing, present = ("encoding", "sample_rate")[:: 1 if self.encoding is None else -1]
            raise ParameterError(missing, f"missing: headerless PCM needs it beside {present}")
        self.segmentation()


class FileFields(RecordingFields):
    """Fields of `POST /v1/vad`."""

    response_format: ResponseFormat | None = Field(
        default=None, description="also by Accept; default json"
    )


class SourceField(BaseModel):
    """Where a job's recording lies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        description="https://… or s3://bucket/key",
        max_length=4096,
        json_schema_extra={"format": "uri"},
    )


class JobFields(RecordingFields):
    """Fields of `POST /v1/jobs`, in JSON."""

    hints: ClassVar[Mapping[str, str]] = {"response_format": "a job's result is always JSON"}

    source: SourceField
    callback_url: str | None = Field(
        default=None,
        description="told of the job's end, signed",
        max_length=4096,
        json_schema_extra={"format": "uri"},
    )


class FloatFields(SegmentationFields):
    """Fields of `POST /v1/vad` in JSON, as LocalAI has it; the audio aside.

    Attributes:
        aliases: what its clients call the model; the loaded one answers to either.
    """

    aliases: ClassVar[tuple[str, ...]] = ("silero-vad", "silero-vad-ggml")

    model: str | None = Field(
        default=None, description=f"one that /v1/models names, or {' or '.join(aliases)}"
    )
    sample_rate: int = Field(
        default=16_000, ge=MIN_RATE, le=MAX_RATE, description="Hz; LocalAI knows 16000 alone"
    )


class StreamFields(SegmentationFields):
    """Parameters of `WS /v1/vad/stream`."""

    hints: ClassVar[Mapping[str, str]] = {"protocol": "must be twilio or asterisk, if given"}

    lists: ClassVar[frozenset[str]] = frozenset({"include"})

    model: str | None = None
    encoding: Encoding = "pcm_s16le"
    sample_rate: int = Field(default=16_000, ge=MIN_RATE, le=MAX_RATE)
    channels: int = Field(default=1, ge=1, le=MAX_STREAM_CHANNELS, description="interleaved")
    probabilities: bool = False
    include: Annotated[list[Literal["analytics"]], BeforeValidator(_include)] = Field(
        default=[], description="analytics: of the whole stream, in `session.closed`"
    )


FieldsT = TypeVar("FieldsT", bound=SegmentationFields)


def parse_text(model: type[FieldsT], pairs: Iterable[tuple[str, str]]) -> FieldsT:
    """Fields of a query or form, where every value is text.

    Raises:
        InvalidFields: some are unknown, ill-typed or repeated.
    """
    grouped: dict[str, list[str]] = {}
    for name, value in islice(pairs, MAX_FIELDS + 1):
        grouped.setdefault(name, []).append(value)
    if sum(map(len, grouped.values())) > MAX_FIELDS:
        raise InvalidFields(FieldError("", f"there may be {MAX_FIELDS} fields"))
    repeated = [name for name, given in grouped.items() if len(given) > 1]
    if wrong := [FieldError(n, "given more than once") for n in repeated if n not in model.lists]:
        raise InvalidFields(*wrong[:TOLD])
    values: dict[str, Any] = {
        name: given if name in model.lists else given[0] for name, given in grouped.items()
    }
    return _validate(model, values, strict=False)


def load_json(text: str | bytes) -> Any:
    """Parses JSON, unless that would keep everybody else waiting.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or has more than `MAX_MARKS`.
    """
    if len(text) > MAX_MARKS:
        count = text.count if isinstance(text, str) else lambda mark: text.count(mark.encode())
        if sum(map(count, '",[{')) > MAX_MARKS:
            raise ValueError(f"it has more than {MAX_MARKS} quotes, commas and brackets")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_object(body: bytes | str) -> dict[str, Any]:
    """The fields of a body that is JSON.

    Raises:
        MalformedBody: it is no JSON object.
    """
    try:
        values = load_json(body)
    except ValueError as exc:
        raise MalformedBody(f"the body is no JSON: {exc}") from None
    if not isinstance(values, dict):
        raise MalformedBody("the body must be a JSON object")
    return values


def parse_json(model: type[FieldsT], values: Mapping[str, Any]) -> FieldsT:
    """Fields of a JSON object, where every value has its own type.

    Raises:
        InvalidFields: some are unknown or ill-typed, or there are too many.
    """
    if len(values) > MAX_FIELDS:
        raise InvalidFields(FieldError("", f"there may be {MAX_FIELDS} fields"))
    # JSON has one kind of number: 4000.0 is a whole one, and some writers write all so.
    whole = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in values.items()
    }
    return _validate(model, whole, strict=True)


def _validate(model: type[FieldsT], values: Mapping[str, Any], *, strict: bool) -> FieldsT:
    try:
        return model.model_validate(values, strict=strict)
    except ValidationError as exc:
        # A union or list complains once a member: one message a field is enough.
        named: dict[str, str] = {}
        for error in exc.errors():
            where, name = _blamed(model, error)
            named[name] = _message(where, error)
        told = islice(named.items(), TOLD)
        raise InvalidFields(*(FieldError(name[:LONGEST], why) for name, why in told)) from None


def _blamed(model: type[BaseModel], error: ErrorDetails) -> tuple[type[BaseModel], str]:
    """The model of the field at fault, and its name: `a.b` of a field within another.

    Of a name that is no text at all, such as half a surrogate pair, there is none.
    """
    names: list[str] = []
    for part in error["loc"]:
        names.append(str(part))
        field = model.model_fields.get(names[-1])
        inner = None if field is None else field.annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        if len(names) < len(error["loc"]):
            model = inner
    return model, ".".join(names)


def _message(model: type[BaseModel], error: ErrorDetails) -> str:
    if error["type"] == "model_type":  # pydantic would name a class of ours
        return "must be an object"
    if error["type"] != "extra_forbidden":
        return error["msg"]
    known = ", ".join(sorted(model.model_fields))
    hints: Mapping[str, str] = getattr(model, "hints", {})
    return hints.get(str(error["loc"][-1]), f"unknown; known are {known}")
