"""What the service answers, typed, so that /openapi.json says it all."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from service.errors import FieldError
from service.problems import Problem
from vad import Detector
from vad.analytics import CallAnalytics
from vad.segments import Segment


class SourceModel(BaseModel):
    """What the audio came in."""

    container: str
    codec: str
    sample_rate: int
    channels: int
    start: float = Field(description="seconds from the container's start to the track's")


class ParamsModel(BaseModel):
    """The parameters in force, derived values filled in."""

    threshold: float
    neg_threshold: float
    min_speech_duration_ms: int
    min_silence_duration_ms: int
    max_speech_duration_s: float | None
    speech_pad_ms: int
    start_pad_ms: int
    end_pad_ms: int


class FramesModel(BaseModel):
    """Probabilities of speech, one every `hop_ms`; of several channels a list each."""

    hop_ms: int
    probabilities: list[float] | list[list[float]]


class TimingModel(BaseModel):
    """Time spent on the file, waiting aside."""

    decode_ms: float
    inference_ms: float


class Detection(BaseModel):
    """Where people speak in one file; the segments tile it."""

    id: str
    model: str
    duration: float = Field(description="seconds")
    source: SourceModel | None
    params: ParamsModel
    speech_ratio: float
    segments: list[Segment]
    frames: FramesModel | None = Field(default=None, description="where include=probabilities asks")
    analytics: CallAnalytics | None = Field(
        default=None, description="where include=analytics asks"
    )
    warnings: list[str]
    timing: TimingModel


class Batch(BaseModel):
    """One result a file, in order; a failed one as its problem."""

    results: list[Detection | Problem]


class SourceUrlModel(BaseModel):
    """Where a job's recording lies."""

    url: str


class CallbackModel(BaseModel):
    """Where a job's end is told, and whether it was."""

    url: str
    status: Literal["due", "delivered", "failed"] | None = Field(description="null before the end")
    tries: int


class JobProblem(BaseModel):
    """RFC 9457 problem details of a job that failed."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


class JobModel(BaseModel):
    """A job: what `GET /v1/jobs/{id}` answers, and what a callback is sent."""

    id: str
    status: Literal["queued", "running", "succeeded", "failed"]
    source: SourceUrlModel
    created: datetime
    started: datetime | None
    finished: datetime | None
    callback: CallbackModel | None
    problem: JobProblem | None
    result: Detection | None


class ModelInfo(BaseModel):
    """A loaded model."""

    name: str
    sha256: str
    sample_rate: int = Field(description="Hz; what it hears, input of any rate is resampled")
    hop_ms: int
    lookahead_ms: int
    latency_ms: int = Field(description="from a frame's end to its probability, at most")
    parameters: int
    device: str

    @classmethod
    def of(cls, detector: Detector) -> ModelInfo:
        return cls(**{name: getattr(detector, name) for name in cls.model_fields})


class Models(BaseModel):
    """The models that `model` may name."""

    models: list[ModelInfo]


class Version(BaseModel):
    """What is running."""

    name: str
    version: str


class Health(BaseModel):
    """Says that the server lives, and in which phase."""

    status: str
