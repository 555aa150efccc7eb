from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vad.training import loop
from vad.training.labels import NON_SPEECH, SPEECH
from vad.training.loop import Scenes, Trainer, loss_of
from vad.training.mixing import Mixer, SceneRecipe
from vad.training.prepare import Cached
from vad.training.recipe import Recipe
from vad.training.teacher import UNTAUGHT, hints, together

Audio = NDArray[np.float32]


def constant(value: float) -> object:
    return lambda audio: np.full(len(audio) // 160, value, np.float32)


def test_each_teacher_hears_its_share_of_the_scenes_with_speech() -> None:
    audio, rng = np.zeros(1600, np.float32), np.random.default_rng(0)
    talk = np.full(10, SPEECH, np.int8)
    teachers = [constant(0.25), constant(0.75)]
    heard = np.array([hints(audio, talk, teachers, 0.5, rng)[0] for _ in range(400)])  # type: ignore[arg-type]
    shares = [float((heard == value).mean()) for value in (UNTAUGHT, 0.25, 0.75)]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.08)
    silence = np.full(10, NON_SPEECH, np.int8)
    assert (hints(audio, silence, teachers, 1.0, rng) == UNTAUGHT).all()  # type: ignore[arg-type]
    assert (hints(audio, talk, [], 1.0, rng) == UNTAUGHT).all()


def test_together_they_say_the_mean_logit() -> None:
    heard = together([constant(0.9), constant(0.1)])(np.zeros(1600, np.float32))  # type: ignore[list-item]
    np.testing.assert_allclose(heard, 0.5, atol=1e-6)


def entropy(logit: float, target: float) -> float:
    p = 1 / (1 + np.exp(-logit))
    return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)))


def test_target_lies_between_label_and_hint_and_doubt_is_the_teachers() -> None:
    recipe = Recipe(worst_tenth=0, smoothing=0, teacher=0.5)
    logits = torch.tensor([[2.0, -1.0, 3.0, 0.5]])
    labels = torch.tensor([[1, 0, -1, -1]], dtype=torch.int8)
    heard = torch.tensor([[0.4, 0.8, 0.3, UNTAUGHT]])
    wanted = np.mean([entropy(2.0, 0.7), entropy(-1.0, 0.4), entropy(3.0, 0.3)])
    assert float(loss_of(logits, labels, heard, recipe)) == pytest.approx(wanted, rel=1e-5)


def test_teachers_are_called_only_for_recipes_that_want_them(
    cache: list[Cached], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "references", lambda: [constant(0.25)])
    mixer = Mixer(cache, SceneRecipe(seconds=1.0, without_speech=0))
    plain = Scenes(mixer, Recipe())
    assert all((plain[i][2] == UNTAUGHT).all() for i in range(4))
    taught = Scenes(mixer, Recipe(teacher=0.5, taught=1.0))
    found = [taught[i] for i in range(4)]
    assert any((heard == 0.25).all() for _, _, heard in found)
    assert all(torch.equal(taught[i][0], plain[i][0]) for i in range(4))
    monkeypatch.setattr(loop, "references", lambda: [constant(0.9), constant(0.1)])
    both = Scenes(mixer, Recipe(teacher=0.5, taught=1.0, ensemble=True))
    assert any(torch.allclose(both[i][2], torch.tensor(0.5)) for i in range(4))


def test_run_with_teachers_learns_from_them(
    cache: list[Cached], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Teachers who say 0.9 throughout pull the network's mean up."""
    scenes = SceneRecipe(seconds=1.0, without_speech=0)
    plain = Recipe("conv-dense", steps=30, batch=4, peak_rate=1e-2, worst_tenth=0, scenes=scenes)
    means = []
    for recipe in (plain, replace(plain, teacher=1.0, taught=1.0)):
        monkeypatch.setattr(loop, "references", lambda: [constant(0.9)])
        folder = tmp_path / str(recipe.teacher)
        network = Trainer(recipe, Mixer(cache, scenes), folder, workers=0).run(
            report=lambda *_: None
        )
        with torch.inference_mode():
            means.append(float(network(torch.randn(2, 16_000) * 0.1).sigmoid().mean()))
    assert means[1] > means[0] + 0.1
