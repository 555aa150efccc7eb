"""What reference detectors make of mixed scenes: soft targets beside the sharp labels.

The labels come from clean clips and say nothing about what can still be heard in a mixture, nor
do they tell a pause inside a sentence from silence. Detectors that learnt from other data do;
silero-vad and FireRedVAD together err less than either, so each hears half of the scenes,
or both hear each.
After Hinton et al., "Distilling the Knowledge in a Neural Network" (2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vad.training.effects import Audio, Rng
from vad.training.labels import SPEECH, Labels, Probabilities, Reference, combine

UNTAUGHT = -1.0  # of frames that no reference has heard


def together(teachers: Sequence[Reference]) -> Reference:
    """All of them as one: the mean of their logits."""
    return lambda audio: combine([hears(audio) for hears in teachers])


def hints(
    audio: Audio, labels: Labels, teachers: Sequence[Reference], share: float, rng: Rng
) -> Probabilities:
    """[frames] speech probability by one of the teachers, or `UNTAUGHT` throughout.

    Args:
        audio: [samples] of a scene.
        labels: [frames] of it; what holds no speech needs no teacher.
        teachers: see `vad.training.prepare.references`.
        share: of the scenes with speech that are heard.
    """
    if not teachers or not (labels == SPEECH).any() or rng.random() >= share:
        return np.full(len(labels), UNTAUGHT, np.float32)
    heard = teachers[int(rng.integers(len(teachers)))](audio)
    return np.clip(heard, 0, 1).astype(np.float32)
