"""Rooms that sound is played in: measured responses, and made-up ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from vad.training import effects
from vad.training.draw import Draw
from vad.training.prepare import Cached


class Rooms:
    """Impulse responses to draw from.

    Args:
        corpora: those of kind `rir` hold the measured ones.
        measured: their share of all draws, where there are any.
        device: where they lie.
    """

    def __init__(
        self, corpora: Sequence[Cached], measured: float, device: torch.device | str
    ) -> None:
        responses = [r for corpus in corpora if corpus.kind == "rir" for r in _responses(corpus)]
        self.responses = torch.stack(responses).to(device) if responses else None
        self.measured = measured

    def draw(self, draw: Draw, count: int) -> Tensor:
        """[count, 1 s], each with its direct sound as the first sample."""
        responses = effects.simulated_rooms(count, draw)
        if self.responses is not None and len(rows := draw.some(count, self.measured)):
            which = draw.below(torch.full_like(rows, len(self.responses)))
            responses[rows] = self.responses[which]
        return responses


def _responses(corpus: Cached) -> list[Tensor]:
    """A corpus's impulse responses, [1 s] each, from the loudest sample, the direct sound, on."""
    found = []
    for row in corpus.clips:
        whole = torch.from_numpy(corpus.samples(row).copy()).float() / 32768
        heard = whole[int(whole.abs().argmax()) :][: effects.RESPONSE]
        found.append(functional.pad(heard, (0, effects.RESPONSE - len(heard))))
    return found
