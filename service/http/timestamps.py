"""`POST /v1/audio/speech/timestamps`: stands in for the route of that name in speaches."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import Response

from service.errors import FieldError, InvalidFields, UnsupportedMedia
from service.fields import FileFields, SegmentationFields, check_model, parse_text
from service.files.body import receive
from service.files.job import FileJob
from service.files.workers import Cancellation
from service.http.detect import Work
from service.http.openapi import PROBLEM_RESPONSES, form_request
from service.state import Service
from vad.config import PRESETS

router = APIRouter()
PRESET = PRESETS["speaches"]
LONGEST_S = 86_400  # of max_speech_duration_s here; speaches knows no bound
# What its clients call the model; the loaded one answers to either.
ALIASES = ("silero_vad_v5", "silero_vad_v6")
HEADERLESS = ("audio/pcm", "audio/raw")  # there they mean 16-bit mono at 16 kHz


class SpeechTimestamp(BaseModel):
    """A span in which somebody speaks, in milliseconds."""

    start: int
    end: int


def _bounded(value: object) -> object:
    """`inf`, its default there, is no limit; nor is one that no file can reach."""
    try:
        return None if float(str(value)) >= LONGEST_S else value
    except ValueError:
        return value


class SpeachesFields(SegmentationFields):
    """Fields of this route: those of speaches, from its defaults."""

    model: str | None = Field(
        default=None, description=f"the loaded one's name, or {' or '.join(ALIASES)}"
    )
    max_speech_duration_s: Annotated[float | None, BeforeValidator(_bounded)] = Field(
        default=PRESET.max_speech_duration_s,
        description="longer speech is split at its deepest pause; inf: never",
        json_schema_extra={"minimum": 1},
    )

    def for_file(self, models: Sequence[str]) -> FileFields:
        """The same as fields of `POST /v1/vad`.

        Args:
            models: that may be named.

        Raises:
            ParameterError: out of range, or no such model.
        """
        model = None if self.model in ALIASES else self.model
        check_model(model, models)
        return FileFields.model_validate({**asdict(self.segmentation(PRESET)), "model": model})


@router.post(
    "/v1/audio/speech/timestamps",
    response_model=list[SpeechTimestamp],
    responses=PROBLEM_RESPONSES,
    openapi_extra=form_request(SpeachesFields, asdict(PRESET)),
)
async def timestamps(request: Request) -> Response:
    """Finds where people speak in a file: a drop-in for speaches' route.

    Fields go into the form, or the query.
    """
    service: Service = request.app.state.service
    service.check_ready()
    service.files.check_room()
    if not request.headers.get("Content-Type", "").lower().startswith("multipart/form-data"):
        raise UnsupportedMedia("send the file as multipart/form-data")
    query = request.query_params.multi_items()
    parse_text(SpeachesFields, query)
    async with receive(request, service.settings) as intake:
        fields = parse_text(SpeachesFields, [*query, *intake.fields]).for_file(service.models.names)
        if len(intake.files) > 1:
            raise InvalidFields(FieldError("file", "given more than once: send one a request"))
        [file] = intake.files
        if (file.content_type or "").partition(";")[0].strip().lower() in HEADERLESS:
            fields = fields.model_copy(update={"encoding": "pcm_s16le", "sample_rate": 16_000})
        stop = Cancellation()
        work = Work(request, service, (FileJob(service, file, fields, stop),), stop)
        found = json.loads(await work.whole("json"))
    return Response(json.dumps(_speech(found["segments"])), media_type="application/json")


def _speech(segments: list[dict[str, float | str]]) -> list[dict[str, int]]:
    return [
        {name: math.floor(1000 * float(s[name]) + 0.5) for name in ("start", "end")}
        for s in segments
        if s["label"] == "speech"
    ]
