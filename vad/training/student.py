"""One network in training: its weights, their running average, its optimiser."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from vad.nn import ARCHITECTURES, Architecture, Network
from vad.training.blend import mixed_with
from vad.training.parallel import Group
from vad.training.recipe import Recipe

# After n steps the mean is over about n / SHORT_MEMORY of them, up to what the recipe says: the
# random start would else weigh on it for long.
SHORT_MEMORY = 10


def _hidden(network: Network) -> list[tuple[torch.nn.Parameter, torch.nn.Parameter]]:
    """The weights of layers between the first and the last, each with itself as a matrix.

    A convolution's taps lie beside its inputs: [out, in · kernel]. The first layer's filters and
    the last one's few outputs are not what Muon is for (Jordan et al., 2024).
    """
    weights = [p for p in network.parameters() if p.ndim > 1][1:-1]
    return [(weight, torch.nn.Parameter(weight.detach().flatten(1))) for weight in weights]


def same_weights(one: Architecture, other: Architecture) -> bool:
    """Whether weights of one are weights of the other: of one name, their layers differ by nothing
    but numbers that stand beside the weights, such as a floor."""
    beside = ("floor_dbfs",)
    layers = [
        [{k: v for k, v in layer.to_dict().items() if k not in beside} for layer in each.layers]
        for each in (one, other)
    ]
    return (one.name, one.delay) == (other.name, other.delay) and layers[0] == layers[1]


class Student:
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
        self._matrices = _hidden(self.network) if recipe.muon else []
        self._optimisers = self._begin()

    def learn(self, loss: Tensor, step: int, group: Group) -> None:
        """One step down the gradient of its loss, at the recipe's rate of this step."""
        rate = self.recipe.rate(step)
        self.network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        group.average(p.grad for p in self.network.parameters() if p.grad is not None)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        for weight, matrix in self._matrices:
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        for optimiser in self._optimisers:
            muon = isinstance(optimiser, torch.optim.Muon)
            for parameters in optimiser.param_groups:
                parameters["lr"] = rate * self.recipe.muon if muon else rate
            optimiser.step()
        self._remember(min(self.recipe.ema, (step + 1) / (step + 1 + SHORT_MEMORY)))

    def result(self) -> Network:
        """The average, with the recipe's share of the weights that it started from."""
        if self._start is None or not self.recipe.keep:
            return self.average
        return mixed_with(self.average, self._start, self.recipe.keep)

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "start": self._start,
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._start = state["start"]
        for optimiser, own in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(own)

    def _begin(self) -> list[torch.optim.Optimizer]:
        """Muon for hidden weights if the recipe says so, AdamW for all others."""
        hidden = {id(weight) for weight, _ in self._matrices}
        others = [p for p in self.network.parameters() if id(p) not in hidden]
        groups = [
            {"params": [p for p in others if p.ndim > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        ]
        begun: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=self.recipe.peak_rate, fused=True)
        ]
        if self._matrices:
            muon = torch.optim.Muon(
                [matrix for _, matrix in self._matrices],
                weight_decay=self.recipe.weight_decay,
                adjust_lr_fn="match_rms_adamw",  # so that one rate suits both
            )
            begun.append(muon)
        return begun

    @torch.no_grad()
    def _remember(self, decay: float) -> None:
        means, news = self.average.state_dict().values(), self.network.state_dict().values()
        pairs = list(zip(means, news, strict=True))
        floating = [(mean, new) for mean, new in pairs if mean.is_floating_point()]
        torch._foreach_lerp_([m for m, _ in floating], [n for _, n in floating], 1 - decay)
        for mean, new in pairs:
            if not mean.is_floating_point():
                mean.copy_(new)
