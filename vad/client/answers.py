"""The service's answers as the library's types. No I/O here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.client.errors import ConnectionFailed, problem_of, refusal
from vad.config import Segmentation
from vad.segments import Segment, Segments


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection(Segments):
    """What `Detector.detect` gives, from the service.

    Attributes:
        id: by which the service knows it.
        timing: `decode_ms` and `inference_ms`.
    """

    id: str
    timing: Mapping[str, float]


class SegmentLines:
    """Reads an NDJSON answer line by line.

    Args:
        name: of the file.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._segments: list[dict[str, Any]] = []
        self._result: Detection | None = None

    @property
    def done(self) -> bool:
        """Whether the last line has come."""
        return self._result is not None

    @property
    def result(self) -> Detection:
        """Everything, after the last line."""
        if self._result is None:
            raise RuntimeError("iterate over the segments first: the answer is not through")
        return self._result

    def feed(self, line: str) -> Segment | None:
        """Takes one line.

        Returns:
            The segment that it holds, if it holds one.

        Raises:
            Refused: the audio failed after a good beginning.
            ConnectionFailed: the line is none of the service's.
        """
        if not line.strip():
            return None
        values = _object(line)
        kind = values.pop("type", None)
        if kind == "error":
            raise refusal(problem_of(values["problem"]))
        if kind == "segment":
            self._segments.append(values)
            segment: Segment = taken(Segment, values)
            return segment
        if kind == "summary":
            self._result = detection({**values, "segments": self._segments}, self._name)
        return None  # of a kind that a later service may send

    def finish(self) -> None:
        """The answer has ended.

        Raises:
            ConnectionFailed: before its last line.
        """
        if not self.done:
            raise ConnectionFailed("the answer broke off before its summary")


def parse_detection(text: str, name: str) -> Detection:
    """The answer of `POST /v1/vad` to one file.

    Raises:
        ConnectionFailed: it is none; is there something else at this address?
    """
    return detection(_object(text), name)


def detection(values: Mapping[str, Any], name: str) -> Detection:
    """One result, as it came in JSON."""
    try:
        segments = [taken(Segment, segment) for segment in values["segments"]]
        probabilities = _probabilities(values.get("frames"), segments)
        return Detection(
            id=values["id"],
            timing=values["timing"],
            segments=sorted(segments, key=lambda s: (s.channel, s.start)),
            duration=values["duration"],
            model=values["model"],
            params=taken(Segmentation, values["params"]),
            source=_source(values["source"]),
            warnings=list(values["warnings"]),
            probabilities=probabilities,
            channels=max(1, len({segment.channel for segment in segments})),
            name=name,
        )
    except (LookupError, TypeError, ValueError, AttributeError) as exc:
        raise ConnectionFailed(f"this is no answer of convad's service: {exc!r}") from exc


def _object(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as exc:
        raise ConnectionFailed(f"this is no answer of convad's service: {exc}") from exc
    if not isinstance(values, dict):
        raise ConnectionFailed("this is no answer of convad's service: not an object")
    return values


def taken(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass from those values that it knows: a later service may send more.

    An earlier one may send less, of what has a default.
    """
    known = [field for field in fields(kind) if field.init]
    return kind(
        **{f.name: values[f.name] for f in known if f.name in values or f.default is MISSING}
    )


def _source(values: Mapping[str, Any] | None) -> Any:
    # The decoders come with it, which a client that only streams has no use for.
    from vad.audio import SourceInfo

    return None if values is None else taken(SourceInfo, values)


def _probabilities(
    frames: Mapping[str, Any] | None, segments: list[Segment]
) -> dict[int, NDArray[np.float32]] | None:
    if frames is None:
        return None
    rows = frames["probabilities"]
    if not rows or not isinstance(rows[0], list):
        rows = [rows]
    # Every channel has segments, but for audio without a single sample.
    numbers = sorted({segment.channel for segment in segments}) or range(len(rows))
    return {n: np.array(row, np.float32) for n, row in zip(numbers, rows, strict=True)}
