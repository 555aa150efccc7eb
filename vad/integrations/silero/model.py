"""The model: a probability for each 32 ms, of a stream chunk by chunk or of a whole recording."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vad.audio import Resampler
from vad.config import DEFAULT_MODEL
from vad.detector import Detector
from vad.errors import ModelNotFound, ParameterError
from vad.frames import HOP_MS, SAMPLE_RATE, frame_count
from vad.inference.engine import Engine, Signal
from vad.integrations.silero.arrays import Samples, mono, rows, tensor, torch
from vad.integrations.silero.values import rate_of
from vad.nn import weights

WINDOW_MS = 32  # of a probability: silero's chunk
_TOUCHED = 4  # frames, by every window wherever it starts
_PIECE_S = 10  # of a recording, that goes through the network at once


def load_silero_vad(
    onnx: bool = False,
    opset_version: int = 16,
    sequence: bool = False,
    sampling_rate: int = SAMPLE_RATE,
    max_frames: int = 512,
) -> Any:
    """convad's default model in the form of silero-vad's.

    Args:
        onnx, opset_version: accepted; there is one form of it, which needs neither torch nor ONNX
            Runtime.
        sequence: a `SileroVADSequence` instead.
        sampling_rate: of that, Hz.
        max_frames: accepted; pieces are as long as suits the network.

    Raises:
        ParameterError: an opset that silero-vad has not.
    """
    if onnx and opset_version not in (15, 16):
        raise ParameterError("opset_version", f"must be 15 or 16, not {opset_version!r}")
    if sequence:
        return SileroVADSequence("", sampling_rate, max_frames)
    return SileroVAD()


def onnx_file(model: str | os.PathLike[str] = DEFAULT_MODEL) -> Path:
    """A model's ONNX file with silero-vad's inputs and outputs, for programs that take its path.

    Args:
        model: a name or a folder, as for `Detector.load`.

    Raises:
        ModelNotFound: there is none, or none with such a file; `vad export MODEL FILE --interface
            silero` writes one.
    """
    found = weights.folder_of(model) / "model-silero.onnx"
    if not found.is_file():
        raise ModelNotFound(f"{found} is not there: vad export writes it with --interface silero")
    return found


class TorchModule:
    """What callers do with silero-vad's model since it is a module of torch's.

    Each is the model itself, whose detector has its device (see `Detector.load`), which computes in
    float32 and has nothing to learn.
    """

    training = False

    def to(self, *_: Any, **__: Any) -> Self:
        """Itself."""
        return self

    cpu = cuda = half = bfloat16 = float = double = to
    eval = train = requires_grad_ = share_memory = to


class SileroVAD(TorchModule):
    """What silero-vad calls a model. It holds the state of one stream, or of a batch of them.

    A whole recording ends that stream, as it does with silero-vad: the next chunk is the first of
    another. It needs no state itself, so that threads may share a model for recordings.

    Args:
        detector: whose network; None loads the default one.

    Attributes:
        sample_rates: those of silero-vad; any other from 4 to 192 kHz is taken, too.
        delay_ms: how much of a chunk's audio must follow a frame before its probability is known.
    """

    def __init__(self, detector: Detector | None = None) -> None:
        self.detector = detector or Detector.load()
        self.sample_rates = [8000, SAMPLE_RATE]
        self.delay_ms = self._engine.architecture.delay * HOP_MS
        self.reset_states()

    @property
    def _engine(self) -> Engine:
        return self.detector.engine

    def reset_states(self, batch_size: int = 1) -> None:
        """Forget the stream; the next chunk is the first of another."""
        self._rate = 0
        self._streams: list[tuple[Resampler, Signal]] = []

    def __call__(self, x: Any, sr: Any) -> Any:
        """The next chunk of a stream.

        Args:
            x: [samples] or [batch, samples], 32 ms: 512 at 16 kHz, 256 at 8 kHz. Floats within
                ±1, or integers, which are scaled by their type.
            sr: Hz, a number or a tensor of one. Another rate, or another batch, than before starts
                anew.

        Returns:
            [batch, 1] float32: the largest probability of the frames that became known with it.

        Raises:
            ParameterError: another length, a rate at which 32 ms are no whole number of samples,
                or numbers on another scale than their type's.
        """
        chunks, rate = rows(x), rate_of("sr", sr)
        wanted, rest = divmod(rate * WINDOW_MS, 1000)
        if rest or chunks.shape[1] != wanted:
            told = f"{wanted} samples" if not rest else "a rate of whole chunks, such as 16000"
            raise ParameterError(
                "x", f"has {chunks.shape[1]} samples, but chunks of 32 ms at {rate} Hz need {told}"
            )
        if rate != self._rate or len(chunks) != len(self._streams):
            self._rate = rate
            self._streams = [(Resampler(rate), self._engine.signal()) for _ in chunks]
        pushes = [
            (signal, resampler.push(row[:, None])[:, 0])
            for (resampler, signal), row in zip(self._streams, chunks, strict=True)
        ]
        found = self._engine.push_many(pushes)
        # The first chunk completes frames of before the start alone, in which nobody speaks.
        largest = [values.max(initial=0.0) for values in found]
        return tensor(np.array(largest, np.float32)[:, None])

    forward = __call__

    def audio_forward(self, x: Any, sr: Any) -> Any:
        """[batch, windows] float32: probabilities of each 32 ms of whole recordings.

        Args:
            x: [samples] or [batch, samples], as for a chunk, of any length.
            sr: Hz.

        Raises:
            ParameterError: as for a chunk, but for the length.
        """
        self.reset_states()
        found = [self.windows(row, rate_of("sr", sr)) for row in rows(x)]
        return tensor(np.stack(found) if found else np.zeros((0, 0), np.float32))

    def windows(
        self, audio: Samples, sr: Any, progress: Callable[[float], object] | None = None
    ) -> NDArray[np.float32]:
        """Probabilities [windows] of each 32 ms of `audio`, [samples].

        Unlike those of a stream they are of the window itself, not of what became known in it.

        Args:
            progress: called with the fraction done.
        """
        rate = rate_of("sampling_rate", sr)
        frames = np.concatenate([*self._frames(audio, rate, progress), np.zeros(0, np.float32)])
        return _windows(frames, -(-len(audio) * 1000 // (rate * WINDOW_MS)))

    def _frames(
        self, audio: Samples, rate: int, progress: Callable[[float], object] | None
    ) -> Iterator[Samples]:
        resampler, signal = Resampler(rate), self._engine.signal()
        for start in range(0, len(audio), _PIECE_S * rate):
            piece = audio[start : start + _PIECE_S * rate]
            yield self._engine.push(signal, resampler.push(piece[:, None])[:, 0])
            if progress:
                progress(min(1.0, (start + len(piece)) / len(audio)))
        yield self._engine.push(signal, resampler.flush()[:, 0])
        yield self._engine.flush(signal, frame_count(len(audio), rate))

    def __reduce__(self) -> tuple[type[SileroVAD], tuple[Detector]]:
        return type(self), (self.detector,)  # a copy is of the model, not of its stream

    def state_dict(self) -> dict[str, Any]:
        """The network's weights, as tensors on its device, or as arrays where torch is not."""
        found = dict(sorted(self.detector.model().weights.items()))
        if torch() is None:
            return found
        return {name: tensor(each).to(self.detector.device) for name, each in found.items()}

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """Those of `state_dict`."""
        return iter(self.state_dict().values())

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """The same with their names."""
        return iter(self.state_dict().items())


