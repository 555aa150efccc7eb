"""A plan: recipes one after another, each from the weights of the last one of its architecture."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vad.corpora.sources import names_a_folder
from vad.errors import DataError
from vad.training.recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """One recipe of a plan.

    Attributes:
        name: its own, or that of the recipe's file.
        folder: of its checkpoint, below that of the run.
        recipe: what to do.
        stop_at: the step after which it is left off; None: at its end.
        fresh: start from random weights, whatever came before.
    """

    name: str
    folder: str
    recipe: Recipe
    stop_at: int | None = None
    fresh: bool = False

    @property
    def last_step(self) -> int:
        return min(self.recipe.steps, self.stop_at or self.recipe.steps)

    def leads_to(self, last: Stage) -> bool:
        """Whether the last stage goes on from this one's weights, or is this one."""
        return self.recipe.architecture == last.recipe.architecture


def read_plan(
    path: Path, *, steps: int | None = None, seed: int | None = None, stop_at: int | None = None
) -> list[Stage]:
    """Reads a plan, or a single recipe as a plan of one stage.

        [[stages]]
        recipe = "base-1.toml"  # beside the plan
        # All that follows may be left out.
        name = "base, quiet"    # else the recipe's
        stop_at = 5500
        fresh = true
        change = {seed = 2, scenes = {room = 0.0}}  # instead of the recipe's own

    Args:
        steps, seed, stop_at: instead of a recipe's own; of a single recipe only.

    Raises:
        DataError: the file or one of its recipes is wrong, or a plan is given what only a
            recipe takes.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not TOML, or not UTF-8
        raise DataError(f"{path}: {error}") from error
    if "stages" not in data:
        return [Stage(path.stem, ".", Recipe.read(path, steps=steps, seed=seed), stop_at)]
    if (steps, seed, stop_at) != (None, None, None):
        raise DataError(f"{path} is a plan: steps, seed and stop_at are its recipes' own")
    if set(data) != {"stages"} or not isinstance(data["stages"], list) or not data["stages"]:
        raise DataError(f"{path}: a plan holds [[stages]] and nothing else")
    stages = [_stage(path, i, row) for i, row in enumerate(data["stages"], start=1)]
    names = [stage.name for stage in stages]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: two stages are called {', '.join(twice)}: give one a name")
    return stages


_KEYS = {"recipe", "name", "stop_at", "fresh", "change"}


def _stage(path: Path, number: int, row: Any) -> Stage:
    if not isinstance(row, dict) or not {"recipe"} <= set(row) <= _KEYS:
        optional = ", ".join(sorted(_KEYS - {"recipe"}))
        raise DataError(f"{path}: stage {number} needs a recipe, and may have {optional}")
    file, stop_at = path.parent / str(row["recipe"]), row.get("stop_at")
    if not file.is_file():
        raise DataError(f"{path}: stage {number}: there is no {file}")
    if stop_at is not None and (type(stop_at) is not int or stop_at < 1):
        raise DataError(f"{path}: stage {number}: stop_at must be a positive whole number")
    change = row.get("change", {})
    if not isinstance(change, dict):
        raise DataError(f"{path}: stage {number}: change must be a table")
    name, fresh = str(row.get("name", file.stem)), row.get("fresh", False)
    if not names_a_folder(name):
        raise DataError(f"{path}: stage {number}: {name!r} can't be a folder's name")
    if not isinstance(fresh, bool):
        raise DataError(f"{path}: stage {number}: fresh must be true or false")
    return Stage(name, name, Recipe.read(file, **change), stop_at, fresh)
