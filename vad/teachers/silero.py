"""silero-vad 6 as a batched torch module: every window of a batch at once, on any device.

    windows of 512 samples, 64 more before each
      → magnitudes of 4 spectra → 4 convolutions → LSTM over the windows → probability of each

The network and its weights are those of silero-vad (Silero Team, MIT,
https://github.com/snakers4/silero-vad). The weights are read from the package's TorchScript
file: its `silero_vad_16k.safetensors` holds those of another version, which give other
probabilities than the models that the package runs.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from vad.errors import CorruptModel
from vad.frames import HOP_SAMPLES
from vad.teachers.batched import BatchedDetector, in_blocks

LATE_FRAMES = 3  # its probabilities come 30 ms after the sound; measured on labelled sets

WINDOW = 512  # samples
CONTEXT = 64  # samples of the window before; as many are mirrored at the end
SPECTRUM = 256  # samples, half of which overlap
BINS = SPECTRUM // 2 + 1
STRIDES = (1, 2, 2, 1)  # of the convolutions: 4 spectra become 1
WIDTH = 128
WINDOWS_AT_ONCE = 16_384  # about 0.4 GB


class Silero(BatchedDetector):
    """Audio → probabilities.

    Args:
        path: `silero_vad/data/silero_vad.jit` of the package.

    Raises:
        CorruptModel: the file isn't that network.
    """

    basis: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        tensors = _read(path)
        try:
            self.register_buffer("basis", tensors["stft.forward_basis_buffer"][:, 0])
            self.layers = nn.ModuleList(_layer(tensors, i) for i in range(len(STRIDES)))
            self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            self.lstm.load_state_dict({f"{n}_l0": tensors[f"decoder.rnn.{n}"] for n in names})
            self.out = nn.Linear(WIDTH, 1)
            self.out.weight.data = tensors["decoder.decoder.2.weight"][..., 0]
            self.out.bias.data = tensors["decoder.decoder.2.bias"]
        except (KeyError, RuntimeError) as error:
            raise CorruptModel(f"{path}: not the network of silero-vad 6: {error}") from error
        self.requires_grad_(False)
        self.eval()

    def scores(self, audio: Tensor, frames: int) -> Tensor:
        """A frame has the probability of the window around its centre, moved by `LATE_FRAMES`.

        The last ones repeat.
        """
        index = torch.arange(frames, device=audio.device) + LATE_FRAMES
        centres = index.clamp_max(frames - 1) * HOP_SAMPLES + HOP_SAMPLES // 2
        windows = self._windows(audio)
        return windows[:, (centres // WINDOW).clamp_max(windows.shape[1] - 1)]

    def _windows(self, audio: Tensor) -> Tensor:
        """[batch, windows] probabilities."""
        padded = functional.pad(audio, (CONTEXT, -audio.shape[1] % WINDOW))
        windows = padded.unfold(1, CONTEXT + WINDOW, WINDOW)
        hidden, _ = self.lstm(in_blocks(self._encode, windows, WINDOWS_AT_ONCE))
        return torch.sigmoid(self.out(hidden.relu()))[..., 0]

    def _encode(self, windows: Tensor) -> Tensor:
        """[batch, n, 576] samples → [batch, n, 128] features, each window alone.

        Four steps of time are too few for a convolution to pay: each layer is one product of
        matrices over all windows, three steps side by side.
        """
        flat = functional.pad(windows.flatten(0, 1), (0, CONTEXT), mode="reflect")
        spectra = functional.linear(flat.unfold(1, SPECTRUM, SPECTRUM // 2), self.basis)
        steps = (spectra[..., :BINS] ** 2 + spectra[..., BINS:] ** 2).sqrt()
        for layer, stride in zip(self.layers, STRIDES, strict=True):
            near = functional.pad(steps, (0, 0, 1, 1)).unfold(1, 3, stride)
            steps = layer(near.flatten(2)).relu()
        return steps.view(*windows.shape[:2], WIDTH)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of the network for 16 kHz, by their names in it."""
    data = io.BytesIO(path.read_bytes())
    with warnings.catch_warnings():
        # Deprecated as a way to run networks; no other reader of such files is offered.
        for category in (FutureWarning, DeprecationWarning):  # which one hangs on torch's version
            warnings.simplefilter("ignore", category)
        try:
            network = torch.jit.load(data, map_location="cpu")  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise CorruptModel(f"{path}: not a TorchScript file") from error
    tensors = network.state_dict().items()
    return {k.removeprefix("_model."): v.clone() for k, v in tensors if "_8k" not in k}


def _layer(tensors: dict[str, Tensor], index: int) -> nn.Linear:
    """A convolution over 3 steps as a linear layer over them side by side."""
    weight = tensors[f"encoder.{index}.reparam_conv.weight"].flatten(1)
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data = weight
    layer.bias.data = tensors[f"encoder.{index}.reparam_conv.bias"]
    return layer
