"""One file on its way through the detector, in a worker thread."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from io import StringIO
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile

from service.fields import RecordingFields
from service.files.workers import Cancellation
from vad.analytics import call_analytics
from vad.audio import AudioReader, SourceInfo
from vad.audio.pcm import Samples
from vad.audio.reader import Decoder
from vad.audio.sandbox import Undecoded
from vad.detection.recording import Analysis
from vad.errors import AudioTooLong, UnsupportedAudio
from vad.formats import to_dict
from vad.frames import frame_count
from vad.segments import Segment, Segments

if TYPE_CHECKING:
    from service.state import Service
    from service.tracing import Tracing


Overhear = Callable[[SourceInfo], Callable[[Samples], object]]


class Overheard:
    """A decoder whose blocks somebody else hears too.

    Args:
        decoder: where they come from.
        heard: called with each.
    """

    def __init__(self, decoder: Decoder, heard: Callable[[Samples], object]) -> None:
        self.info, self.length, self.warnings = decoder.info, decoder.length, decoder.warnings
        self._decoder, self._heard = decoder, heard

    def blocks(self) -> Iterator[Samples]:
        """Yields the decoder's blocks."""
        for block in self._decoder.blocks():
            self._heard(block)
            yield block

    def close(self) -> None:
        """Closes the decoder."""
        self._decoder.close()


class Left:
    """How many probabilities the answer to a request may still hold.

    Args:
        most: in all its files.
    """

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def spend(self, count: int) -> None:
        """Raises AudioTooLong if so many are more than are left."""
        self._left -= count
        if self._left < 0:
            raise AudioTooLong(f"an answer may hold {self._most} probabilities: ask for less")


class FileJob:
    """One file on its way through the detector: `run` in a worker thread, then `describe`.

    Args:
        service: that the request came to.
        upload: the file, at its start; or a pipe, which the job closes.
        fields: of the request.
        cancellation: stops the job from elsewhere.
        overhear: given what the file is, returns what is called with each decoded block,
            [samples, channels] float32.
        left: of the request's probabilities; None where this file is all of it.

    Attributes:
        id: of the answer.
        name: of the file.
        keeps_probabilities: whether the answer has them.
    """

    def __init__(
        self,
        service: Service,
        upload: UploadFile,
        fields: RecordingFields,
        cancellation: Cancellation,
        overhear: Overhear | None = None,
        left: Left | None = None,
    ) -> None:
        self.id = f"vad_{uuid.uuid4().hex}"
        self.name = upload.filename or "audio"
        self._service = service
        self._file = upload.file
        self._fields = fields
        self.keeps_probabilities = "probabilities" in fields.include
        self._cancellation = cancellation
        self._overhear = overhear
        self._left = left or Left(service.settings.max_probabilities)
        self._seconds = 0.0
        self._began = time()
        self._parent = None if service.tracing is None else service.tracing.here()

    def _open(self, stack: ExitStack) -> Analysis:
        """Decodes the beginning."""
        fields, settings = self._fields, self._service.settings
        source = Undecoded(self._file, self.name, fields.sample_rate, fields.encoding)
        decoding = self._service.decoders.decode(source, self._cancellation)
        self._decoder = stack.enter_context(decoding)
        if self._decoder.info.channels > settings.max_channels:
            raise UnsupportedAudio(f"a file may have {settings.max_channels} channels")
        heard: Decoder = self._decoder
        if self._overhear is not None:
            heard = Overheard(heard, self._overhear(heard.info))
        if self.keeps_probabilities:
            channels = heard.info.channels if fields.channels == "separate" else 1
            heard = Overheard(heard, self._spending(channels, heard.info.sample_rate))
        self._analysis = stack.enter_context(
            self._service.detector_for(self._cancellation, fields.model).analyse(
                AudioReader(heard, self.name),
                segmentation=fields.segmentation(),
                channels=fields.channels,
                probabilities=self.keeps_probabilities,
            )
        )
        return self._analysis

    def _spending(self, channels: int, rate: int) -> Callable[[Samples], None]:
        """What counts the probabilities of each block, which may end within a frame."""
        heard = 0

        def spend(block: Samples) -> None:
            nonlocal heard
            before, heard = frame_count(heard, rate), heard + len(block)
            self._left.spend(channels * (frame_count(heard, rate) - before))

        return spend

    @property
    def length(self) -> int | None:
        """Samples of each channel, where that is known or estimated once it is open."""
        return self._decoder.length

    def _result(self) -> Segments:
        result, metrics = self._analysis.result, self._service.metrics
        metrics.audio_seconds.labels(kind="file").inc(result.duration)
        metrics.file_seconds.observe(self._seconds)
        metrics.decode_seconds.observe(self._decoder.seconds)
        metrics.inference_seconds.observe(self._seconds - self._decoder.seconds)
        if result.duration:
            factor = self._seconds / result.duration
            metrics.real_time_factor.labels(kind="file").observe(factor)
        if self._service.tracing is not None:
            self._trace(self._service.tracing, result)
        return result

    def _trace(self, tracing: Tracing, result: Segments) -> None:
        """Spans of the file and its parts, which in truth take turns, a second of audio each."""
        info, decode = self._decoder.info, self._decoder.seconds
        about = {"audio_s": result.duration, "container": info.container, "codec": info.codec}
        took = time() - self._began
        self._parent = tracing.span("file", self._began, took, self._parent, **about)
        tracing.span("decode", self._began, decode, self._parent)
        inference = self._seconds - decode
        tracing.span("inference", self._began + decode, inference, self._parent)

    def run(
        self,
        opened: Callable[[], object] = lambda: None,
        put: Callable[[Segment], object] = lambda segment: None,
    ) -> Segments:
        """Finds the segments, handing over each as soon as it is final. In a worker thread.

        Args:
            opened: called once it is known that there is audio.
            put: called with each segment.

        Raises:
            AudioError: it can't be decoded, or has too many channels.
            ParameterError: a field that doesn't fit this file.
            DecodeTooSlow, DecodedTooLarge, DecoderCrashed: see `vad.errors`.
        """
        with ExitStack() as stack:
            started = perf_counter()
            segments = iter(self._open(stack))
            self._seconds = perf_counter() - started
            opened()
            while True:
                started = perf_counter()
                segment = next(segments, None)
                self._seconds += perf_counter() - started
                if segment is None:
                    break
                put(segment)
            return self._result()

    def answer(self) -> dict[str, Any]:
        """Runs it all; a `schemas.Detection`."""
        return self.describe(self.run())

    def describe(self, result: Segments) -> dict[str, Any]:
        """A result as a `schemas.Detection`."""
        began = time()
        decode = self._decoder.seconds
        timing = {"decode_ms": decode, "inference_ms": self._seconds - decode}
        rounded = {name: round(1000 * seconds, 1) for name, seconds in timing.items()}
        if "analytics" in self._fields.include:
            result = replace(result, analytics=call_analytics(result))
        described = {"id": self.id, **to_dict(result), "timing": rounded}
        if self._service.tracing is not None:
            self._service.tracing.span("format", began, time() - began, self._parent)
        return described


def dumps(value: dict[str, Any]) -> str:
    """As `json.dumps`, which lets no other thread run before hours of probabilities are text."""
    text = StringIO()
    for part in json.JSONEncoder().iterencode(value):
        text.write(part)
    return text.getvalue()
