"""How a Realtime session is configured.

Fields that concern answers (`instructions`, `voice`, `create_response` …) are taken without
effect, since clients send them always; what is in force is what the session says. Fields that
would make a client wait for something that never comes (transcripts, a timeout) are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from service.realtime.messages import Strict, validated
from vad.config import PRESETS, Segmentation

OPENAI = PRESETS["openai"]


@dataclass(frozen=True)
class InputFormat:
    """A form that audio may have.

    Attributes:
        name: as clients know it.
        encoding: for `vad.Detector.stream`.
        sample_rate: Hz.
        sample_bytes: of one sample.
    """

    name: str
    encoding: str
    sample_rate: int
    sample_bytes: int


PCM = InputFormat("audio/pcm", "pcm_s16le", 24_000, 2)
PCMU = InputFormat("audio/pcmu", "mulaw", 8_000, 1)
PCMA = InputFormat("audio/pcma", "alaw", 8_000, 1)
FORMATS: Mapping[str, InputFormat] = {form.name: form for form in (PCM, PCMU, PCMA)}


@dataclass(frozen=True)
class ServerVad:
    """Parameters of turn detection, as clients know them.

    Attributes:
        threshold: speech starts at this probability.
        prefix_padding_ms: audio before the speech that counts as its own.
        silence_duration_ms: silence that ends speech.
    """

    threshold: float = OPENAI.threshold
    prefix_padding_ms: int = OPENAI.pad_before_ms
    silence_duration_ms: int = OPENAI.min_silence_duration_ms

    def changes(self) -> dict[str, float]:
        """These parameters as changes to the preset `openai`."""
        return {
            "threshold": self.threshold,
            "start_pad_ms": self.prefix_padding_ms,
            "min_silence_duration_ms": self.silence_duration_ms,
            # `audio_end_ms` is documented to include the silence.
            "end_pad_ms": self.silence_duration_ms,
        }

    def segmentation(self) -> Segmentation:
        """These parameters as a detector takes them."""
        return OPENAI.updated(**self.changes())


@dataclass(frozen=True)
class Config:
    """What is in force.

    Attributes:
        turn_detection: None is off.
    """

    format: InputFormat = PCM
    turn_detection: ServerVad | None = field(default_factory=ServerVad)


def _not_served(value: object) -> None:
    if value is not None:
        raise PydanticCustomError("not_served", "is not served here; leave it out, or send null")


def _server_vad(value: object) -> object:
    if value == "semantic_vad":
        raise PydanticCustomError(
            "semantic_vad",
            "semantic_vad, which needs the words, is not served here; use server_vad",
        )
    return value


Unused = Any  # taken without effect
NotServed = Annotated[None, BeforeValidator(_not_served)]
Milliseconds = Annotated[int | None, Field(ge=0, le=10_000)]


class TurnDetectionFields(Strict):
    """`turn_detection`; null stands for the default."""

    type: Annotated[Literal["server_vad"], BeforeValidator(_server_vad)] = "server_vad"
    threshold: Annotated[float | None, Field(ge=0.01, le=1)] = None
    prefix_padding_ms: Milliseconds = None
    silence_duration_ms: Milliseconds = None
    idle_timeout_ms: NotServed = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


class FormatFields(Strict):
    """`audio.input.format`."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: int | None = None

    @model_validator(mode="after")
    def _check_rate(self) -> FormatFields:
        rate = FORMATS[self.type].sample_rate
        if self.rate not in (None, rate):
            raise PydanticCustomError(
                "rate",
                "the rate of {type} must be {rate}, not {given}",
                {"type": self.type, "rate": rate, "given": self.rate},
            )
        return self


class InputFields(Strict):
    """`audio.input`."""

    format: FormatFields | None = None
    turn_detection: TurnDetectionFields | None = None
    noise_reduction: NotServed = None
    transcription: NotServed = None


class AudioFields(Strict):
    """`audio`."""

    input: InputFields = InputFields()
    output: Unused = None


class SessionFields(Strict):
    """`session`."""

    type: Literal["realtime"] = "realtime"
    audio: AudioFields = AudioFields()
    include: Unused = None
    instructions: Unused = None
    max_output_tokens: Unused = None
    model: Unused = None
    output_modalities: Unused = None
    parallel_tool_calls: Unused = None
    prompt: Unused = None
    reasoning: Unused = None
    tool_choice: Unused = None
    tools: Unused = None
    tracing: Unused = None
    truncation: Unused = None


def updated(config: Config, session: Mapping[str, Any]) -> Config:
    """A configuration with what a client sent; what it did not name stays.

    Raises:
        EventRefused: a field that is unknown, ill-typed, out of range or not served.
    """
    given = validated(SessionFields, session, "session").audio.input
    form = config.format if given.format is None else FORMATS[given.format.type]
    turns = config.turn_detection
    if "turn_detection" in given.model_fields_set:
        turns = _turns(turns, given.turn_detection)
    return Config(form, turns)


def _turns(current: ServerVad | None, given: TurnDetectionFields | None) -> ServerVad | None:
    if given is None:
        return None
    default = ServerVad()
    values = {
        name: getattr(default if getattr(given, name) is None else given, name)
        for name in asdict(default).keys() & given.model_fields_set
    }
    return replace(current or default, **values)


def described(config: Config, session_id: str, model: str) -> dict[str, Any]:
    """The `session` of an answer: what is in force."""
    session = {"id": session_id, "object": "realtime.session", "model": model}
    turns = None if config.turn_detection is None else _described_turns(config.turn_detection)
    rate = {"rate": config.format.sample_rate} if config.format is PCM else {}
    given = {
        "format": {"type": config.format.name} | rate,
        "noise_reduction": None,
        "transcription": None,
        "turn_detection": turns,
    }
    own = {"type": "realtime", "output_modalities": [], "audio": {"input": given}}
    return session | own


def _described_turns(turns: ServerVad) -> dict[str, Any]:
    # No answers are made here, so none is made or interrupted by itself.
    return {
        "type": "server_vad",
        **asdict(turns),
        "create_response": False,
        "interrupt_response": False,
    }
