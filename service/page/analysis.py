"""`POST /page/analysis`: a file's outline, segments and probabilities, line by line."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import UploadFile

from service.fields import FileFields
from service.files.job import FileJob
from service.files.workers import Cancellation
from service.page.envelope import Envelope
from service.state import Service
from vad.audio import SourceInfo, select_channels
from vad.audio.pcm import Samples
from vad.formats import ndjson_segment
from vad.segments import Segment, Segments

PIECE_S = 20.0  # of audio that one line outlines
Line = dict[str, Any]


class PageAnalysis:
    """Like `FileJob`, with lines for the page instead of segments.

    `opened` says what the file is; `envelope` continues the outline; `segment` is final;
    `probabilities` are all of them; `summary` is the answer of `POST /v1/vad` but its segments.

    Args:
        service: that the request came to.
        upload: the file, at its start.
        fields: of the request.
        cancellation: stops the work from elsewhere.
    """

    def __init__(
        self, service: Service, upload: UploadFile, fields: FileFields, cancellation: Cancellation
    ) -> None:
        # Of channels apart the page also tells what the conversation was like.
        more = ["analytics"] if fields.channels == "separate" else []
        asked = fields.model_copy(update={"include": ["probabilities", *more]})
        self._job = FileJob(service, upload, asked, cancellation, self._overhear)
        self._channels = fields.channels
        self._put: Callable[[Line], object] | None = None

    def run(self, opened: Callable[[], object], put: Callable[[Line], object]) -> Segments:
        """Works through the file.

        Args:
            opened: called once it is known that there is audio.
            put: called with each line.

        Raises:
            Exception: as `FileJob.open`.
        """

        def begin() -> None:
            opened()
            self._put = put
            put({"type": "opened", "source": asdict(self._source), "samples": self._job.length})

        result = self._job.run(begin, lambda segment: put(_segment_line(segment)))
        self._outline(last=True)
        put({"type": "probabilities", "channels": _probabilities(result)})
        answer = self._job.describe(result)
        for name in ("segments", "frames"):
            answer.pop(name)
        samples = round(result.duration * self._source.sample_rate)
        put({"type": "summary", "samples": samples, **answer})
        return result

    def _overhear(self, source: SourceInfo) -> Callable[[Samples], object]:
        self._source = source
        self._envelope = Envelope(source.sample_rate)
        return self._hear

    def _hear(self, block: Samples) -> None:
        self._envelope.push(select_channels(block, self._channels))
        if self._put is not None and self._envelope.seconds_held >= PIECE_S:
            self._outline()

    def _outline(self, *, last: bool = False) -> None:
        assert self._put is not None
        outline = self._envelope.take(last=last)
        if outline.size:
            self._put({"type": "envelope", "channels": [_packed(row, "<i2") for row in outline]})


def encode(line: Line) -> str:
    """A line as text."""
    return json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def _segment_line(segment: Segment) -> Line:
    return json.loads(ndjson_segment(segment))  # type: ignore[no-any-return]


def _probabilities(result: Segments) -> list[str]:
    assert result.probabilities is not None
    return [_packed(values, "<f4") for _, values in sorted(result.probabilities.items())]


def _packed(values: NDArray[Any], type: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, type).tobytes()).decode()
