"""A layer that is written once learns in torch, runs in the engine and is exported."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from vad.inference.arrays import Numpy, Torch
from vad.inference.engine import Engine
from vad.nn import Architecture, Network, weights
from vad.nn.onnx import to_onnx
from vad.nn.ops import Add, Affine, Convolution, Op, Pool, Unary
from vad.nn.spec import LAYERS, Conv, Layer, Parameter, Tensors, dense


@dataclass(frozen=True)
class Gated(Layer):
    """The maximum of two of x + 2 W · |scale · x + offset|: every kind of operation."""

    type = "gated"
    channels: int

    def parameters(self) -> dict[str, Parameter]:
        n = self.channels
        return {
            "scale": Parameter((n,), "zeros"),
            "offset": Parameter((n,), "zeros"),
            "weight": Parameter((n, n, 2), "he", 0.5),
        }

    def ops(self, tensors: Tensors) -> list[Op]:
        scaled = Affine(1 + tensors["scale"], tensors["offset"])
        branch = (scaled, Unary("abs"), Convolution(tensors["weight"], dilation=2), Affine(2.0))
        return [Add(branch), Pool(2)]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setitem(LAYERS, "gated", Gated)
    torch.manual_seed(2)
    layers = (Conv(1, 3, 160, stride=80), Gated(3), dense(3, 1))
    made = Network(Architecture("new", layers, delay=1))
    for name in ("scale", "offset"):
        torch.nn.init.normal_(made.get_parameter(f"body.layers.1.{name}"))
    return made.eval()


def test_it_learns(network: Network) -> None:
    network(torch.randn(2, 3200)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_it_is_heard_and_exported_alike(network: Network, tmp_path: Path) -> None:
    audio = np.random.default_rng(0).standard_normal(16_123).astype(np.float32) * np.float32(0.1)
    with torch.no_grad():
        expected = network(torch.from_numpy(audio)[None])[0].sigmoid().numpy()
    weights.save(network.model(), tmp_path / "new", {})
    model = weights.load(tmp_path / "new")
    for arrays in (Numpy(), Torch("cpu")):
        engine = Engine(model, "cpu", arrays)
        signals = [engine.signal() for _ in range(2)]
        pieces = [
            engine.push_many([(signal, piece) for signal in signals])[1]
            for piece in np.array_split(audio, 30)
        ]
        found = np.concatenate([*pieces, engine.flush(signals[1])])
        np.testing.assert_allclose(found, expected, atol=1e-5)
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime reads what is exported")
    session = onnxruntime.InferenceSession(to_onnx(model))
    np.testing.assert_allclose(session.run(None, {"audio": audio[None]})[0][0], expected, atol=1e-5)


def test_what_it_costs_follows(network: Network) -> None:
    shape = network.architecture
    assert shape.step_samples == 160
    assert shape.receptive_field == 160 + 80 * (1 + 2)  # a pool of two, and two steps before
    assert shape.macs_per_second == 100 * (2 * (3 * 160 + 3 * 3 * 2) + 3)
    assert shape.parameter_count == 3 * 160 + 3 + (3 + 3 + 18) + 3 + 1
    again = Architecture.from_dict(json.loads(json.dumps(shape.to_dict())))
    assert again == shape