class SileroVADSequence:
    """silero-vad's form for whole recordings, which is convad's own way.

    Args:
        path: accepted.
        sampling_rate: Hz.
        max_frames, force_onnx_cpu: accepted.
    """

    def __init__(
        self,
        path: str,
        sampling_rate: int = SAMPLE_RATE,
        max_frames: int = 512,
        force_onnx_cpu: bool = True,
    ) -> None:
        self.sampling_rate, self.max_frames = rate_of("sampling_rate", sampling_rate), max_frames
        self._model = SileroVAD()

    def audio_forward(
        self, audio: Any, sampling_rate: int = SAMPLE_RATE, max_frames: int | None = None
    ) -> NDArray[np.float32]:
        """[windows] float32 of numpy's, as silero's gives them."""
        return self._model.windows(mono(audio), sampling_rate)


def _windows(frames: Samples, count: int) -> NDArray[np.float32]:
    """[count] of each 32 ms the largest of the frames of 10 ms that it touches.

    window          0               1           …
    frames       [0 1 2 3]    [3 4 5 6]
    """
    touched = np.arange(count)[:, None] * WINDOW_MS // HOP_MS + np.arange(_TOUCHED)
    padded = np.pad(frames, (0, max(0, int(touched.max(initial=-1)) + 1 - len(frames))))
    found: NDArray[np.float32] = padded[touched].max(axis=1)
    return found
