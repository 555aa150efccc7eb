"""What batched detectors share: full precision, no gradients, memory that does not grow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vad.frames import SAMPLE_RATE, frame_count
from vad.nn.precision import full_float32


class BatchedDetector(nn.Module, ABC):
    """A detector that scores each row of a batch by itself."""

    def forward(self, audio: Tensor) -> Tensor:
        """Speech probabilities of each row.

        Args:
            audio: [batch, samples] float32 in [-1, 1] at 16 kHz.

        Returns:
            [batch, ceil(samples / 160)] float32 in 0 to 1.
        """
        frames = frame_count(audio.shape[1], SAMPLE_RATE)
        if not frames or not len(audio):
            return audio.new_zeros(len(audio), frames)
        # Not `torch.inference_mode`: what it makes may not stand in a loss.
        with torch.no_grad(), full_float32(audio.device):
            return self.scores(audio, frames)

    @abstractmethod
    def scores(self, audio: Tensor, frames: int) -> Tensor:
        """[batch, frames] probabilities of audio that is not empty."""


def in_blocks(function: Callable[[Tensor], Tensor], windows: Tensor, most: int) -> Tensor:
    """`function` over overlapping windows, at most about `most` of them in memory at once.

    Args:
        function: treats each window alone: [batch, n, …] → [batch, n, …].
        windows: [batch, count, samples], a view that shares its samples.
        most: windows a call, those of all rows together.
    """
    blocks = torch.split(windows, max(1, most // max(1, len(windows))), dim=1)
    return torch.cat([function(block) for block in blocks], dim=1)
