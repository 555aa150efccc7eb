"""Whole networks: latency, receptive field, cost and folding, for every architecture."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vad.nn import ARCHITECTURES, Architecture, Network
from vad.nn.modules import run
from vad.nn.ops import Add, Affine, Convolution, Op, folded
from vad.nn.spec import (
    Activation,
    Conv,
    Layer,
    MaxPool,
    Norm,
    Residual,
    dense,
)


def _network(name: str) -> Network:
    torch.manual_seed(5)
    network = Network(ARCHITECTURES[name])
    network.train()
    with torch.no_grad():  # so that the norms hold more than their start
        for _ in range(3):
            network(torch.randn(4, 16_000) * 0.1)
    return network.eval()


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def network(request: pytest.FixtureRequest) -> Network:
    return _network(request.param)


def test_frames_are_ceil_of_samples(network: Network) -> None:
    with torch.no_grad():
        for samples in (1, 159, 160, 161, 320, 321, 4800, 16_000):
            assert network(torch.randn(1, samples)).shape == (1, -(-samples // 160))


def test_lookahead_is_what_it_says(network: Network) -> None:
    """Sound later than the look-ahead past a frame's end never changes its probability."""
    frame, frames, shape = 20, 60, network.architecture
    audio = torch.randn(1, frames * 160) * 0.1
    end = (frame + 1) * 160
    with torch.no_grad():
        reference = network(audio)[0]

        def change_from(sample: int) -> torch.Tensor:
            changed = audio.clone()
            changed[:, sample:] = torch.randn(1, audio.shape[1] - sample)
            return (network(changed)[0] - reference).abs()

        ahead = shape.lookahead_ms * 16
        for i in range(shape.step_frames):
            assert change_from(end + ahead + i * 160)[frame + i] == 0
        # And of the frames of one step, the earliest does hear that far.
        reaches = [
            bool(change_from(end + i * 160 + ahead - 160)[frame + i] > 0)
            for i in range(shape.step_frames)
        ]
        assert any(reaches)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_lookahead_within_40_ms(name: str) -> None:
    """Of all but the arbiter, which hears no streams."""
    shape = ARCHITECTURES[name]
    if name == "arbiter":
        assert shape.lookahead_ms == 360
    else:
        assert shape.lookahead_ms == shape.latency_ms <= 40


def test_receptive_field_is_finite_and_exact_enough() -> None:
    """What lies further back than the receptive field leaves no trace: no drift, no leak."""
    network = _network("base")
    field = network.architecture.receptive_field
    generator = torch.Generator().manual_seed(1)
    recent = torch.randn(1, field, generator=generator) * 0.1
    with torch.no_grad():
        one = network(torch.cat([torch.randn(1, 16_000, generator=generator), recent], 1))
        other = network(torch.cat([torch.zeros(1, 16_000), recent], 1))
    torch.testing.assert_close(one[:, -1], other[:, -1], atol=1e-6, rtol=0)
    assert not torch.allclose(one[:, -200], other[:, -200])


def _reach(layers: tuple[Layer, ...], samples: int) -> tuple[int, int]:
    """How far back one step of a network changes with its input, and how far it may."""
    torch.manual_seed(3)
    network = Network(Architecture("deep", layers, 0)).eval()
    for parameter in network.parameters():
        parameter.data = parameter.data.abs() + 0.1
    x = torch.rand(1, 1, samples, requires_grad=True)
    network.body(x)[0, 0, -1].backward()
    assert x.grad is not None
    return samples - int(x.grad[0, 0].nonzero()[0]), network.architecture.receptive_field


def test_receptive_field_grows_with_depth() -> None:
    """Measured: how far back an output still changes with its input."""
    fields = []
    for depth in (0, 1, 2):
        deeper = (Conv(1, 1, 3, stride=2) for _ in range(depth))
        reach, field = _reach((Conv(1, 1, 200, stride=160), *deeper), 1280)
        assert reach == field
        fields.append(reach)
    assert fields == sorted(set(fields))


def test_receptive_field_of_nested_layers() -> None:
    layers = (Conv(1, 2, 200, stride=80), Residual(2, 3, dilation=2), MaxPool(2), Conv(2, 1, 2))
    reach, field = _reach(layers, 3200)
    assert field == 120 + 80 * (4 + 2 * 2)
    # Max-pooling passes the gradient of one input of each block only: at most that far.
    assert field - 2 * 160 < reach <= field


