"""A trained network and an earlier one in one: most of what either is good at is there."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from vad.nn import Network


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Blend:
    """What becomes of a stage's network at its end.

    Attributes:
        network: its architecture's name.
        of: an earlier stage of the plan, or the name or folder of a model.
        share: of that one's weights (Wortsman et al., "Robust fine-tuning of zero-shot models",
            2022).
        refresh: batches of scenes from which the norms' statistics are measured anew (Izmailov et
            al., "Averaging weights leads to wider optima", 2018): those of the one network and of
            the other don't fit what is between them.
        bias: added to its outputs before the sigmoid, so that 0.5 is a sensible threshold again.
    """

    network: str
    of: str
    share: Annotated[float, Field(ge=0, le=1)]
    refresh: Annotated[int, Field(ge=0)] = 0
    bias: float = 0.0


@torch.no_grad()
def mixed_with(network: Network, other: dict[str, Tensor], share: float) -> Network:
    """A new network with a share of other weights and statistics; both of one architecture."""
    mixed = copy.deepcopy(network)
    for name, tensor in mixed.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(other[name].to(tensor), share)
    return mixed


@torch.no_grad()
def blended(network: Network, other: Network, blend: Blend, batches: Iterable[Tensor]) -> Network:
    """A new network as `blend` says.

    Args:
        network, other: of one architecture, on one device.
        batches: [rows, samples] each, of scenes.
    """
    mixed = mixed_with(network, other.state_dict(), blend.share)
    norms = [each for each in mixed.modules() if isinstance(each, nn.BatchNorm1d)]
    if blend.refresh and norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        mixed.train()
        for batch in batches:
            mixed(batch)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    biases = [parameter for name, parameter in mixed.named_parameters() if name.endswith("bias")]
    biases[-1].add_(blend.bias)
    return mixed.eval()
