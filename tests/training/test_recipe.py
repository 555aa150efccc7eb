from __future__ import annotations

from pathlib import Path

import pytest

from vad.errors import DataError
from vad.nn import ARCHITECTURES
from vad.training.recipe import Recipe

SHIPPED = Path(__file__).parents[2] / "recipes"


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


def test_beside_and_overrides(tmp_path: Path) -> None:
    """What is given on top is joined with the file's own scenes."""
    file = tmp_path / "r.toml"
    file.write_text(
        'architecture = "base"\nbeside = ["tiny", "wide"]\n[scenes]\nroom = 0.2\nhum = 0.3\n'
    )
    recipe = Recipe.read(file, teacher=0.25, scenes={"hum": 0.0, "snr_db": [0, 1, 2]})
    assert recipe.architectures == ("base", "tiny", "wide")
    assert recipe.teacher == 0.25
    assert (recipe.scenes.room, recipe.scenes.hum) == (0.2, 0.0)
    assert recipe.scenes.snr_db == (0, 1, 2)
    with pytest.raises(DataError, match="lstm"):
        Recipe.read(file, beside=["lstm"])
    with pytest.raises(DataError, match="fog"):
        Recipe.read(file, scenes={"fog": 1})


def test_shipped_recipes_are_read() -> None:
    """All but the plans, with nothing held out in one that another trains on."""
    files = [file for file in SHIPPED.glob("*.toml") if "[[stages]]" not in file.read_text()]
    recipes = [Recipe.read(file) for file in files]
    assert {name for recipe in recipes for name in recipe.architectures} >= {"base", "tiny"}
    assert len({recipe.scenes.held_out for recipe in recipes}) == 1
    assert all(recipe.scenes.held_out for recipe in recipes)
    ladder = Recipe.read(SHIPPED / "ladder.toml")
    assert set(ladder.architectures) == set(ARCHITECTURES) - {"wide", "arbiter"}


def test_rate_rises_and_falls() -> None:
    recipe = Recipe(steps=100, peak_rate=1.0, warmup=0.1)
    rates = [recipe.rate(step) for step in range(101)]
    assert max(rates) == rates[10] == 1.0
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.001)
