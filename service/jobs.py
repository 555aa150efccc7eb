"""One file on its way through the detector, in a worker thread."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import UploadFile

from service.fields import FileFields
from service.workers import Cancellation
from vad.audio import AudioReader, open_audio
from vad.errors import AudioTooLong, UnsupportedAudio
from vad.formats import to_dict
from vad.segments import Segment, Segments

if TYPE_CHECKING:
    from service.state import Service


class MeteredDecoder:
    """A reader whose blocks are timed and counted; a `vad.audio.reader.Decoder` itself.

    Attributes:
        seconds: spent on decoding.
    """

    def __init__(self, reader: AudioReader, max_audio_s: float, cancellation: Cancellation) -> None:
        self.info = reader.info
        self.length = reader.length
        self.warnings = reader.warnings
        self.close = reader.close
        self.seconds = 0.0
        self._reader = reader
        self._max_audio_s = max_audio_s
        self._cancellation = cancellation

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The reader's blocks.

        Raises:
            AudioTooLong: it gives more than `max_audio_s`.
        """
        blocks = self._reader.blocks()
        while True:
            self._cancellation.check()
            started = perf_counter()
            block = next(blocks, None)
            self.seconds += perf_counter() - started
            if block is None:
                return
            if self._reader.samples > self._max_audio_s * self.info.sample_rate:
                raise AudioTooLong(f"a file may have {self._max_audio_s:g} s of audio")
            yield block


class FileJob:
    """One file: `open`, then `step` until None, then `result`; or `run`. All in worker threads.

    Args:
        service: that the request came to.
        upload: the file, at its start.
        fields: of the request.
        cancellation: stops the job from elsewhere.

    Attributes:
        id: of the answer.
        name: of the file.
    """

    def __init__(
        self, service: Service, upload: UploadFile, fields: FileFields, cancellation: Cancellation
    ) -> None:
        self.id = f"vad_{uuid.uuid4().hex}"
        self.name = upload.filename or "audio"
        self._service = service
        self._file = upload.file
        self._fields = fields
        self._cancellation = cancellation
        self._seconds = 0.0
        self._stack = ExitStack()

    def open(self) -> None:
        """Decodes the beginning.

        Raises:
            AudioError: it can't be decoded, or has too many channels.
            ParameterError: a field that doesn't fit this file.
        """
        started = perf_counter()
        fields, settings = self._fields, self._service.settings
        reader = self._stack.enter_context(
            open_audio(
                self._file,
                sample_rate=fields.sample_rate,
                encoding=fields.encoding,
                name=self.name,
            )
        )
        if reader.info.channels > settings.max_channels:
            raise UnsupportedAudio(f"a file may have {settings.max_channels} channels")
        self._meter = MeteredDecoder(reader, settings.max_audio_s, self._cancellation)
        self._meter.seconds = perf_counter() - started
        self._analysis = self._stack.enter_context(
            self._service.detector.analyse(
                AudioReader(self._meter, self.name),
                segmentation=fields.segmentation(),
                channels=fields.channels,
                probabilities="probabilities" in fields.include,
            )
        )
        self._segments = iter(self._analysis)
        self._seconds = perf_counter() - started

    def step(self) -> Segment | None:
        """The next segment, as soon as it is final; None after the last."""
        started = perf_counter()
        try:
            return next(self._segments, None)
        finally:
            self._seconds += perf_counter() - started

    def result(self) -> Segments:
        """Everything, after the last step."""
        result = self._analysis.result
        self._service.metrics.audio_seconds.labels(kind="file").inc(result.duration)
        self._service.metrics.file_seconds.observe(self._seconds)
        return result

    def run(self) -> Segments:
        """All of the above at once."""
        try:
            self.open()
            while self.step() is not None:
                pass
            return self.result()
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of the decoder; the file itself is its owner's to close."""
        self._stack.close()

    def answer(self) -> dict[str, Any]:
        """Runs it all; a `schemas.Detection`."""
        return self._answer(self.run())

    def summary(self) -> dict[str, Any]:
        """The answer without its segments, after the last step."""
        answer = self._answer(self.result())
        del answer["segments"]
        return answer

    def _answer(self, result: Segments) -> dict[str, Any]:
        decode = self._meter.seconds
        timing = {"decode_ms": decode, "inference_ms": self._seconds - decode}
        rounded = {name: round(1000 * seconds, 1) for name, seconds in timing.items()}
        return {"id": self.id, **to_dict(result), "timing": rounded}
