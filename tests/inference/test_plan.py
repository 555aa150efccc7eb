"""The fast form of a network gives the numbers of the plain one, whatever its layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.inference.arrays import Numpy, Torch
from vad.inference.engine import Engine
from vad.inference.plan import Plan
from vad.inference.state import MAX_BATCH_STEPS
from vad.nn import ARCHITECTURES, Architecture, Network
from vad.nn.ops import Convolution
from vad.nn.spec import (
    Activation,
    Bottleneck,
    Conv,
    Dropout,
    LogCompress,
    MaxPool,
    Mean,
    Mlpconv,
    Norm,
    Patches,
    Residual,
    dense,
)

Audio = NDArray[np.float32]


# Every kind of layer, with whatever makes a convolution's windows lie differently.
_ODD = Architecture(
    "odd",
    (
        Conv(1, 6, 90, stride=40, unit_norm=True),
        Activation("abs"),
        MaxPool(2),
        LogCompress(floor_dbfs=-65.0),
        Conv(6, 8, 3),
        Norm(8),
        Activation("relu"),
        Conv(8, 8, 6, stride=2, groups=2),
        Dropout(0.1),
        MaxPool(2),
        Residual(8, 3, dilation=7),
        Norm(8),
        Activation("relu"),
        Conv(8, 8, 5, dilation=3, groups=8, bias=False),
        Conv(8, 16, 4, groups=8),
        Conv(16, 8, 1, groups=4),
        Mlpconv(8, 8, 2),
        Bottleneck(8, 4, 2, dilation=2),
        Patches(2, 2, bands=4, kernel=3, taps=2),
        Activation("logit"),
        dense(8, 2),
        Activation("sigmoid"),
        Mean(2, 4),
        Activation("logit"),
    ),
    delay=1,
)
_ALL = {**ARCHITECTURES, "odd": _ODD}


def _network(name: str) -> Network:
    torch.manual_seed(6)
    network = Network(_ALL[name])
    network.train()
    with torch.no_grad():  # so that the norms hold more than their start
        for _ in range(3):
            network(torch.randn(4, 16_000) * 0.1)
    return network.eval()


_NETWORKS = {name: _network(name) for name in _ALL}
_ENGINES = {name: Engine(network.model(), "cpu") for name, network in _NETWORKS.items()}
# What a GPU computes with, on the CPU.
_ENGINES |= {
    f"{name} in torch": Engine(_NETWORKS[name].model(), "cpu", Torch("cpu"))
    for name in ("base", "odd")
}


def _noise(samples: int, seed: int) -> Audio:
    return (np.random.default_rng(seed).standard_normal(samples) * 0.1).astype(np.float32)


def _reference(name: str, audio: Audio) -> Audio:
    with torch.no_grad():
        logits = _NETWORKS[name.removesuffix(" in torch")](torch.from_numpy(audio)[None])
    return logits[0].sigmoid().numpy()


@pytest.mark.parametrize("name", list(_ENGINES))
@settings(max_examples=10, deadline=None)
@given(
    turns=st.lists(
        st.lists(st.integers(0, MAX_BATCH_STEPS + 3), min_size=3, max_size=3),
        min_size=1,
        max_size=8,
    ),
    odd=st.integers(1, 200),
)
def test_any_chunks_among_any_neighbours_equal_forward(
    name: str, turns: list[list[int]], odd: int
) -> None:
    """Three streams, in each turn with some steps each: alone, in a batch, or a long piece."""
    engine = _ENGINES[name]
    size = engine.architecture.step_samples
    signals = [_noise(sum(turn[i] for turn in turns) * size + odd, i) for i in range(3)]
    sessions = [engine.signal() for _ in signals]
    found: list[list[Audio]] = [[], [], []]
    at = [0, 0, 0]
    for turn in turns:
        ends = [start + steps * size for start, steps in zip(at, turn, strict=True)]
        pushes = [(sessions[i], signals[i][at[i] : ends[i]]) for i in range(3)]
        for got, values in zip(found, engine.push_many(pushes), strict=True):
            got.append(values)
        at = ends
    for i, signal in enumerate(signals):
        last = engine.push(sessions[i], signal[at[i] :])
        together = np.concatenate([*found[i], last, engine.flush(sessions[i])])
        np.testing.assert_allclose(together, _reference(name, signal), atol=1e-4)


@pytest.mark.parametrize("name", list(_ENGINES))
def test_a_long_signal_equals_forward(name: str) -> None:
    audio = _noise(16_000 * 7 + 123, 9)
    found = _ENGINES[name].probabilities(audio)
    np.testing.assert_allclose(found, _reference(name, audio), atol=1e-4)


def test_the_first_operation_must_hear_samples() -> None:
    with pytest.raises(ValueError, match="first operation"):
        Plan([Convolution(np.zeros((1, 2, 200), np.float32), stride=160)], 160, Numpy())
