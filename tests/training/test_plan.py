from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vad import weights
from vad.cli import app
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


def test_shipped_plan_is_read() -> None:
    stages = read_plan(Path(__file__).parents[2] / "recipes" / "base.toml")
    assert [stage.name for stage in stages] == [f"base-{i}" for i in range(1, len(stages) + 1)]


def test_one_command_prepares_trains_and_resumes(tree: Path, plan: Path, tmp_path: Path) -> None:
    """A killed run goes on with the stage it was in, and what was done isn't done again."""
    command = ["train", str(plan), "--cache", str(tmp_path / "cache"), "--workers", "0"]
    command += ["--run", str(tmp_path / "run"), "--out", str(tmp_path / "model")]
    for _ in range(2):
        result = CliRunner().invoke(app, command, env={"VAD_DATA": str(tree)})
        assert result.exit_code == 0, result.output
        log = (tmp_path / "run" / "first" / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in log] == [1, 2, 3]
    assert weights.load(tmp_path / "model").about["step"] == 2
