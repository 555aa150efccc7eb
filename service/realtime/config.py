"""How a Realtime session is configured.

Clients write it in one of two shapes: the current one nests
(`session.audio.input.turn_detection`), that of the beta is flat (`session.turn_detection`).
The server answers in the shape that the client used last.

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
        name: in the current shape.
        beta_name: in that of the beta.
        encoding: for `vad.Detector.stream`.
        sample_rate: Hz.
        sample_bytes: of one sample.
    """

    name: str
    beta_name: str
    encoding: str
    sample_rate: int
    sample_bytes: int


PCM = InputFormat("audio/pcm", "pcm16", "pcm_s16le", 24_000, 2)
PCMU = InputFormat("audio/pcmu", "g711_ulaw", "mulaw", 8_000, 1)
PCMA = InputFormat("audio/pcma", "g711_alaw", "alaw", 8_000, 1)
FORMATS: Mapping[str, InputFormat] = {
    name: form for form in (PCM, PCMU, PCMA) for name in (form.name, form.beta_name)
}


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
        """The same as changes to `OPENAI`."""
        return {
            "threshold": self.threshold,
            "start_pad_ms": self.prefix_padding_ms,
            "min_silence_duration_ms": self.silence_duration_ms,
            # `audio_end_ms` is documented to include the silence.
            "end_pad_ms": self.silence_duration_ms,
        }

    def segmentation(self) -> Segmentation:
        """The same for a detector."""
        return OPENAI.updated(**self.changes())


@dataclass(frozen=True)
class Config:
    """What is in force.

    Attributes:
        turn_detection: None is off.
        beta: whether the client knows the shapes of the beta.
    """

    format: InputFormat = PCM
    turn_detection: ServerVad | None = field(default_factory=ServerVad)
    beta: bool = False


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


class AnswerFields(Strict):
    """What both shapes say of answers."""

    model: Unused = None
    instructions: Unused = None
    tools: Unused = None
    tool_choice: Unused = None
    tracing: Unused = None


class SessionFields(AnswerFields):
    """`session`, in the current shape."""

    type: Literal["realtime"] = "realtime"
    audio: AudioFields = AudioFields()
    include: Unused = None
    max_output_tokens: Unused = None
    output_modalities: Unused = None
    parallel_tool_calls: Unused = None
    prompt: Unused = None
    reasoning: Unused = None
    truncation: Unused = None


class BetaSessionFields(AnswerFields):
    """`session`, in the shape of the beta."""

    input_audio_format: Literal["pcm16", "g711_ulaw", "g711_alaw"] | None = None
    turn_detection: TurnDetectionFields | None = None
    input_audio_noise_reduction: NotServed = None
    input_audio_transcription: NotServed = None
    client_secret: Unused = None
    max_response_output_tokens: Unused = None
    modalities: Unused = None
    output_audio_format: Unused = None
    speed: Unused = None
    temperature: Unused = None
    voice: Unused = None


_CURRENT_ONLY = SessionFields.model_fields.keys() - BetaSessionFields.model_fields.keys()
_BETA_ONLY = BetaSessionFields.model_fields.keys() - SessionFields.model_fields.keys()


def updated(config: Config, session: Mapping[str, Any]) -> Config:
    """A configuration with what a client sent; what it did not name stays.

    Raises:
        EventRefused: a field that is unknown, ill-typed, out of range or not served.
    """
    beta = config.beta
    if session.keys() & _CURRENT_ONLY:
        beta = False
    elif session.keys() & _BETA_ONLY:
        beta = True
    name: str | None
    given: BetaSessionFields | InputFields
    if beta:
        given = validated(BetaSessionFields, session, "session")
        name = given.input_audio_format
    else:
        given = validated(SessionFields, session, "session").audio.input
        name = None if given.format is None else given.format.type
    turns = config.turn_detection
    if "turn_detection" in given.model_fields_set:
        turns = _turns(turns, given.turn_detection)
    return Config(config.format if name is None else FORMATS[name], turns, beta)


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
    """The `session` of an answer: what is in force, in the client's shape."""
    session = {"id": session_id, "object": "realtime.session", "model": model}
    turns = None if config.turn_detection is None else _described_turns(config.turn_detection)
    if config.beta:
        return session | {
            "modalities": [],
            "input_audio_format": config.format.beta_name,
            "input_audio_noise_reduction": None,
            "input_audio_transcription": None,
            "turn_detection": turns,
        }
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
