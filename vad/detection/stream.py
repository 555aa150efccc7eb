"""Live audio: blocks in, events out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.audio import PcmDecoder, Resampler, as_float
from vad.audio.pcm import as_array
from vad.audio.reader import check_declared_rate
from vad.audio.scale import Screen
from vad.config import Segmentation
from vad.detection.recording import Track
from vad.errors import ParameterError, StreamClosed
from vad.events import Event, Probabilities, SpeechStopped, StopReason
from vad.frames import HOP_MS, SAMPLE_RATE, frame_count, samples_to_ms
from vad.inference.engine import Engine, Frames


class Stream:
    """One live signal. For one caller at a time; made by `Detector.stream`.

    Times are of received audio: `received_ms` is now. `push` is two steps with the network in
    between, which a server of many streams takes apart, so that one batch serves them all:

        audio = stream.feed(block)                   # samples at 16 kHz
        probs = engine.push(stream.signal, audio)    # or `push_many`, with other streams' audio
        events = stream.take(probs)

    Attributes:
        signal: what the engine knows of this stream.
        speech_ms: total of the segments reported so far.
        segment_count: how many they are.
        warnings: what is wrong with the samples so far, as of files; see `vad.audio.scale`.
        closed: whether `finish` has been called.
    """

    def __init__(
        self,
        engine: Engine,
        sample_rate: int,
        encoding: str | None,
        segmentation: Segmentation,
        probabilities: bool,
    ) -> None:
        self.sample_rate = check_declared_rate(sample_rate)
        self._decoder = None if encoding is None else PcmDecoder(encoding)
        self._resampler = Resampler(self.sample_rate, SAMPLE_RATE)
        self._track = Track(engine, segmentation, self._resampler.latency_ms)
        self.signal = self._track.signal
        self._report_probabilities = probabilities
        self._received = 0
        self.speech_ms = 0
        self.segment_count = 0
        self.warnings: list[str] = []
        self._screen = Screen(self.sample_rate, self.warnings)
        self.closed = False

    @property
    def received_ms(self) -> int:
        """How much audio has arrived."""
        return samples_to_ms(self._received, self.sample_rate)

    @property
    def replaced(self) -> int:
        """Samples that were no sound (not finite, or beyond 1000) and count as 0, as in files."""
        return self._screen.replaced

    @property
    def segmentation(self) -> Segmentation:
        """The parameters in force for the next frame."""
        return self._track.segmenter.params

    @property
    def confirmed(self) -> int | None:
        """Id of the open segment, once it is too long to be discarded; None before and after.

        A segment that has been confirmed ends with a `SpeechStopped`, unless `update` raises
        the minimum or a negative pad turns it inside out.
        """
        return self._track.segmenter.confirmed

    def push(self, block: NDArray[Any] | bytes) -> list[Event]:
        """Take the next samples.

        Args:
            block: array [samples] (or [samples, 1]), float in [−1, 1] or integer; or bytes,
                where the stream has an encoding. Any number of them, none included; a sample
                may be split between two blocks of bytes.

        Returns:
            What became known, in order of time.

        Raises:
            StreamClosed: the stream has ended.
            ParameterError: bytes without an encoding, an array with one, several channels, or
                samples that are not scaled as their type says; nothing was taken then.
        """
        return self.take(self._track.engine.push(self.signal, self.feed(block)))

    def feed(self, block: NDArray[Any] | bytes) -> NDArray[np.float32]:
        """The first half of `push`: what comes in, without the network.

        Args:
            block: as for `push`.

        Returns:
            [samples] float32 at 16 kHz, none where the resampler waits for more. They must go
            through the engine, and what comes out to `take`, before any other call.

        Raises:
            StreamClosed, ParameterError: as `push`.
        """
        self._check_open()
        if isinstance(block, bytes | bytearray | memoryview):
            if self._decoder is None:
                raise ParameterError("encoding", "is needed to read bytes; or push arrays")
            samples = self._decoder.push(block)[:, None]
        elif self._decoder is not None:
            raise ParameterError("block", f"must be bytes of {self._decoder.encoding}")
        else:
            array = as_array(block, "block")
            self._screen.check_block(array)
            samples = as_float(array)
            if samples.shape[1] != 1:
                raise ParameterError("block", f"must have one channel, not {samples.shape[1]}")
        if self._decoder is None or not self._decoder.bounded:
            # A network remembers: one NaN would silence it for its whole receptive field.
            samples = self._screen.push(samples)
        self._received += len(samples)
        return self._resampler.push(samples)[:, 0]

    def take(self, probabilities: Frames) -> list[Event]:
        """The second half of `push`: what the network says of what `feed` returned.

        Args:
            probabilities: [frames] float32, from the engine.

        Returns:
            What became known, in order of time.
        """
        return self._events(probabilities, self._track.segmenter.push(probabilities))

    def flush(self) -> list[Event]:
        """Close an open segment now, at the last sample received; the stream goes on."""
        self._check_open()
        return self._end("flush")

    def reset(self) -> list[Event]:
        """Close an open segment and forget all sound heard; time goes on."""
        self._check_open()
        events = self._rest() + self._end("reset")
        self._track.engine.forget(self.signal)
        self._resampler = Resampler(self.sample_rate, SAMPLE_RATE)
        return events

    def finish(self, reason: StopReason = "end") -> list[Event]:
        """No more audio: everything that is still to be said. The stream is closed then.

        Args:
            reason: reported for a segment that this ends.

        Raises:
            StreamClosed: it had ended before.
        """
        self._check_open()
        self.closed = True
        return self._rest() + self._end(reason)

    def update(self, **changes: Any) -> Segmentation:
        """Change thresholds or durations, from the next frame not yet computed.

        Returns:
            All parameters in force.

        Raises:
            ParameterError: an unknown name or a value out of range; nothing changed then.
        """
        self._check_open()
        changed = self.segmentation.updated(**changes)
        self._track.segmenter.update(changed)
        return changed

    def _check_open(self) -> None:
        if self.closed:
            raise StreamClosed("the stream has ended: open a new one")

    def _rest(self) -> list[Event]:
        """What the resampler has held back."""
        audio = self._resampler.flush()[:, 0]
        return self.take(self._track.engine.push(self.signal, audio))

    def _end(self, reason: StopReason) -> list[Event]:
        frames = frame_count(self._received, self.sample_rate)
        return self._events(*self._track.flush(self.received_ms, frames, reason))

    def _events(self, values: Frames, events: Sequence[Event]) -> list[Event]:
        for event in events:
            if isinstance(event, SpeechStopped):
                self.segment_count += 1
                self.speech_ms += event.audio_end_ms - event.audio_start_ms
        if self._report_probabilities and len(values):
            first_ms = (self.signal.frames - len(values)) * HOP_MS
            report = Probabilities(first_ms, HOP_MS, tuple(float(v) for v in values))
            return [report, *events]
        return list(events)
