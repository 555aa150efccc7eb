"""What batched detectors share: memory that does not grow with the audio."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def in_blocks(function: Callable[[Tensor], Tensor], windows: Tensor, most: int) -> Tensor:
    """`function` over overlapping windows, at most about `most` of them in memory at once.

    Args:
        function: treats each window alone: [batch, n, …] → [batch, n, …].
        windows: [batch, count, samples], a view that shares its samples.
        most: windows a call, those of all rows together.
    """
    blocks = torch.split(windows, max(1, most // max(1, len(windows))), dim=1)
    return torch.cat([function(block) for block in blocks], dim=1)
