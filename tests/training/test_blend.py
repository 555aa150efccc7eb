from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vad.errors import DataError
from vad.nn import ARCHITECTURES, Network
from vad.training.blend import Blend, blended
from vad.training.recipe import Recipe

BLEND = Blend("conv-pool-dense", "before", 0.25)


def pair() -> tuple[Network, Network]:
    torch.manual_seed(1)
    one, other = (Network(ARCHITECTURES["conv-pool-dense"]) for _ in range(2))
    for network in (one, other):
        network(torch.randn(2, 16_000) * 0.1)  # statistics of its own
    return one.eval(), other.eval()


def test_weights_and_statistics_lie_between() -> None:
    one, other = pair()
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    mixed = blended(one, other, BLEND, []).state_dict()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, before[name])  # left as it was
        if tensor.is_floating_point():
            wanted = 0.75 * tensor + 0.25 * other.state_dict()[name]
            torch.testing.assert_close(mixed[name], wanted)


def test_norms_fit_what_they_hear_once_refreshed() -> None:
    one, other = pair()
    batches = [torch.randn(3, 16_000) * 0.1 for _ in range(4)]
    mixed = blended(one, other, Blend("conv-pool-dense", "before", 0.5, refresh=4), batches)
    one_norm = next(each for each in one.modules() if isinstance(each, torch.nn.BatchNorm1d))
    heard: list[torch.Tensor] = []
    norm = next(each for each in mixed.modules() if isinstance(each, torch.nn.BatchNorm1d))
    norm.register_forward_hook(lambda module, given, made: heard.append(made))
    for batch in batches:
        mixed(batch)
    sound = torch.cat(heard).movedim(1, 0).flatten(1)
    shape = {"atol": 0.1, "rtol": 0.1}
    weight, bias = norm.weight.detach(), norm.bias.detach()
    torch.testing.assert_close(sound.mean(1), bias, **shape)
    torch.testing.assert_close(sound.std(1), weight.abs(), **shape)
    assert not mixed.training
    assert norm.momentum == one_norm.momentum


def test_a_bias_moves_every_output() -> None:
    one, other = pair()
    plain, moved = (
        blended(one, other, Blend("conv-pool-dense", "before", 0.5, bias=bias), [])
        for bias in (0.0, -0.7)
    )
    audio = torch.randn(1, 16_000)
    torch.testing.assert_close(moved(audio), plain(audio) - 0.7, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ('network = "tiny"\nof = "x"\nshare = 0.5', "none of this recipe's networks"),
        ('network = "base"\nof = "x"', r"blends\.0\.share is missing"),
        ('network = "base"\nof = "x"\nshare = 0.5\nmore = 1', "unknown key 'more'"),
    ],
)
def test_a_wrong_blend_is_refused(lines: str, what: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(f'architecture = "base"\n[[blends]]\n{lines}\n')
    with pytest.raises(DataError, match=what):
        Recipe.read(file)
