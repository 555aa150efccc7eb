from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from vad.training.loop import Trainer
from vad.training.mixing import Mixer
from vad.training.prepare import Cached

from .loop_kit import TINY, quiet


def test_a_share_of_the_weights_it_started_from_is_kept(
    cache: list[Cached], tmp_path: Path
) -> None:
    mixer = Mixer(cache, TINY.scenes)
    (start,) = Trainer(TINY, mixer, tmp_path / "start", workers=0).run(report=quiet, stop_at=2)
    found = []
    for keep in (0.0, 1.0, 0.25):
        trainer = Trainer(
            replace(TINY, keep=keep, seed=5), mixer, tmp_path / str(keep), init=[start], workers=0
        )
        found.append(trainer.run(report=quiet, stop_at=4)[0].state_dict())
    learnt, kept, mixed = found
    for name, tensor in start.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(kept[name], tensor)
            torch.testing.assert_close(mixed[name], torch.lerp(learnt[name], tensor, 0.25))
    assert any(not torch.equal(learnt[name], t) for name, t in start.state_dict().items())


def test_a_resumed_run_knows_what_it_started_from(cache: list[Cached], tmp_path: Path) -> None:
    mixer, recipe = Mixer(cache, TINY.scenes), replace(TINY, keep=1.0, seed=5)
    (start,) = Trainer(TINY, mixer, tmp_path / "start", workers=0).run(report=quiet, stop_at=2)
    Trainer(recipe, mixer, tmp_path / "run", init=[start], workers=0).run(report=quiet, stop_at=3)
    (kept,) = Trainer(recipe, mixer, tmp_path / "run", workers=0).run(report=quiet, stop_at=4)
    for one, other in zip(start.parameters(), kept.parameters(), strict=True):
        assert torch.equal(one, other)


def test_muon_moves_hidden_weights_in_all_directions_alike(
    cache: list[Cached], tmp_path: Path
) -> None:
    changes: dict[float, list[torch.Tensor]] = {}
    for muon in (0.0, 2.0):
        # Of so many scenes that the gradient has as many directions as a layer has.
        recipe = replace(TINY, steps=1, batch=8, muon=muon, weight_decay=0.0)
        trainer = Trainer(recipe, Mixer(cache, TINY.scenes), tmp_path / str(muon), workers=0)
        matrices = [p for p in trainer.students[0].network.parameters() if p.ndim > 1]
        before = [p.detach().clone() for p in matrices]
        trainer.run(report=quiet)
        pairs = zip(matrices, before, strict=True)
        changes[muon] = [(after.detach() - own).flatten(1) for after, own in pairs]
    (first, *adam, last), (own_first, *muons, own_last) = changes[0.0], changes[2.0]
    for by_adam, by_muon in zip(adam, muons, strict=True):
        # By AdamW one direction outweighs all others; Newton and Schulz leave 0.7 to 1.2 of each.
        assert spread(by_muon) < 2 < spread(by_adam)
        # Rates are meant alike: an element moves by a fifth of its in the mean square.
        size = float(by_muon.square().mean().sqrt()) / (0.2 * 2.0 * recipe.rate(0))
        assert 0.5 < size < 1.3
    torch.testing.assert_close(own_first, first)  # filters and outputs go by AdamW
    torch.testing.assert_close(own_last, last)


def spread(matrix: torch.Tensor) -> float:
    """The largest singular value over the median."""
    values = torch.linalg.svdvals(matrix)
    return float(values[0] / values.median())
