"""`POST /page/segments`: other thresholds over probabilities that the page already has.

An hour of audio need not be sent again for each move of a slider: its probabilities are a
hundredth of it, and give what `POST /v1/vad` gives.
"""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

import numpy as np
from pydantic import Field, Json

from service.fields import ChannelsField, ResponseFormat, SegmentationFields
from vad.analytics import call_analytics
from vad.audio import SourceInfo
from vad.config import Segmentation
from vad.detection.segmenter import Segmenter
from vad.detection.tiler import Tiler
from vad.errors import ParameterError
from vad.frames import frame_count, samples_to_ms
from vad.inference.engine import Frames
from vad.segments import Segment, Segments


class HeardFields(SegmentationFields):
    """What the page knows of a file, beside its probabilities."""

    model: str
    name: str = "audio"
    samples: int = Field(ge=0, le=2**40)
    source: Json[SourceInfo]
    warnings: Json[tuple[str, ...]] = ()
    channels: ChannelsField = "mix"
    analytics: bool = False
    response_format: ResponseFormat = "json"


def segments_anew(file: BinaryIO, fields: HeardFields) -> Segments:
    """The result that the same file would give with other thresholds.

    Args:
        file: [channels, frames] float32, little-endian: probabilities of each channel.
        fields: of the request.

    Raises:
        UnsupportedAudio: no such source.
        ParameterError: a parameter out of range, or there are not as many probabilities as
            frames in so many samples.
    """
    source, segmentation = fields.source, fields.segmentation()
    source.check()
    frames = frame_count(fields.samples, source.sample_rate)
    count = source.channels if fields.channels == "separate" else 1
    first = fields.channels if isinstance(fields.channels, int) else 0
    data = file.read(4 * count * frames + 1)
    if len(data) != 4 * count * frames:
        raise ParameterError("file", f"must hold {count} × {frames} float32 probabilities")
    probabilities = np.frombuffer(data, "<f4").reshape(count, frames)
    end_ms = samples_to_ms(fields.samples, source.sample_rate)
    result = Segments(
        segments=[
            segment
            for channel, row in enumerate(probabilities, first)
            for segment in _tiled(row, channel, segmentation, end_ms)
        ],
        duration=fields.samples / source.sample_rate,
        model=fields.model,
        source=source,
        params=segmentation,
        warnings=list(fields.warnings),
        channels=count,
        name=fields.name,
    )
    return replace(result, analytics=call_analytics(result)) if fields.analytics else result


def _tiled(row: Frames, channel: int, segmentation: Segmentation, end_ms: int) -> list[Segment]:
    segmenter, tiler = Segmenter(segmentation), Tiler(channel)
    found = tiler.push(row, segmenter.push(row))
    found += tiler.push(row[:0], segmenter.flush(end_ms, "end"))
    return found + tiler.finish(end_ms)
