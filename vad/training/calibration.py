"""What a probability of 0.5 means: a scale and a bias on a network's logits, fitted on scenes that
it never heard, and folded into its last layer.

After Platt, "Probabilistic outputs for support vector machines" (1999); with the bias left out, it
is the temperature of Guo et al., "On calibration of modern neural networks" (2017).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from vad.nn import Network
from vad.training.labels import IGNORE

ROUNDS = 8  # of Newton's method in two variables; three or four are enough
Scene = tuple[Tensor, Tensor]


def calibrated(network: Network, scenes: Iterable[Scene]) -> tuple[Network, float, float]:
    """A new network whose probabilities fit the labels of scenes best, by cross-entropy.

    Args:
        network: whose last weights and bias are scaled, and whose last bias is moved.
        scenes: batches of samples [rows, samples] float32 and labels [rows, frames] int8 (1, 0;
            −1 is left out).

    Returns:
        The network, in evaluation mode, and what its logits were multiplied by and moved by.
    """
    fitted = copy.deepcopy(network).eval().requires_grad_(False)
    weight, bias = _last(fitted)
    values = dict(fitted.named_parameters())
    heard = list(scenes)
    map_ = torch.tensor([0.0, 0.0], device=values[weight].device)  # log of the scale, and the bias

    def loss(map_: Tensor) -> Tensor:
        scale = map_[0].exp()
        changed = {weight: values[weight] * scale, bias: values[bias] * scale + map_[1]}
        total, count = map_.new_zeros(()), 0
        for audio, labels in heard:
            known = labels != IGNORE
            logits = functional_call(fitted, changed, (audio,))[known]
            target = labels[known].float()
            total = total + functional.binary_cross_entropy_with_logits(
                logits, target, reduction="sum"
            )
            count += int(known.sum())
        return total / max(count, 1)

    map_.requires_grad_(True)
    optimiser = torch.optim.LBFGS([map_], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        found = loss(map_)
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    scale, move = float(map_[0].detach().exp()), float(map_[1].detach())
    with torch.no_grad():
        values[weight].mul_(scale)
        values[bias].mul_(scale).add_(move)
    return fitted, scale, move


def _last(network: Network) -> tuple[str, str]:
    """The names of the last layer's weights and bias."""
    bias = [name for name, _ in network.named_parameters() if name.endswith("bias")][-1]
    return bias.removesuffix("bias") + "weight", bias