def test_receptive_field_grows_along_the_ladder() -> None:
    """Each rung zooms out further than the one before, or looks more closely at as much."""
    rungs = [name for name in ARCHITECTURES if name != "dense"]  # its window is all it sees
    fields = [ARCHITECTURES[name].receptive_field for name in rungs]
    assert rungs[0] == "conv-dense"
    assert rungs[-1] == "arbiter"
    assert fields == sorted(fields)
    assert fields[0] < 0.02 * 16_000
    assert len(set(fields)) >= 6


def test_folding_changes_nothing_but_the_number_of_operations(network: Network) -> None:
    model = network.model()
    ops = model.architecture.ops(model.weights)
    fewer = folded(ops)
    x = torch.randn(2, 1, 9600) * 0.1
    torch.testing.assert_close(run(_of_torch(fewer), x), run(_of_torch(ops), x), atol=1e-4, rtol=0)
    left = [op for op in fewer if isinstance(op, Affine)]
    assert len(left) <= 1  # the norm behind the last sum


def _of_torch(ops: list[Op]) -> list[Op]:
    """The same with tensors."""
    found: list[Op] = []
    for op in ops:
        if isinstance(op, Add):
            op = Add(tuple(_of_torch(list(op.branch))))
        held = {name: torch.tensor(v) for name, v in vars(op).items() if isinstance(v, np.ndarray)}
        found.append(replace(op, **held))
    return found


def test_a_norm_behind_a_sum_is_not_folded() -> None:
    shape = Architecture(
        "x", (Conv(1, 2, 160, 160), Residual(2, 3), Norm(2), Activation("relu")), 0
    )
    kinds = [type(op).__name__ for op in folded(shape.ops(Network(shape).model().weights))]
    assert kinds == ["Convolution", "Add", "Affine", "Unary"]


def test_a_negative_scale_does_not_pass_a_maximum() -> None:
    conv = Convolution(np.ones((1, 1, 2), np.float32))
    pool = MaxPool(2).ops({})
    for scale, left in ((2.0, 2), (-2.0, 3)):
        assert len(folded([conv, *pool, Affine(scale)])) == left


def test_architecture_survives_json(network: Network) -> None:
    data = json.loads(json.dumps(network.architecture.to_dict()))
    again = Architecture.from_dict(data)
    assert again == network.architecture
    Network(again).load_state_dict(network.state_dict())


def test_arguments_may_be_left_out_or_told_though_they_are_the_default() -> None:
    told = {"type": "residual", "channels": 4, "kernel": 3, "dilation": 1, "groups": 1}
    first = {"type": "conv", "channels_in": 1, "channels_out": 4, "kernel": 160, "stride": 160}
    shape = Architecture.from_dict({"name": "x", "layers": [first, told], "delay": 0})
    assert shape.layers[1] == Residual(4, 3)
    assert shape.to_dict()["layers"][1] == {"type": "residual", "channels": 4, "kernel": 3}


@pytest.mark.parametrize(
    ("name", "macs"), [("tiny", 5e6), ("small", 8e6), ("base", 15e6), ("wide", 15e6)]
)
def test_budget(name: str, macs: float) -> None:
    assert ARCHITECTURES[name].macs_per_second <= macs


def test_macs_by_hand() -> None:
    filterbank = 48 * 160 * 200  # filters, taps, positions a second
    head = (48 * 64 + 64) * 100
    assert ARCHITECTURES["conv-dense"].macs_per_second == filterbank + head
    grouped = Architecture("x", (Conv(1, 4, 160, 160), Conv(4, 6, 3, groups=2), dense(6, 1)), 0)
    assert grouped.macs_per_second == 100 * (4 * 160 + 6 * 2 * 3 + 6)


def test_parameters_are_what_torch_counts(network: Network) -> None:
    counted = sum(p.numel() for p in network.parameters())
    assert network.architecture.parameter_count == counted
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert network.architecture.shapes == shapes


def test_first_filters_have_unit_norm(network: Network) -> None:
    first = network.architecture.layers[0]
    assert isinstance(first, Conv)
    filters = network.model().filters()
    assert filters.shape == (first.channels_out, first.kernel)
    if first.unit_norm:
        np.testing.assert_allclose(np.linalg.norm(filters, axis=1), 1, rtol=1e-5)


def test_a_stride_off_the_hop_is_refused() -> None:
    with pytest.raises(ValueError, match="160"):
        Architecture("odd", (Conv(1, 1, 200, stride=100),), 0)
