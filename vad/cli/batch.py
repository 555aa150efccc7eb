"""Many recordings at once, as many as there are cores; results come in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vad.cli.recordings import STANDARD_INPUT, Recording, standard_input
from vad.cli.terminal import Meter, complain, meter
from vad.errors import VadError

if TYPE_CHECKING:
    from vad.analysis import Analysis
    from vad.audio import AudioReader, Channels
    from vad.config import Segmentation
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


def detect_all(
    detector: Detector, recordings: Sequence[Recording], how: Listening, jobs: int
) -> Iterator[tuple[Recording, Segments | None]]:
    """What was found in each recording, in order; None, and a line on standard error, where it
    cannot be read. Warnings are said as the result is handed out."""
    with meter(len(recordings)) as shown:

        def detect(recording: Recording) -> Segments | Exception:
            try:
                return _detect(detector, recording, how, shown)
            except (VadError, OSError) as error:
                return error
            finally:
                shown.finish(recording.name)

        for recording, found in zip(recordings, _in_order(detect, recordings, jobs), strict=True):
            if isinstance(found, Exception):
                complain(found, recording.source)
                yield recording, None
                continue
            for warning in found.warnings:
                complain(f"warning: {warning}", recording.source)
            yield recording, found


def _in_order(
    work: Callable[[Recording], Segments | Exception], recordings: Sequence[Recording], jobs: int
) -> Iterator[Segments | Exception]:
    if min(jobs, len(recordings)) < 2:
        yield from map(work, recordings)
        return
    pool = ThreadPoolExecutor(min(jobs, len(recordings)), "recordings")
    try:
        yield from pool.map(work, recordings)
    except BaseException:  # such as an interrupt: what has not begun never will
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _detect(detector: Detector, recording: Recording, how: Listening, shown: Meter) -> Segments:
    with _open(recording, how) as reader:
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


def _open(recording: Recording, how: Listening) -> AudioReader:
    from vad.audio import open_audio

    source = standard_input() if recording.source == STANDARD_INPUT else recording.source
    return open_audio(source, sample_rate=how.sample_rate, encoding=how.encoding)
