"""What reference detectors make of mixed scenes: soft targets beside the sharp labels.

The labels come from clean clips and say nothing about what can still be heard in a mixture, nor
do they tell a pause inside a sentence from silence. Detectors that learnt from other data do;
silero-vad and FireRedVAD together err less than either, and with a larger network of our own
less still. After Hinton et al., "Distilling the Knowledge in a Neural Network" (2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vad.teachers import Teacher, ensemble
from vad.teachers.segmentation import Segmentation
from vad.training.draw import Draw
from vad.training.labels import SPEECH

UNTAUGHT = -1.0  # of frames that no teacher has heard
# The level at which teachers hear each scene: they learnt from recordings of usual levels. Of
# festvox-ru in noise at 0 dB, at peaks of −52 to 0 dBFS, they told speech with an AUC of .914; of
# the same scenes at this one level .979.
PEAK = 0.3
# Frames without speech at a scene's start, beyond which segmentation 3.0 is not asked: behind five
# seconds of quiet it says "speech" 100 ms late in the median of timit-nltk's sentences, up to 560.
QUIET = 100


def hints(
    audio: Tensor, labels: Tensor, teachers: Sequence[Teacher], share: float, draw: Draw
) -> Tensor:
    """[rows, frames] speech probability by all teachers together, `UNTAUGHT` where not heard.

    Args:
        audio: [rows, samples] of scenes.
        labels: [rows, frames] of them; what holds no speech needs no teacher.
        teachers: the mean of their logits counts.
        share: of the scenes with speech that are heard.
    """
    heard = torch.full(labels.shape, UNTAUGHT, device=audio.device)
    chosen = draw.chance(len(labels), p=share) & (labels == SPEECH).any(1)
    rows = torch.nonzero(chosen)[:, 0]
    if teachers and len(rows):
        scenes = at_one_level(audio[rows])
        late = (labels[rows] == SPEECH).int().argmax(1) > QUIET
        punctual = [teacher for teacher in teachers if not isinstance(teacher, Segmentation)]
        for some, who in ((~late, teachers), (late, punctual)):
            if who and some.any():
                said = ensemble([teacher(scenes[some]) for teacher in who])
                heard[rows[some]] = said.clamp(0, 1)
    return heard


def at_one_level(audio: Tensor) -> Tensor:
    """[rows, samples] without their constant offset, each with a peak of `PEAK`."""
    centred = audio - audio.mean(dim=1, keepdim=True)
    return centred * (PEAK / centred.abs().amax(dim=1, keepdim=True).clamp_min(1e-6))
