"""silero-vad as its users run it, and as fast as it goes."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from silero_vad import get_speech_timestamps, load_silero_vad

SILERO_CHUNK = 512
SILERO_CONTEXT = 64
RATE = 16_000
Audio = NDArray[np.float32]


class Package:
    """`load_silero_vad(onnx=True)`, called chunk by chunk."""

    def __init__(self) -> None:
        self._model = load_silero_vad(onnx=True)

    def step(self, chunk: Audio) -> float:
        return float(self._model(torch.from_numpy(chunk), RATE).item())


class Bare:
    """The same ONNX file without the package: numpy in, numpy out, one thread."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = str(files("silero_vad") / "data" / "silero_vad_op18_ifless.onnx")
        self._session = onnxruntime.InferenceSession(path, options)
        self._state = np.zeros((2, 1, 128), np.float32)
        self._input = np.zeros((1, SILERO_CONTEXT + SILERO_CHUNK), np.float32)
        self._rate = np.array(RATE, np.int64)

    def step(self, chunk: Audio) -> float:
        self._input[0, :SILERO_CONTEXT] = self._input[0, -SILERO_CONTEXT:]
        self._input[0, SILERO_CONTEXT:] = chunk
        feed = {"input": self._input, "state": self._state, "sr": self._rate}
        names = {each.name for each in self._session.get_inputs()}
        found, self._state = self._session.run(
            None, {name: value for name, value in feed.items() if name in names}
        )
        return float(found[0, 0])


class Batched:
    """The package's TorchScript with many streams in lock-step: the fastest that is known."""

    def __init__(self, streams: int) -> None:
        self._model = load_silero_vad(onnx=False)
        self._model.reset_states()
        self.streams = streams

    def step(self, chunks: Audio) -> Audio:
        with torch.inference_mode():
            found: Audio = self._model(torch.from_numpy(chunks), RATE).numpy()
        return found


class Whole:
    """`get_speech_timestamps` of a whole file."""

    def __init__(self, onnx: bool) -> None:
        self._model = load_silero_vad(onnx=onnx)

    def run(self, audio: Audio) -> int:
        return len(get_speech_timestamps(torch.from_numpy(audio), self._model))
