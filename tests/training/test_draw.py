from __future__ import annotations

import pytest
import torch

from vad.training.draw import Draw

MANY = 40_000


def everything(*seeds: int) -> list[torch.Tensor]:
    draw = Draw("cpu", *seeds)
    return [
        draw.uniform(5), draw.normal(5), draw.exponential(5, mean=3.0),
        draw.triangular(5, low=-8, mode=2, high=30), draw.below(torch.full((5,), 1000)).float(),
        draw.chance(64, p=0.5).float(), draw.some(64, 0.5).float(),
    ]  # fmt: skip


def test_numbers_depend_on_the_seeds_alone() -> None:
    torch.manual_seed(1)
    first = everything(1, 2, 3)
    torch.manual_seed(2)
    for one, again in zip(first, everything(1, 2, 3), strict=True):
        assert torch.equal(one, again)
    assert torch.initial_seed() == 2


@pytest.mark.parametrize("seeds", [(1, 2, 4), (1, 3, 3), (2, 2, 3), (3, 2, 1)])
def test_any_other_seed_gives_other_numbers(seeds: tuple[int, ...]) -> None:
    for one, other in zip(everything(1, 2, 3), everything(*seeds), strict=True):
        assert not torch.equal(one, other)


def test_steps_are_strangers() -> None:
    """Neighbouring seeds, as neighbouring steps have, give numbers that don't go together."""
    rows = torch.stack([Draw("cpu", 1, step).normal(MANY) for step in range(4)])
    assert (torch.corrcoef(rows) - torch.eye(4)).abs().max() < 0.03


def test_distributions_have_their_means_and_limits() -> None:
    draw = Draw("cpu", 5)
    uniform = draw.uniform(MANY, low=-3, high=1)
    assert -3 <= float(uniform.min()) < -2.99
    assert 0.99 < float(uniform.max()) <= 1
    assert float(uniform.mean()) == pytest.approx(-1, abs=0.03)
    normal = draw.normal(MANY)
    assert float(normal.mean()) == pytest.approx(0, abs=0.03)
    assert float(normal.std()) == pytest.approx(1, abs=0.03)
    waits = draw.exponential(MANY, mean=60)
    assert float(waits.min()) >= 0
    assert float(waits.mean()) == pytest.approx(60, rel=0.03)
    assert float(waits.median()) == pytest.approx(60 * 0.693, rel=0.03)
    ratio = draw.triangular(MANY, low=-8, mode=2, high=30)
    assert -8 <= float(ratio.min()) < -7
    assert 28 < float(ratio.max()) <= 30
    assert float(ratio.mean()) == pytest.approx((-8 + 2 + 30) / 3, abs=0.2)
    assert float((ratio < 2).float().mean()) == pytest.approx(10 / 38, abs=0.01)
    assert float(draw.chance(MANY, p=0.2).float().mean()) == pytest.approx(0.2, abs=0.01)
    rows = draw.some(MANY, 0.3)
    assert len(rows) == pytest.approx(0.3 * MANY, rel=0.03)
    assert (rows.diff() > 0).all()


def test_whole_numbers_stay_below_their_limits() -> None:
    draw, limits = Draw("cpu", 6), torch.arange(1, 8).repeat_interleave(2000)
    found = draw.below(limits)
    assert found.dtype == torch.int64
    for limit in range(1, 8):
        counts = found[limits == limit].bincount(minlength=limit)
        assert len(counts) == limit
        assert counts.min() > 0.7 * 2000 / limit
