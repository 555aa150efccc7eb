"""The two public faces: `Detector` (audio → segments) and `Stream` (blocks → events).

A file goes through `vad.detection.recording`, live audio through `vad.detection.stream`; both send
sound down one path, so that a file and a stream of it give the same answer.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, BinaryIO

from numpy.typing import NDArray

from vad.audio import AudioReader, Channels, open_audio
from vad.config import DEFAULT_MODEL, Segmentation
from vad.detection.recording import Analysis, Progress
from vad.detection.stream import Stream
from vad.errors import ModelError
from vad.frames import HOP_MS, SAMPLE_RATE
from vad.inference.engine import Engine, Frames
from vad.nn import weights
from vad.segments import Segments

AudioSource = str | os.PathLike[str] | bytes | BinaryIO | NDArray[Any] | AudioReader


class Detector:
    """A loaded network. One serves many threads; load it once.

    It pickles by its model's name or folder, to be loaded again where it is unpickled, once in
    each process: so it may be given to a pool of processes.

    Attributes:
        name: the model's.
        sha256: of its weights.
        engine: what runs the network.
    """

    def __init__(self, model: weights.Model, device: str = "auto") -> None:
        self.name, self.sha256 = model.name, model.sha256
        self.engine = Engine(model, device)
        self._origin: weights.Model | str = model
        self._asked_device = device

    @classmethod
    def load(
        cls, model: str | os.PathLike[str] = DEFAULT_MODEL, *, device: str = "auto"
    ) -> Detector:
        """A detector with a model of that name, or of that folder.

        Args:
            model: a name in `vad.nn.weights.available()`, or a path.
            device: `auto` (a GPU when there is one), `cpu`, `cuda`, `cuda:1` …

        Raises:
            ModelNotFound: no such model.
            CorruptModel: its files do not fit together.
            ParameterError: no such device here.
        """
        found = cls(weights.load(model), device)
        found._origin = os.path.abspath(model) if os.path.isdir(model) else os.fspath(model)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self._origin, str):
            return _load_again, (type(self), self._origin, self.sha256, self._asked_device)
        return type(self), (self._origin, self._asked_device)

    def model(self) -> weights.Model:
        """What was loaded, weights and all.

        Raises:
            ModelError: its files have gone meanwhile.
        """
        return weights.load(self._origin) if isinstance(self._origin, str) else self._origin

    def using(self, engine: Engine) -> Detector:
        """The same model run by another engine, such as one that many callers queue at."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self), engine=engine)
        return twin

    @property
    def sample_rate(self) -> int:
        """What the network hears, in Hz; input of any rate is resampled."""
        return SAMPLE_RATE

    @property
    def hop(self) -> float:
        """Seconds from one probability to the next."""
        return HOP_MS / 1000

    @property
    def hop_ms(self) -> int:
        return HOP_MS

    @property
    def lookahead_ms(self) -> int:
        """How far past its end a frame's probability listens, at most."""
        return self.engine.architecture.lookahead_ms

    @property
    def latency_ms(self) -> int:
        """Algorithmic latency: from a frame's end to its probability, at most."""
        return self.engine.architecture.latency_ms

    @property
    def parameters(self) -> int:
        return self.engine.architecture.parameter_count

    @property
    def device(self) -> str:
        return self.engine.device

    def warm_up(self) -> None:
        """Run the network once in each usual shape, so that no caller waits for that."""
        self.engine.warm_up()

    def probabilities(
        self, audio: AudioSource, sample_rate: int | None = None, *, encoding: str | None = None
    ) -> Frames:
        """Speech probabilities, [frames] float32; frame i covers [i, i + 1) · hop seconds.

        Args:
            audio: path, bytes, binary file object, or array [samples] or [samples, channels],
                float in [−1, 1] or integer; or an open `AudioReader`, which is closed in the
                end. Channels are mixed.
            sample_rate: of an array or of headerless PCM, in Hz.
            encoding: of headerless PCM: `pcm_s16le`, `pcm_f32le`, `mulaw` or `alaw`.

        Raises:
            DecodeError, UnsupportedAudio: see `vad.errors`.
            ParameterError: an array or PCM without its sample rate, or an unknown encoding.
        """
        found = self.detect(audio, sample_rate, encoding=encoding, probabilities=True)
        assert found.probabilities is not None
        return found.probabilities[0]

    def detect(
        self,
        audio: AudioSource,
        sample_rate: int | None = None,
        *,
        encoding: str | None = None,
        segmentation: Segmentation | None = None,
        channels: Channels = "mix",
        probabilities: bool = False,
        progress: Progress | None = None,
    ) -> Segments:
        """Where people speak; the segments tile the audio.

        Args:
            audio, sample_rate, encoding: as for `probabilities`.
            segmentation: thresholds and durations.
            channels: `mix`, `separate` (each on its own) or the index of one.
            probabilities: keep them in the result.
            progress: called with the fraction done, where the length is known beforehand.

        Raises:
            DecodeError, UnsupportedAudio, ParameterError: see `vad.errors`.
        """
        with self.analyse(
            audio,
            sample_rate,
            encoding=encoding,
            segmentation=segmentation,
            channels=channels,
            probabilities=probabilities,
            progress=progress,
        ) as analysis:
            for _ in analysis:
                pass
            return analysis.result

    def analyse(
        self,
        audio: AudioSource,
        sample_rate: int | None = None,
        *,
        encoding: str | None = None,
        segmentation: Segmentation | None = None,
        channels: Channels = "mix",
        probabilities: bool = False,
        progress: Progress | None = None,
    ) -> Analysis:
        """Like `detect`, but gives each segment as soon as it is final. Memory stays flat.

        Raises:
            DecodeError, UnsupportedAudio, ParameterError: at once, where opening shows it.
        """
        reader = (
            audio
            if isinstance(audio, AudioReader)
            else open_audio(audio, sample_rate=sample_rate, encoding=encoding)
        )
        try:
            return Analysis(
                self.engine,
                self.name,
                reader,
                segmentation or Segmentation(),
                channels,
                probabilities,
                progress,
            )
        except BaseException:
            reader.close()
            raise

    def stream(
        self,
        sample_rate: int = SAMPLE_RATE,
        *,
        encoding: str | None = None,
        segmentation: Segmentation | None = None,
        probabilities: bool = False,
    ) -> Stream:
        """Live audio, mono, in blocks of any size.

        Args:
            sample_rate: of the blocks, in Hz.
            encoding: when blocks are bytes.
            segmentation: thresholds and durations; `Stream.update` changes them.
            probabilities: report them as events too.

        Raises:
            ParameterError: an impossible rate or encoding.
        """
        return Stream(
            self.engine, sample_rate, encoding, segmentation or Segmentation(), probabilities
        )


@lru_cache(maxsize=8)
def _load_again(kind: type[Detector], model: str, sha256: str, device: str) -> Detector:
    """A detector that was pickled; a pool unpickles it for each task, so it is kept."""
    found = kind.load(model, device=device)
    if found.sha256 != sha256:
        raise ModelError(f"{model}: the weights are not those with which it was pickled")
    return found
