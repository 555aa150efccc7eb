"""A training run as data: everything that decides its result, read from a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vad.errors import DataError
from vad.nn.architectures import ARCHITECTURES
from vad.training import values
from vad.training.blend import Blend


@dataclass(frozen=True)
class SceneRecipe:
    """How scenes are made; probabilities are of a scene unless said otherwise."""

    seconds: float = 6.0
    without_speech: float = 0.25
    noise: float = 0.42
    music: float = 0.24
    noise_and_music: float = 0.12
    coloured: float = 0.12  # what is left has no background at all
    shaped: float = 0.0  # of coloured noises: with hills and gaps in their spectrum, and swelling
    layered: float = 0.0  # of the scenes with a background: another noise comes and goes over it
    snr_db: tuple[float, float, float] = (-8.0, 4.0, 40.0)  # triangular: low, mode, high
    lone: float = 0.0  # of the scenes with speech: one utterance in a quiet place, no more
    speech_spread_db: float = 6.0  # of each utterance around the scene's speech level
    room: float = 0.5
    measured_room: float = 0.35  # of the rooms
    varied: float = 0.0  # of pieces of noise and music: played faster, slower or backwards
    narrow_band: float = 0.25
    mu_law: float = 0.4  # of the narrow-band scenes
    effects_over: float = 0.25  # coughs, doors, clicks between and over the words
    babble: float = 0.06
    far_talk: float = 0.08  # quiet talk that nobody would label
    notes: float = 0.0  # beeps and melodies made up
    chirps: float = 0.0  # birds, made up
    hum: float = 0.05
    packet_loss: float = 0.04
    clipped: float = 0.05
    offset: float = 0.03  # a constant, as cheap converters add
    speed: float = 0.35  # of the utterances: resampled by ±12 %, pitch and all
    level_db: tuple[float, float] = (-45.0, 0.0)  # of the scene's peak
    # Of the scenes with speech: two to five people talk, each at a level and a distance of their
    # own (see `vad.training.meetings`).
    meetings: float = 0.0
    bursts: float = 0.0  # laughs, breaths, coughs between the words, from these corpora of noise
    bursts_of: tuple[str, ...] = ()
    agc: float = 0.0  # the level follows the sound, as conference systems have it
    # Frames of speech below these are neither speech nor silence to a listener: not judged.
    inaudible_dbfs: float = -64.0
    masked_db: float = -14.0
    # Pauses of at most so many ms, where the background is less than so far below the speech, are
    # not judged either: a weak consonant would be drowned as well, and who could tell which it is?
    bridged_ms: int = 0
    bridged_db: float = 12.0
    boost: tuple[tuple[str, float], ...] = ()  # (corpus, how much more often than its size says)
    held_out: tuple[str, ...] = ()  # as `vad.training.bank.held_out` reads them

    def __post_init__(self) -> None:
        values.check(self, values.SCENES)
        if self.noise + self.music + self.noise_and_music + self.coloured > 1 + 1e-9:
            raise DataError("noise, music, noise_and_music and coloured are more than 1 together")

    @property
    def frames(self) -> int:
        return round(self.seconds * 100)


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of one stage.

    Attributes:
        architecture: a name of `vad.nn.ARCHITECTURES`.
        beside: more of them, which learn from the same scenes at the same time; each comes out
            as if it had learnt alone.
        steps: optimiser steps.
        batch: scenes a step.
        repeats: how many more times each batch is heard, a while later. On two cores, with two
            repeats, half as many steps again are made in the same time.
        peak_rate: highest learning rate of the one-cycle schedule (Smith & Topin, 2018).
        warmup: fraction of the steps over which it rises.
        weight_decay: of weights of more than one dimension.
        muon: how many times AdamW's rate the hidden layers' weights learn at by Muon, which
            turns a gradient's momentum into the nearest orthogonal matrix (Jordan et al., 2024;
            scaled as by Liu et al., "Muon is scalable for LLM training", 2025); with 0 AdamW
            moves these as well.
        clip: largest gradient norm.
        ema: decay of the averaged weights, which are those that are kept.
        worst_tenth: weight of the worst tenth of each scene without speech; a false alarm is
            one bad second among many good ones, and a mean would never notice.
        teacher: share of the target, in scenes with speech, that is what a reference detector
            makes of the mixed scene. It knows pauses inside talk from silence, and speech that
            can still be heard from speech that is drowned, which the clean clip's labels don't.
        teacher_in_pauses: the same where the clean clip holds no speech, if not `teacher`. What
            teachers take for speech there is a cough or a door: the label knows better.
        teachers: who these are, of `vad.teachers.TEACHERS`; the mean of their logits
            counts.
        taught: share of the scenes with speech that the references hear.
        arbiter: a model that hears them too, as a further reference: an earlier stage of the
            plan, or the name or folder of a model.
        lag: frames by which the probabilities come later than what they speak of, over and above
            the look-ahead, that is made good. Detectors that wait know more: silero-vad's come
            30 to 40 ms late.
        keep: share of the weights that it started from in what comes out. A stage that mends one
            thing forgets some of another; halfway between the two, most of both is there
            (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
        blends: which networks are mixed with earlier ones at the end.
        calibrate: batches of fresh scenes on whose labels a scale and a bias of each network's
            logits are fitted at the end; with 0 they stay as they are.
        smoothing: labels become this and 1 − this, so that 0.5 stays meaningful.
        seed: of weights and scenes.
        scenes: how they are mixed.
    """

    architecture: str = "base"
    beside: tuple[str, ...] = ()
    steps: int = 10_000
    batch: int = 16
    repeats: int = 0
    peak_rate: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    muon: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    lag: int = 0
    keep: float = 0.0
    worst_tenth: float = 0.5
    teacher: float = 0.0
    teacher_in_pauses: float | None = None
    teachers: tuple[str, ...] = ("silero", "firered")
    taught: float = 0.6
    arbiter: str = ""
    blends: tuple[Blend, ...] = ()
    calibrate: int = 0
    smoothing: float = 0.01
    seed: int = 1
    scenes: SceneRecipe = field(default_factory=SceneRecipe)

    def __post_init__(self) -> None:
        values.check(self, values.RECIPE)
        for name in self.architectures:
            if name not in ARCHITECTURES:
                known = ", ".join(ARCHITECTURES)
                raise DataError(f"unknown architecture {name!r}; known are {known}")
        if len(set(self.architectures)) <= len(self.beside):
            raise DataError("architecture and beside name a network twice")
        for blend in self.blends:
            values.check(blend, values.BLEND, "blends: ")
            if blend.network not in self.architectures:
                raise DataError(f"blends: {blend.network!r} is none of this recipe's networks")
        if self.lag + self.repeats >= self.scenes.frames:  # each repeat leaves one frame out
            raise DataError(
                f"lag and repeats must be below a scene's {self.scenes.frames} frames together"
            )

    @property
    def architectures(self) -> tuple[str, ...]:
        """All that learn."""
        return (self.architecture, *self.beside)

    @classmethod
    def read(cls, path: Path, **overrides: Any) -> Recipe:
        """A recipe from TOML; `overrides` that are not None take precedence.

        Raises:
            DataError: unknown keys, values out of range, or a file that is no TOML.
        """
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:  # not TOML, or not UTF-8
            raise DataError(f"{path}: {error}") from error
        scenes = _table(path, data.pop("scenes", {}))
        data |= {name: value for name, value in overrides.items() if value is not None}
        scenes |= _table(path, data.pop("scenes", {}))
        _known(path, data, cls)
        _known(path, scenes, SceneRecipe)
        for name, value in scenes.items():
            if (name == "boost") != isinstance(value, dict):
                raise DataError(f"{path}: {name} is {'a' if name == 'boost' else 'no'} table")
            if isinstance(value, dict):
                scenes[name] = tuple(value.items())
            elif isinstance(value, list):
                scenes[name] = tuple(value)
        data["blends"] = _blends(path, data.get("blends", []))
        data = {n: tuple(v) if isinstance(v, list) else v for n, v in data.items()}
        try:
            return cls(**data, scenes=SceneRecipe(**scenes))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

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


def _table(path: Path, scenes: Any) -> dict[str, Any]:
    if not isinstance(scenes, dict):
        raise DataError(f"{path}: scenes must be a table")
    return scenes


def _blends(path: Path, rows: Any) -> list[Blend]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: blends must be tables")
    for row in rows:
        _known(path, row, Blend)
    try:
        return [Blend(**row) for row in rows]
    except TypeError:
        raise DataError(f"{path}: a blend needs network, of and share") from None


def _known(path: Path, data: dict[str, Any], kind: type) -> None:
    known = {f.name for f in fields(kind)}
    for name in data:
        if name not in known:
            raise DataError(f"{path}: unknown key {name!r}; known are {', '.join(sorted(known))}")
