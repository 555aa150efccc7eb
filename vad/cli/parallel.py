"""Many recordings at once, as many as there are cores; results come in order."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO

from vad.cli.recordings import STANDARD_INPUT, Recording, standard_input
from vad.errors import VadError
from vad.terminal import Meter, complain, meter

if TYPE_CHECKING:
    from vad.audio import AudioReader, Channels
    from vad.audio.sandbox import Sandbox
    from vad.config import Segmentation
    from vad.detection.recording import Analysis
    from vad.detector import Detector
    from vad.segments import Segments


@dataclass(frozen=True)
class Listening:
    """How each recording is listened to."""

    segmentation: Segmentation
    channels: Channels = "mix"
    probabilities: bool = False
    encoding: str | None = None
    sample_rate: int | None = None


class Batch:
    """Listens to recordings; a context manager.

    Of several, each is decoded in a process of its own, so that what crashes the decoder costs
    that recording alone. These start at once, while the caller loads a model.

    Args:
        recordings: what to listen to.
        how: each.
        jobs: how many at once.
    """

    def __init__(self, recordings: Sequence[Recording], how: Listening, jobs: int) -> None:
        self._recordings, self._how = recordings, how
        self._jobs = min(jobs, len(recordings))
        self._idle: SimpleQueue[Sandbox] = SimpleQueue()
        self._own = ExitStack()

    def __enter__(self) -> Batch:
        if len(self._recordings) > 1:
            from vad.audio.sandbox import Sandbox

            for _ in range(self._jobs):
                self._idle.put(self._own.enter_context(Sandbox()))
        return self

    def __exit__(self, *error: object) -> None:
        self._own.close()

    def detect(
        self, detector: Detector, *, drawn: bool = True
    ) -> Iterator[tuple[Recording, Segments | None]]:
        """What was found in each recording, in order; None, and a line on standard error, where
        it cannot be read. Warnings are said as the result is handed out.

        Args:
            drawn: whether to show a meter.
        """
        with meter(len(self._recordings), drawn=drawn) as shown:

            def work(recording: Recording) -> Segments | Exception:
                try:
                    return self._detect(detector, recording, shown)
                except (VadError, OSError) as error:
                    return error
                finally:
                    shown.finish(recording.name)

            for recording, found in zip(self._recordings, self._in_order(work), strict=True):
                if isinstance(found, Exception):
                    complain(found, recording.source)
                    yield recording, None
                    continue
                for warning in found.warnings:
                    complain(f"warning: {warning}", recording.source)
                yield recording, found

    def _in_order(
        self, work: Callable[[Recording], Segments | Exception]
    ) -> Iterator[Segments | Exception]:
        if self._jobs < 2:
            yield from map(work, self._recordings)
            return
        pool = ThreadPoolExecutor(self._jobs, "recordings")
        try:
            yield from pool.map(work, self._recordings)
        except BaseException:  # such as an interrupt: what has not begun never will
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()

    def _detect(self, detector: Detector, recording: Recording, shown: Meter) -> Segments:
        how = self._how
        with self._opened(recording) as reader:
            reader.name = recording.name
            shown.start(recording.name, reader)
            analysis: Analysis = detector.analyse(
                reader,
                segmentation=how.segmentation,
                channels=how.channels,
                probabilities=how.probabilities,
            )
            for _ in analysis:
                pass
            return analysis.result

    @contextmanager
    def _opened(self, recording: Recording) -> Iterator[AudioReader]:
        from vad.audio import open_audio

        given: dict[str, Any] = {
            "sample_rate": self._how.sample_rate,
            "encoding": self._how.encoding,
        }
        with _source(recording) as source:
            if len(self._recordings) == 1:
                with open_audio(source, **given) as reader:
                    yield reader
                return
            sandbox = self._idle.get()
            try:
                with sandbox.open(source, name=recording.name, **given) as reader:
                    yield reader
            finally:
                self._idle.put(sandbox)


@contextmanager
def _source(recording: Recording) -> Iterator[str | BinaryIO]:
    """Its path, or open, where only this process can: `<(…)` of a shell is its own descriptor."""
    path = recording.source
    if path == STANDARD_INPUT:
        yield standard_input()
    elif os.path.exists(path) and (path.startswith(_OWN) or stat.S_ISFIFO(os.stat(path).st_mode)):
        with open(path, "rb") as file:
            yield file
    else:
        yield path


_OWN = ("/dev/fd/", "/dev/stdin", "/proc/self/")
