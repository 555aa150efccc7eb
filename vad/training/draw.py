"""Random numbers for a whole batch at once, on the device that mixes it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Draw:
    """A stream of random tensors that depends on its seeds alone.

    Args:
        device: where the tensors are made.
        seeds: any whole numbers ≥ 0, e.g. a run's seed, a step, a process.
    """

    def __init__(self, device: torch.device | str, *seeds: int) -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device)
        (state,) = np.random.SeedSequence(seeds).generate_state(1, np.uint64)
        self.generator.manual_seed(int(state >> np.uint64(1)))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Evenly between low and high."""
        made = torch.rand(shape, generator=self.generator, device=self.device)
        return made * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Draws normal numbers of mean 0 and variance 1."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def exponential(self, *shape: int, mean: float) -> Tensor:
        """Waiting times."""
        return -mean * torch.log1p(-self.uniform(*shape))

    def triangular(self, *shape: int, low: float, mode: float, high: float) -> Tensor:
        """Most often near the mode."""
        u, cut = self.uniform(*shape), (mode - low) / (high - low)
        rising = low + torch.sqrt(u * (high - low) * (mode - low))
        falling = high - torch.sqrt((1 - u) * (high - low) * (high - mode))
        return torch.where(u < cut, rising, falling)

    def below(self, limit: Tensor) -> Tensor:
        """A whole number from 0 to below each limit, int64."""
        return (self.uniform(*limit.shape) * limit).long().clamp_max(limit - 1).clamp_min(0)

    def chance(self, *shape: int, p: float) -> Tensor:
        """True with probability p."""
        return self.uniform(*shape) < p

    def some(self, rows: int, p: float) -> Tensor:
        """The numbers of the rows to which something happens with probability p."""
        return torch.nonzero(self.chance(rows, p=p))[:, 0]
