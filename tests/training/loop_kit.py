"""What tests of training share."""

from __future__ import annotations

from vad.training.recipe import Recipe, SceneRecipe

TINY = Recipe(
    architecture="conv-pool-dense",
    steps=8,
    batch=2,
    peak_rate=1e-3,
    scenes=SceneRecipe(seconds=1.0),
)


def quiet(*_: object) -> None:
    """A report that says nothing."""
