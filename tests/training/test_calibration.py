from __future__ import annotations

import pytest
import torch

from vad.nn import ARCHITECTURES, Network
from vad.training.calibration import Scene, calibrated


def scenes(network: Network, scale: float, move: float) -> list[Scene]:
    """Noise by lot, with labels drawn as a network whose logits are changed so would have them."""
    torch.manual_seed(0)
    found = []
    for _ in range(4):
        audio = torch.randn(4, 32_000) * torch.rand(4, 1) * 0.1
        with torch.no_grad():
            likely = torch.sigmoid(network(audio) * scale + move)
        labels = (torch.rand_like(likely) < likely).to(torch.int8)
        labels[:, :20] = -1
        found.append((audio, labels))
    return found


@pytest.fixture
def network() -> Network:
    """Its last layer is where its logits come from, and they spread."""
    torch.manual_seed(1)
    network = Network(ARCHITECTURES["conv-conv-dense"]).eval()
    with torch.no_grad():
        list(network.parameters())[-2].mul_(20)
    return network


def test_finds_the_scale_and_the_bias(network: Network) -> None:
    fitted, scale, move = calibrated(network, scenes(network, 1.6, -0.8))
    assert scale == pytest.approx(1.6, abs=0.25)
    assert move == pytest.approx(-0.8, abs=0.15)
    audio = torch.randn(1, 16_000) * 0.05
    with torch.no_grad():
        torch.testing.assert_close(fitted(audio), network(audio) * scale + move)


def test_leaves_alone_what_fits_and_the_network_it_was_given(network: Network) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _, scale, move = calibrated(network, scenes(network, 1.0, 0.0))
    assert scale == pytest.approx(1.0, abs=0.2)
    assert move == pytest.approx(0.0, abs=0.15)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
