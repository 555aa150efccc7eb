"""Utterances and pauses: what is spoken in a scene, and its labels."""

from __future__ import annotations

import torch
from torch import Tensor

from vad.training.bank import Bank
from vad.training.draw import Draw
from vad.training.effects import from_db
from vad.training.recipe import SceneRecipe

# Clips in a row at most. A scene of eight seconds holds seven words with pauses; what would come
# after the last clip stays silent.
SLOTS = 12
SPEECH_DBFS = -20.0  # what speech is mixed at, before the scene gets its level


class Utterances:
    """Lays talkers' clips into rows.

    Args:
        bank: of speech.
        recipe: how to mix.
    """

    def __init__(self, bank: Bank, recipe: SceneRecipe) -> None:
        self.bank, self.recipe = bank, recipe

    def lay(self, draw: Draw, count: int, lone: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Utterances and pauses at about −20 dBFS RMS; or a `lone` one, somewhere.

        Returns:
            [count, samples] float32 and [count, frames] int8.
        """
        r = self.recipe
        corpora = self._talkers(draw, count)
        short, long = (draw.exponential(count, SLOTS, mean=mean) for mean in (60, 200))
        gaps = torch.where(draw.chance(count, SLOTS, p=0.75), short, long)
        # One scene in three starts in mid-talk, so that no silence need come first.
        starts = draw.exponential(count, mean=70)
        gaps[:, 0] = torch.where(draw.chance(count, p=0.33), 0, starts)
        if r.late and len(some := draw.some(count, r.late)):
            gaps[some, 0] = draw.uniform(len(some), high=0.9 * r.frames)
        if lone is not None:
            gaps[:, 1:] += lone[:, None] * r.frames
        changed = draw.uniform(count, SLOTS, low=0.88, high=1.12)
        speed = torch.where(draw.chance(count, SLOTS, p=r.speed), changed, 1.0)
        rows = self.bank.lay(draw, corpora, gaps.long(), r.frames, speed=speed)
        level = SPEECH_DBFS + draw.normal(count, SLOTS) * r.speech_spread_db
        return rows.scaled(from_db(level - self.bank.levels[rows.clip])), rows.labels

    def _talkers(self, draw: Draw, count: int) -> Tensor:
        """[count, slots] corpora; now and then another talker takes over."""
        drawn = self.bank.corpora(draw, count, SLOTS)
        slots = torch.arange(SLOTS, device=drawn.device)
        taken = torch.where(draw.chance(count, SLOTS, p=0.3), slots, 0).cummax(1).values
        return drawn.gather(1, taken)
