"""What batched detectors share: full precision, and memory that does not grow with the audio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """No gradients, no autocast and no TF32 in cuDNN, whatever the network in training uses.

    Not `torch.inference_mode`: what it makes may not stand in a loss.
    """
    with (
        torch.no_grad(),
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
    ):
        yield


def in_blocks(function: Callable[[Tensor], Tensor], windows: Tensor, most: int) -> Tensor:
    """`function` over overlapping windows, at most about `most` of them in memory at once.

    Args:
        function: treats each window alone: [batch, n, …] → [batch, n, …].
        windows: [batch, count, samples], a view that shares its samples.
        most: windows a call, those of all rows together.
    """
    blocks = torch.split(windows, max(1, most // max(1, len(windows))), dim=1)
    return torch.cat([function(block) for block in blocks], dim=1)
