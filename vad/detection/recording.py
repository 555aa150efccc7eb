"""A file on its way from blocks to segments.

blocks → channels → 16 kHz → engine → segmenter → events → tiler → segments
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vad.audio import AudioReader, Channels, Resampler, SourceInfo, select_channels
from vad.audio.channels import Selection
from vad.config import Segmentation
from vad.detection.segmenter import Segmenter
from vad.detection.tiler import Tiler
from vad.events import SpeechEvent, SpeechStarted, StopReason
from vad.frames import HOP_MS, SAMPLE_RATE, frame_count, samples_to_ms
from vad.inference.engine import Engine, Frames
from vad.segments import Segment, Segments

Progress = Callable[[float], None]
Blocks = NDArray[np.float32]  # [samples, channels] at 16 kHz

# Audio of a known length goes on in pieces of so much, which the engine's threads share. What
# comes through a pipe goes on as it comes.
GATHERED_SAMPLES = 60 * SAMPLE_RATE


class Track:
    """One channel at 16 kHz: its engine and its segmenter.

    Args:
        late_ms: by how much its samples come later than they were received.
    """

    def __init__(self, engine: Engine, segmentation: Segmentation, late_ms: float = 0) -> None:
        self.engine = engine
        self.signal = self.engine.signal()
        late, known_at_ms = math.ceil(late_ms), engine.architecture.known_at_ms
        self.segmenter = Segmenter(segmentation, known_at_ms=lambda f: known_at_ms(f) + late)

    def flush(
        self, end_ms: int, frames: int, reason: StopReason
    ) -> tuple[Frames, list[SpeechEvent]]:
        values = self.engine.flush(self.signal, frames)
        # What a flush brings out is known now, however much its frames would have waited for.
        events = [
            replace(event, detected_at_ms=min(event.detected_at_ms, end_ms))
            if isinstance(event, SpeechStarted)
            else event
            for event in self.segmenter.push(values)
        ]
        return values, events + self.segmenter.flush(end_ms, reason)


class Analysis:
    """A file on its way: iterate over its segments, then take the `result`.

    Segments come in order of time within a channel, each as soon as it is final.

    Attributes:
        info: what the file is.
    """

    def __init__(
        self,
        engine: Engine,
        model: str,
        reader: AudioReader,
        segmentation: Segmentation,
        channels: Channels,
        keep_probabilities: bool,
        progress: Progress | None,
    ) -> None:
        self.info: SourceInfo = reader.info
        self._reader, self._progress = reader, progress
        # Which channels that gives is known from one empty block, errors included.
        empty = np.zeros((0, self.info.channels), np.float32)
        count = select_channels(empty, channels).shape[1]
        first = channels if isinstance(channels, int) else 0
        self._numbers = range(first, first + count)
        self._tracks = [Track(engine, segmentation) for _ in range(count)]
        self._tilers = [Tiler(number) for number in self._numbers]
        self._resampler = Resampler(self.info.sample_rate, SAMPLE_RATE, count)
        self._lead = _lead_frames(self.info)
        self._selection = Selection(channels)
        self._kept: list[list[Frames]] | None = (
            [[] for _ in range(count)] if keep_probabilities else None
        )
        self._segments: list[Segment] = []
        self._model, self._segmentation = model, segmentation
        self._result: Segments | None = None
        self._iterator = self._run()

    @property
    def warnings(self) -> list[str]:
        """What was wrong with the file, so far."""
        return self._reader.warnings

    @property
    def result(self) -> Segments:
        """Everything, once the iteration is through."""
        if self._result is None:
            raise RuntimeError("iterate over the analysis first: the audio is not through")
        return self._result

    def __iter__(self) -> Iterator[Segment]:
        """The same iterator each time: audio goes through once."""
        return self._iterator

    def _run(self) -> Iterator[Segment]:
        if self._lead:
            before = np.zeros(self._lead, np.float32)
            for i, track in enumerate(self._tracks):
                yield from self._tiled(i, before, track.segmenter.push(before))
        for audio in self._gathered():
            for i, track in enumerate(self._tracks):
                values = track.engine.push(track.signal, audio[:, i])
                yield from self._tiled(i, values, track.segmenter.push(values))
            if self._progress and self._reader.length:
                self._progress(min(1.0, self._reader.samples / self._reader.length))
        rate, samples = self.info.sample_rate, self._reader.samples
        end_ms, frames = samples_to_ms(samples, rate), frame_count(samples, rate)
        for i, (track, tiler) in enumerate(zip(self._tracks, self._tilers, strict=True)):
            yield from self._tiled(i, *track.flush(end_ms, frames - self._lead, "end"))
            last = tiler.finish(end_ms)
            self._segments += last
            yield from last
        self._result = self._finished(samples / rate)

    def _gathered(self) -> Iterator[Blocks]:
        least = GATHERED_SAMPLES if self._reader.length else 0
        parts: list[Blocks] = []
        held = 0
        skipped = self._lead * HOP_MS * self.info.sample_rate // 1000
        for whole in self._reader.blocks():
            block, skipped = whole[skipped:], max(0, skipped - len(whole))
            parts.append(self._resampler.push(self._selection.push(block)))
            held += len(parts[-1])
            if held >= least:
                yield np.concatenate(parts)
                parts, held = [], 0
        yield np.concatenate([*parts, self._resampler.flush()])

    def _tiled(self, i: int, values: Frames, events: list[SpeechEvent]) -> list[Segment]:
        if self._kept is not None:
            self._kept[i].append(values)
        final = self._tilers[i].push(values, events)
        self._segments += final
        return final

    def _finished(self, duration: float) -> Segments:
        kept = None
        if self._kept is not None:
            kept = {
                number: np.concatenate([*values, np.zeros(0, np.float32)])
                for number, values in zip(self._numbers, self._kept, strict=True)
            }
        if self._selection.warning:
            self._reader.warnings.append(self._selection.warning)
        return Segments(
            segments=sorted(self._segments, key=lambda s: (s.channel, s.start)),
            duration=duration,
            model=self._model,
            source=self.info,
            params=self._segmentation,
            warnings=list(self._reader.warnings),
            probabilities=kept,
            channels=len(self._numbers),
            name=self._reader.name,
        )

    def __enter__(self) -> Analysis:
        return self

    def __exit__(self, *exc: object) -> None:
        self._reader.close()


def _lead_frames(info: SourceInfo) -> int:
    """Whole frames before the audio track begins, which are silent, and no network need hear.

    It would be heard as a hard cut from digital silence, after which speech is found late.
    """
    step = 1000 // math.gcd(1000, HOP_MS * info.sample_rate)  # of frames that are whole samples
    frames = int(info.start * 1000) // HOP_MS
    return frames - frames % step
