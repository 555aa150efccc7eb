from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vad.teachers import Teacher
from vad.training.draw import Draw
from vad.training.labels import IGNORE, NON_SPEECH, SPEECH
from vad.training.loop import Scenes, Trainer, loss_of
from vad.training.mixing import Mixer
from vad.training.prepare import Cached
from vad.training.recipe import Recipe, SceneRecipe
from vad.training.teacher import PEAK, UNTAUGHT, at_one_level, hints


def constant(value: float) -> Teacher:
    return lambda audio: torch.full((len(audio), audio.shape[1] // 160), value)


def test_a_share_of_the_scenes_with_speech_is_heard() -> None:
    audio, draw = torch.zeros(800, 1600), Draw("cpu", 0)
    labels = torch.full((800, 10), NON_SPEECH, dtype=torch.int8)
    labels[:600, 3] = SPEECH
    labels[600:700] = IGNORE  # nothing that could surely be heard
    heard = hints(audio, labels, [constant(0.25)], 0.5, draw)
    assert (heard[600:] == UNTAUGHT).all()
    assert ((heard == UNTAUGHT) | (heard == 0.25)).all()
    assert (heard == heard[:, :1]).all()
    assert float((heard[:600] == 0.25).float().mean()) == pytest.approx(0.5, abs=0.07)
    assert (hints(audio, labels, [constant(0.25)], 1.0, draw)[:600] == 0.25).all()
    assert (hints(audio, labels, [], 1.0, draw) == UNTAUGHT).all()


def test_segmentation_is_not_asked_where_quiet_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late:
        def __call__(self, audio: Tensor) -> Tensor:
            return torch.full((len(audio), 300), 0.9)

    monkeypatch.setattr("vad.training.teacher.Segmentation", Late)
    labels = torch.zeros(2, 300, dtype=torch.int8)
    labels[0, 20:] = labels[1, 250:] = SPEECH
    heard = hints(torch.ones(2, 48_000), labels, [constant(0.1), Late()], 1.0, Draw("cpu", 0))
    torch.testing.assert_close(heard, torch.tensor([[0.5], [0.1]]).expand(2, 300))
    alone = hints(torch.ones(2, 48_000), labels, [Late()], 1.0, Draw("cpu", 0))
    assert (alone[0] > 0.89).all()
    assert (alone[1] == UNTAUGHT).all()


def test_teachers_hear_only_the_chosen_scenes_and_all_of_them_at_once() -> None:
    calls: list[Tensor] = []

    def teacher(audio: Tensor) -> Tensor:
        calls.append(audio)
        return audio.abs().mean(1, keepdim=True).expand(-1, 10)

    audio = torch.randn(8, 1600, generator=torch.Generator().manual_seed(1)) * 0.1
    labels = torch.zeros(8, 10, dtype=torch.int8)
    labels[::2] = SPEECH
    heard = hints(audio, labels, [teacher], 1.0, Draw("cpu", 1))
    (call,) = calls
    torch.testing.assert_close(call, at_one_level(audio[::2]))
    torch.testing.assert_close(heard[::2, 0], call.abs().mean(1))
    assert (heard[1::2] == UNTAUGHT).all()


def test_teachers_hear_every_scene_at_one_level() -> None:
    sound = torch.randn(1, 1600, generator=torch.Generator().manual_seed(2))
    levels = torch.tensor([[1e-3], [0.3], [1.0]])
    offsets = torch.tensor([[0.0], [0.0], [0.1]])
    heard = at_one_level(sound * levels + offsets)
    torch.testing.assert_close(heard.abs().amax(1), torch.full((3,), PEAK))
    torch.testing.assert_close(heard[1:], heard[:1].expand(2, -1), atol=1e-4, rtol=1e-3)
    assert at_one_level(torch.zeros(1, 1600)).abs().max() == 0


def test_together_they_say_the_mean_logit() -> None:
    talk = torch.full((1, 10), SPEECH, dtype=torch.int8)
    teachers = [constant(0.9), constant(0.1), constant(0.9)]
    heard = hints(torch.zeros(1, 1600), talk, teachers, 1.0, Draw("cpu", 2))
    logit = np.log(9) / 3
    torch.testing.assert_close(heard, torch.full((1, 10), float(1 / (1 + np.exp(-logit)))))


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


def test_teachers_are_called_only_for_recipes_that_want_them(cache: list[Cached]) -> None:
    asked: list[str] = []

    def teach(device: str) -> list[Teacher]:
        asked.append(device)
        return [constant(0.9), constant(0.1)]

    mixer = Mixer(cache, SceneRecipe(seconds=1.0, without_speech=0))
    plain = Scenes(mixer, Recipe(batch=2), teach)
    assert all((plain[i][2] == UNTAUGHT).all() for i in range(4))
    assert asked == []
    taught = Scenes(mixer, Recipe(batch=2, teacher=0.5, taught=1.0), teach)
    heard = torch.cat([taught[i][2] for i in range(4)])
    assert asked == ["cpu"]
    torch.testing.assert_close(heard[heard != UNTAUGHT].unique(), torch.tensor([0.5]))
    assert all(torch.equal(taught[i][0], plain[i][0]) for i in range(4))


def test_run_with_teachers_learns_from_them(cache: list[Cached], tmp_path: Path) -> None:
    """Teachers who say 0.9 throughout pull the network's mean up."""
    scenes = SceneRecipe(seconds=1.0, without_speech=0)
    plain = Recipe(
        "conv-dense", steps=30, batch=4, peak_rate=1e-2, worst_tenth=0, scenes=scenes
    )  # fmt: skip
    means = []
    for recipe in (plain, replace(plain, teacher=1.0, taught=1.0)):
        trainer = Trainer(
            recipe, Mixer(cache, scenes), tmp_path / str(recipe.teacher), workers=0,
            teach=lambda _: [constant(0.9)],
        )  # fmt: skip
        (network,) = trainer.run(report=lambda *_: None)
        with torch.inference_mode():
            means.append(float(network(torch.randn(2, 16_000) * 0.1).sigmoid().mean()))
    assert means[1] > means[0] + 0.1
