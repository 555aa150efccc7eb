"""A training run as data: everything that decides its result, read from a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vad.errors import DataError
from vad.nn.architectures import ARCHITECTURES
from vad.training.mixing import SceneRecipe


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of one stage.

    Attributes:
        architecture: a name of `vad.nn.ARCHITECTURES`.
        steps: optimiser steps.
        batch: scenes a step.
        peak_rate: highest learning rate of the one-cycle schedule (Smith & Topin, 2018).
        warmup: fraction of the steps over which it rises.
        weight_decay: AdamW's, on weights of more than one dimension.
        clip: largest gradient norm.
        ema: decay of the averaged weights, which are those that are kept.
        worst_tenth: weight of the worst tenth of each scene without speech; a false alarm is
            one bad second among many good ones, and a mean would never notice.
        teacher: share of the target, in scenes with speech, that is what a reference detector
            makes of the mixed scene. It knows pauses inside talk from silence, and speech that
            can still be heard from speech that is drowned, which the clean clip's labels don't.
        taught: share of the scenes with speech that a reference hears.
        ensemble: whether all references hear such a scene, rather than one drawn by lot.
        smoothing: labels become this and 1 − this, so that 0.5 stays meaningful.
        seed: of weights and scenes.
        scenes: how they are mixed.
    """

    architecture: str = "base"
    steps: int = 10_000
    batch: int = 16
    peak_rate: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    worst_tenth: float = 0.5
    teacher: float = 0.0
    taught: float = 0.6
    ensemble: bool = False
    smoothing: float = 0.01
    seed: int = 1
    scenes: SceneRecipe = field(default_factory=SceneRecipe)

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise DataError(f"unknown architecture {self.architecture!r}; known are {known}")
        for name in ("steps", "batch"):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                raise DataError(f"{name} must be a positive whole number, not {value!r}")
        for name in ("peak_rate", "clip"):
            if not isinstance(value := getattr(self, name), int | float) or value <= 0:
                raise DataError(f"{name} must be a positive number, not {value!r}")

    @classmethod
    def read(cls, path: Path, **overrides: Any) -> Recipe:
        """A recipe from TOML; `overrides` that are not None take precedence.

        Raises:
            DataError: unknown keys, or a file that is no TOML.
        """
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:  # not TOML, or not UTF-8
            raise DataError(f"{path}: {error}") from error
        scenes = data.pop("scenes", {})
        if not isinstance(scenes, dict):
            raise DataError(f"{path}: scenes must be a table")
        data |= {name: value for name, value in overrides.items() if value is not None}
        _known(path, data, cls)
        _known(path, scenes, SceneRecipe)
        for name, value in scenes.items():
            if (name == "boost") != isinstance(value, dict):
                raise DataError(f"{path}: {name} is {'a' if name == 'boost' else 'no'} table")
            if isinstance(value, dict):
                scenes[name] = tuple(value.items())
            elif isinstance(value, list):
                scenes[name] = tuple(value)
        return cls(**data, scenes=SceneRecipe(**scenes))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def rate(self, step: int) -> float:
        """Learning rate at a step: a cosine up, a cosine down to a thousandth."""
        from math import cos, pi

        rise = max(1, round(self.warmup * self.steps))
        if step < rise:
            return self.peak_rate * (0.04 + 0.96 * (1 - cos(pi * step / rise)) / 2)
        done = min(1.0, (step - rise) / max(1, self.steps - rise))
        return self.peak_rate * (0.001 + 0.999 * (1 + cos(pi * done)) / 2)


def _known(path: Path, data: dict[str, Any], kind: type) -> None:
    known = {f.name for f in fields(kind)}
    for name in data:
        if name not in known:
            raise DataError(f"{path}: unknown key {name!r}; known are {', '.join(sorted(known))}")
