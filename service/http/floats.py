"""`POST /v1/vad` with JSON: stands in for LocalAI's route, whose audio is a list of numbers.

{"model": "silero-vad", "audio": [0.0, 0.01, …]}  ──▶  {"segments": [{"start": 0.3, "end": 1.2}]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.errors import FieldError, InvalidFields
from service.fields import (
    FileFields,
    FloatFields,
    SegmentationFields,
    json_object,
    parse_json,
    parse_text,
)
from service.files.body import IN_MEMORY, receive_json, watched
from service.files.job import FileJob
from service.files.workers import Cancellation
from service.state import Service
from vad.audio.scale import check_scale

# The audio of a body, wherever it stands: within a string the first quote would be escaped.
_AUDIO = re.compile(rb'"audio"\s*:\s*\[([-+.\deE,\s]*)\]')
_PIECE = 2**16  # characters that are read at a time: others wait while Python reads JSON


class FloatSegment(BaseModel):
    """A span in which somebody speaks, in seconds."""

    start: float
    end: float


class FloatSegments(BaseModel):
    """LocalAI's answer."""

    segments: list[FloatSegment]


async def detect_floats(request: Request, service: Service) -> Response:
    """Answers a request whose body is JSON."""
    if query := request.query_params.multi_items():
        parse_text(SegmentationFields, query)
    stop = Cancellation()
    async with receive_json(request, service.settings) as body, watched(request, stop):
        found = await service.files.run(stop, lambda: _detect(service, body, query, stop))
    return JSONResponse(found)


def _detect(
    service: Service, body: BinaryIO, query: list[tuple[str, str]], stop: Cancellation
) -> dict[str, Any]:
    with SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
        audio = cast(BinaryIO, spool)
        given = parse_json(FloatFields, _unpack(body.read(), audio))
        empty = not audio.tell()
        audio.seek(0)
        model = None if given.model in FloatFields.aliases else given.model
        asked = parse_text(FileFields, query).model_dump(exclude_unset=True)
        own = given.model_dump(exclude_unset=True)
        fields = FileFields.model_validate(
            {
                **asked,
                **own,
                "model": model,
                "encoding": "pcm_f32le",
                "sample_rate": given.sample_rate,
            }
        )
        fields.check(service.models.names)
        if empty:
            return {"segments": []}
        result = FileJob(service, UploadFile(audio), fields, stop).run()
    return {"segments": [{"start": s.start, "end": s.end} for s in result.speech]}


def _unpack(body: bytes, audio: BinaryIO) -> dict[str, Any]:
    """The fields of a body; its audio goes into a file, as pcm_f32le.

    Raises:
        MalformedBody: it is no JSON object.
        InvalidFields: its audio is missing, or no list of numbers.
        ParameterError: the numbers are plainly those of 16-bit samples.
    """
    wrong = InvalidFields(FieldError("audio", "must be a list of numbers"))
    found = _AUDIO.search(body)
    rest = body if found is None else body[: found.start(1)] + body[found.end(1) :]
    if found is None and len(rest) > _PIECE:
        raise wrong
    values = json_object(rest)
    if "audio" not in values:
        raise InvalidFields(FieldError("audio", "missing: a list of numbers at 16 kHz"))
    if found is None or values.pop("audio") != []:
        raise wrong
    for samples in _arrays(found[1].decode("ascii"), wrong):
        check_scale(samples)
        audio.write(samples.tobytes())
    return values


def _arrays(text: str, wrong: InvalidFields) -> Iterator[NDArray[np.float32]]:
    """The numbers of a list piece by piece; `wrong` is raised where there are others."""
    try:
        for numbers in _pieces(text):
            with np.errstate(over="ignore"):  # infinity is no sound, and heard as none
                samples = np.array(json.loads(f"[{numbers}]"), "<f4")
            yield samples
    except (ValueError, OverflowError):
        raise wrong from None


def _pieces(text: str) -> Iterator[str]:
    """A list in pieces that end where a comma stood."""
    start = 0
    while (comma := text.find(",", start + _PIECE)) >= 0:
        yield text[start:comma]
        start = comma + 1
    if start and not text[start:].strip():
        raise ValueError("a comma with nothing behind it")
    yield text[start:]
