from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vad.errors import DataError
from vad.training.plan import read_plan

TINY = """
architecture = "conv-dense"
steps = {steps}
batch = 2
seed = {seed}
[scenes]
seconds = 1.0
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "first.toml").write_text(TINY.format(steps=9, seed=1))
    (tmp_path / "second.toml").write_text(TINY.format(steps=2, seed=2))
    file = tmp_path / "plan.toml"
    file.write_text(
        '[[stages]]\nrecipe = "first.toml"\nstop_at = 3\n[[stages]]\nrecipe = "second.toml"\n'
    )
    return file


def test_stages_in_order(plan: Path) -> None:
    first, second = read_plan(plan)
    assert (first.name, first.recipe.steps, first.stop_at, first.last_step) == ("first", 9, 3, 3)
    assert (second.folder, second.recipe.seed, second.last_step) == ("second", 2, 2)


def test_recipe_is_a_plan_of_one_stage(plan: Path) -> None:
    (stage,) = read_plan(plan.parent / "first.toml", steps=7, seed=5, stop_at=4)
    assert (stage.recipe.steps, stage.recipe.seed, stage.last_step) == (7, 5, 4)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("stages = []", "nothing else"),
        ('steps = 3\n[[stages]]\nrecipe = "first.toml"', "nothing else"),
        ("[[stages]]\nstop_at = 3", "stage 1 needs a recipe"),
        ('[[stages]]\nrecipe = "first.toml"\nsteps = 3', "stage 1 needs a recipe"),
        ('[[stages]]\nrecipe = "absent.toml"', "absent.toml"),
        ('[[stages]]\nrecipe = "first.toml"\nstop_at = 0', "stop_at"),
        ('[[stages]]\nrecipe = "first.toml"\nchange = 3', "change must be a table"),
        ('[[stages]]\nrecipe = "first.toml"\nchange = {fog = 3}', "fog"),
        ('[[stages]]\nrecipe = "first.toml"\nchange = {scenes = {fog = 3}}', "fog"),
        ('[[stages]]\nrecipe = "first.toml"\nstop_at = true', "stop_at"),
        ('[[stages]]\nrecipe = "first.toml"\nfresh = "no"', "fresh must be"),
        ('[[stages]]\nrecipe = "first.toml"\nname = "../x"', "'../x' can't be a folder"),
        ('[[stages]]\nrecipe = "first.toml"\n' * 2, "two stages are called first"),
        ("[[stages", "plan.toml"),
    ],
)
def test_wrong_plans_say_what_is_wrong(plan: Path, text: str, named: str) -> None:
    plan.write_text(text)
    with pytest.raises(DataError, match=named):
        read_plan(plan)


def test_plan_takes_no_steps_of_a_recipe(plan: Path) -> None:
    with pytest.raises(DataError, match="its recipes' own"):
        read_plan(plan, seed=3)


def test_stages_may_be_named_changed_and_fresh(plan: Path) -> None:
    plan.write_text(
        '[[stages]]\nrecipe = "first.toml"\n'
        '[[stages]]\nrecipe = "first.toml"\nname = "again"\nfresh = true\n'
        "change = {seed = 5, scenes = {room = 0.0, seconds = 2.0}}\n"
    )
    first, again = read_plan(plan)
    assert (first.name, first.folder, first.fresh) == ("first", "first", False)
    assert (again.name, again.folder, again.fresh) == ("again", "again", True)
    assert (first.recipe.seed, again.recipe.seed) == (1, 5)
    assert again.recipe.scenes == replace(first.recipe.scenes, room=0.0, seconds=2.0)
    assert replace(again.recipe, seed=1, scenes=first.recipe.scenes) == first.recipe


def test_shipped_plans_are_read() -> None:
    recipes = Path(__file__).parents[2] / "recipes"
    plans = {f.stem: read_plan(f) for f in recipes.glob("*.toml") if "[[stages]]" in f.read_text()}
    assert set(plans) == {"base", "tiny", "shipped", "ablations"}
    *before, seventh, eighth, ninth, tenth, meetings, negatives, last = plans["shipped"]
    assert [stage.recipe for stage in before] == [
        stage.recipe for stage in (*plans["tiny"], *plans["base"])
    ]
    for together in (seventh, eighth):
        assert together.recipe.architectures == ("base", "small", "tiny")
    assert ninth.recipe.architectures == ("base",)
    assert ninth.recipe.blends[0].of == eighth.folder
    assert tenth.recipe.architectures == ("base",)
    for pair in (meetings, negatives, last):
        assert pair.recipe.architectures == ("base", "small")
    assert {blend.of for blend in last.recipe.blends} == {tenth.folder, eighth.folder}
    assert {stage.recipe.architectures for stage in plans["base"]} == {("base",)}
    arbiter, taught = plans["tiny"]
    assert arbiter.recipe.architectures == ("arbiter",)
    assert taught.recipe.arbiter == arbiter.folder
    assert taught.recipe.architectures == ("tiny", "small", "wide")
    baselines = plans["ablations"][:3]
    assert [stage.recipe.seed for stage in baselines] == [1, 2, 3]
    assert len({replace(stage.recipe, seed=1) for stage in baselines}) == 1
    ablated = plans["ablations"][3:]
    assert 1 <= len(ablated) <= 8
    assert all(stage.fresh for stage in plans["ablations"][1:])
    assert all(stage.recipe != baselines[0].recipe for stage in ablated)
    names = [stage.folder for stage in plans["ablations"]]
    assert len(set(names)) == len(names)
