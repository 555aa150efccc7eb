"""One network in training: its weights, their running average, its optimiser."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from vad.nn import ARCHITECTURES, Network
from vad.training.parallel import Group
from vad.training.recipe import Recipe

# After n steps the mean is over about n / SHORT_MEMORY of them, up to what the recipe says: the
# random start would else weigh on it for long.
SHORT_MEMORY = 10


class Pupil:
    """A network that learns.

    Args:
        architecture: a name of `vad.nn.ARCHITECTURES`.
        recipe: of its optimiser.
        device: where it lives.
        init: weights to start from instead of random ones.

    Attributes:
        network: as it learns.
        average: the exponential mean of its weights, which is what is kept.
    """

    def __init__(
        self, architecture: str, recipe: Recipe, device: str, init: Network | None = None
    ) -> None:
        torch.manual_seed(recipe.seed)  # beside others or alone, it starts the same
        self.name, self.recipe = architecture, recipe
        self.network = Network(ARCHITECTURES[architecture]).to(device)
        self._start = None if init is None else copy.deepcopy(init.state_dict())
        if self._start is not None:
            self.network.load_state_dict(self._start)
        self.average = Network(ARCHITECTURES[architecture]).to(device)
        self.average.load_state_dict(self.network.state_dict())
        self.average.eval()
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        other = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": other, "weight_decay": 0.0},
            ],
            lr=recipe.peak_rate,
            fused=True,
        )

    def learn(self, loss: Tensor, step: int, group: Group) -> None:
        """One step down the gradient of its loss, at the recipe's rate of this step."""
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = self.recipe.rate(step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        group.average(p.grad for p in self.network.parameters() if p.grad is not None)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimiser.step()
        self._remember(min(self.recipe.ema, (step + 1) / (step + 1 + SHORT_MEMORY)))

    @torch.no_grad()
    def result(self) -> Network:
        """The average, with the recipe's share of the weights that it started from."""
        if self._start is None or not self.recipe.keep:
            return self.average
        mixed = copy.deepcopy(self.average)
        for name, tensor in mixed.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(self._start[name].to(tensor), self.recipe.keep)
        return mixed

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])

    @torch.no_grad()
    def _remember(self, decay: float) -> None:
        means, news = self.average.state_dict().values(), self.network.state_dict().values()
        pairs = list(zip(means, news, strict=True))
        floating = [(mean, new) for mean, new in pairs if mean.is_floating_point()]
        torch._foreach_lerp_([m for m, _ in floating], [n for _, n in floating], 1 - decay)
        for mean, new in pairs:
            if not mean.is_floating_point():
                mean.copy_(new)
