from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vad import weights
from vad.errors import DataError
from vad.nn import Network
from vad.training.loop import Trainer, loss_of
from vad.training.mixing import Mixer, SceneRecipe
from vad.training.prepare import Cached
from vad.training.recipe import Recipe
from vad.training.teacher import UNTAUGHT

TINY = Recipe(
    architecture="conv-pool-dense",
    steps=8,
    batch=2,
    peak_rate=1e-3,
    scenes=SceneRecipe(seconds=1.0),
)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def quiet(*_: object) -> None:
    """A report that says nothing."""


def test_interrupted_run_goes_on_as_if_it_had_not_been(cache: list[Cached], tmp_path: Path) -> None:
    mixer = Mixer(cache, TINY.scenes)
    whole = Trainer(TINY, mixer, tmp_path / "whole", workers=0).run(report=quiet)
    Trainer(TINY, mixer, tmp_path / "parts", workers=0).run(report=quiet, stop_at=3)
    resumed = Trainer(TINY, mixer, tmp_path / "parts", workers=1)
    assert resumed.step == 3
    again = resumed.run(report=quiet)
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), atol=1e-5)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=1e-6, rtol=1e-5)
    assert not list(tmp_path.glob("*/*.partial"))


def test_finished_run_is_left_alone(cache: list[Cached], tmp_path: Path) -> None:
    mixer = Mixer(cache, TINY.scenes)
    Trainer(TINY, mixer, tmp_path, workers=0).run(report=quiet)
    before = losses(tmp_path)
    Trainer(TINY, mixer, tmp_path, workers=0).run(report=quiet)
    assert losses(tmp_path) == before


def test_checkpoint_of_another_recipe_is_refused(cache: list[Cached], tmp_path: Path) -> None:
    mixer = Mixer(cache, TINY.scenes)
    Trainer(TINY, mixer, tmp_path, workers=0).run(report=quiet, stop_at=1)
    from dataclasses import replace

    with pytest.raises(DataError, match="another recipe"):
        Trainer(replace(TINY, peak_rate=2e-3), mixer, tmp_path)


def test_learns(cache: list[Cached], tmp_path: Path) -> None:
    """Fifty steps on easy scenes at least halve the loss."""
    easy = SceneRecipe(
        seconds=1.0, noise=0, music=0, noise_and_music=0, coloured=0, effects_over=0, room=0,
        babble=0, far_talk=0, narrow_band=0, level_db=(-6.0, 0.0), speed=0,
    )  # fmt: skip
    recipe = Recipe(
        architecture="conv-dense", steps=50, batch=4, peak_rate=1e-2, worst_tenth=0, scenes=easy
    )
    Trainer(recipe, Mixer(cache, easy), tmp_path, workers=0).run(report=quiet)
    found = losses(tmp_path)
    assert np.mean(found[-5:]) < 0.6 * np.mean(found[:5])


def test_judge_sees_the_average_and_its_scores_are_logged(
    cache: list[Cached], tmp_path: Path
) -> None:
    seen: list[Network] = []

    def judge(network: Network) -> dict[str, float]:
        assert not network.training
        seen.append(network)
        return {"set": 0.5}

    trainer = Trainer(TINY, Mixer(cache, TINY.scenes), tmp_path, workers=0)
    trainer.run(report=quiet, judge=judge, judge_every=3)
    assert len(seen) == 3  # steps 3, 6 and the last
    assert seen[0] is trainer.average
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "set" in row] == [3, 6, 8]


def test_result_can_be_saved_and_started_from(cache: list[Cached], tmp_path: Path) -> None:
    mixer = Mixer(cache, TINY.scenes)
    network = Trainer(TINY, mixer, tmp_path / "run", workers=0).run(report=quiet, stop_at=2)
    weights.save(network, tmp_path / "model", {"recipe": TINY.to_dict()})
    model = weights.load(tmp_path / "model")
    started = Trainer(TINY, mixer, tmp_path / "next", init=model.network, workers=0)
    for name, tensor in network.state_dict().items():
        assert torch.equal(started.network.state_dict()[name], tensor)


def untaught(logits: torch.Tensor) -> torch.Tensor:
    return torch.full_like(logits, UNTAUGHT)


def test_loss_leaves_out_frames_in_doubt() -> None:
    recipe = Recipe(worst_tenth=0, smoothing=0)
    logits = torch.tensor([[2.0, -3.0, 9.0]])
    labels = torch.tensor([[1, 0, -1]], dtype=torch.int8)
    expected = (torch.log1p(torch.exp(torch.tensor([-2.0, -3.0])))).mean()
    torch.testing.assert_close(loss_of(logits, labels, untaught(logits), recipe), expected)


def test_worst_tenth_counts_only_where_nobody_speaks() -> None:
    plain, worst = Recipe(worst_tenth=0), Recipe(worst_tenth=0.5)
    logits = torch.randn(2, 50)
    heard = untaught(logits)
    talk = torch.zeros(2, 50, dtype=torch.int8)
    talk[:, 3] = 1
    assert loss_of(logits, talk, heard, plain) == loss_of(logits, talk, heard, worst)
    still = torch.zeros(2, 50, dtype=torch.int8)
    assert loss_of(logits, still, heard, worst) > loss_of(logits, still, heard, plain)


def test_recipe_file(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('steps = 7\n[scenes]\nheld_out = ["a", "b"]\n[scenes.boost]\nx = 2\n')
    recipe = Recipe.read(file, seed=9, steps=None)
    assert (recipe.steps, recipe.seed) == (7, 9)
    assert recipe.scenes.held_out == ("a", "b")
    assert recipe.scenes.boost == (("x", 2),)
    for bad, named in (("speed = 1", "speed"), ("[scenes]\nfog = 1", "fog"), ("steps =", "r.toml")):
        file.write_text(bad)
        with pytest.raises(DataError, match=named):
            Recipe.read(file)
    file.write_text('architecture = "lstm"')
    with pytest.raises(DataError, match="known are"):
        Recipe.read(file)


def test_shipped_recipes_are_read() -> None:
    files = sorted((Path(__file__).parents[2] / "recipes").glob("*-*.toml"))
    assert files
    for file in files:
        Recipe.read(file)


def test_rate_rises_and_falls() -> None:
    recipe = Recipe(steps=100, peak_rate=1.0, warmup=0.1)
    rates = [recipe.rate(step) for step in range(101)]
    assert max(rates) == rates[10] == 1.0
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.001)
