"""The fast form of a network gives the numbers of the plain one, whatever its layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.engine import Engine
from vad.nn import ARCHITECTURES, Architecture, Network, fold_norms
from vad.nn.arrays import Numpy, Torch
from vad.nn.blocks import Residual
from vad.nn.layers import Conv, Layer
from vad.nn.memory import AHEAD
from vad.nn.plan import Plan

Audio = NDArray[np.float32]


def _spec(kind: str, **arguments: Any) -> dict[str, Any]:
    return {"type": kind, **arguments}


def _conv(channels_in: int, channels_out: int, kernel: int, **more: Any) -> dict[str, Any]:
    return _spec("conv", channels_in=channels_in, channels_out=channels_out, kernel=kernel, **more)


# Every kind of layer, with whatever makes a convolution's windows lie differently.
_ODD = Architecture(
    "odd",
    (
        _conv(1, 6, 90, stride=40, unit_norm=True),
        _spec("abs"),
        _spec("pool", size=2),
        _spec("log", floor_dbfs=-65.0),
        _conv(6, 8, 3),
        _spec("norm", channels=8),
        _spec("relu"),
        _conv(8, 8, 6, stride=2, groups=2),
        _spec("dropout", p=0.1),
        _spec("pool", size=2),
        _spec("residual", channels=8, kernel=3, dilation=7),
        _spec("norm", channels=8),
        _spec("relu"),
        _conv(8, 8, 5, dilation=3, groups=8, bias=False),
        _conv(8, 16, 4, groups=8),
        _conv(16, 8, 1, groups=4),
        _spec("mlpconv", channels_in=8, channels_out=8, kernel=2),
        _spec("residual", channels=8, kernel=2),
        _spec("dense", channels_in=8, channels_out=2),
        _spec("sigmoid"),
        _spec("mean", channels=2, length=4),
        _spec("logit"),
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
_ENGINES = {name: Engine(network, "cpu") for name, network in _NETWORKS.items()}
# What a GPU computes with, on the CPU.
_ENGINES |= {
    f"{name} in torch": Engine(_NETWORKS[name], "cpu", Torch(torch.device("cpu")))
    for name in ("base", "odd")
}


def _noise(samples: int, seed: int) -> Audio:
    return (np.random.default_rng(seed).standard_normal(samples) * 0.1).astype(np.float32)


def _reference(name: str, audio: Audio) -> Audio:
    with torch.no_grad():
        logits = _NETWORKS[name.removesuffix(" in torch")](torch.from_numpy(audio)[None])
    return logits[0].sigmoid().numpy()


@pytest.mark.parametrize("name", list(_ENGINES))
@settings(max_examples=20, deadline=None)
@given(
    turns=st.lists(
        st.lists(st.integers(0, AHEAD + 3), min_size=3, max_size=3), min_size=1, max_size=8
    ),
    odd=st.integers(1, 200),
)
def test_any_chunks_among_any_neighbours_equal_forward(
    name: str, turns: list[list[int]], odd: int
) -> None:
    """Three streams, in each turn with some steps each: alone, in a batch, or a long piece."""
    engine = _ENGINES[name]
    size = engine.network.step_samples
    signals = [_noise(sum(turn[i] for turn in turns) * size + odd, i) for i in range(3)]
    sessions = [engine.session() for _ in signals]
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


class _Louder(Residual):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class _Unknown(Layer):
    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("layer", [_Louder(48, 3), _Unknown()])
def test_a_layer_without_a_fast_form_is_refused(layer: Layer) -> None:
    network = fold_norms(Network(ARCHITECTURES["conv-dense"]))
    network.body.layers.insert(1, layer)
    with pytest.raises(ValueError, match=f"{type(layer).__name__} has no fast form"):
        Plan(network, Numpy())


def test_the_first_layer_must_hear_samples() -> None:
    network = Network(ARCHITECTURES["conv-dense"])
    network.body.layers[0] = Conv(2, 48, 200, stride=40)
    with pytest.raises(ValueError, match="first layer"):
        Plan(network, Numpy())
