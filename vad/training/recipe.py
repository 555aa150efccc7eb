"""A training run as data: everything that decides its result, read from a TOML file."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails, PydanticCustomError

from vad.errors import DataError
from vad.nn.architectures import ARCHITECTURES
from vad.training.blend import Blend


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(values):
        raise PydanticCustomError("order", "Numbers should rise")
    return values


def _held_out(rule: str) -> str:
    """As `vad.training.bank.held_out` reads it."""
    if not _HELD_OUT.fullmatch(rule):
        forms = '"corpus", "corpus:group", ":group", "corpus%7" or "corpus:%7"'
        raise PydanticCustomError("held_out", "Input should be " + forms)
    return rule


_HELD_OUT = re.compile(
    r"[^:%]+|[^:%]+:%[1-9][0-9]*|[^:%]*%[1-9][0-9]*(:.+)?|[^:%]*:[^%]+", re.DOTALL
)
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
# Whole numbers that generators of random numbers take.
Count = Annotated[int, Field(ge=1, lt=2**63)]
FromZero = Annotated[int, Field(ge=0, lt=2**63)]
HeldOut = Annotated[str, AfterValidator(_held_out)]
Boost = Annotated[
    tuple[tuple[str, Positive], ...],
    BeforeValidator(lambda value: tuple(value.items()) if isinstance(value, dict) else value),
]
_CHECKED = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, config=_CHECKED)
class SceneRecipe:
    """How scenes are made; probabilities are of a scene unless said otherwise."""

    seconds: Annotated[float, Field(ge=0.1, le=60)] = 6.0
    without_speech: Share = 0.25
    noise: Share = 0.42
    music: Share = 0.24
    noise_and_music: Share = 0.12
    coloured: Share = 0.12  # what is left has no background at all
    shaped: Share = 0.0  # of coloured noises: with hills and gaps in their spectrum, and swelling
    layered: Share = 0.0  # of the scenes with a background: another noise comes and goes over it
    # Triangular: low, mode, high.
    snr_db: Annotated[tuple[float, float, float], AfterValidator(_rising)] = (-8.0, 4.0, 40.0)
    late: Share = (
        0.0  # of the scenes with speech: the first word anywhere, else after 0.7 s or less
    )
    lone: Share = 0.0  # of the scenes with speech: one utterance in a quiet place, no more
    speech_spread_db: NotNegative = 6.0  # of each utterance around the scene's speech level
    room: Share = 0.5
    measured_room: Share = 0.35  # of the rooms
    varied: Share = 0.0  # of pieces of noise and music: played faster, slower or backwards
    narrow_band: Share = 0.25
    mu_law: Share = 0.4  # of the narrow-band scenes
    effects_over: Share = 0.25  # coughs, doors, clicks between and over the words
    babble: Share = 0.06
    far_talk: Share = 0.08  # quiet talk that nobody would label
    notes: Share = 0.0  # beeps and melodies made up
    chirps: Share = 0.0  # birds, made up
    hum: Share = 0.05
    looped: Share = 0.0  # of the backgrounds: a piece of it over and over
    packet_loss: Share = 0.04
    muted: Share = 0.0  # digital silence away from the speech, up to some place or throughout
    clipped: Share = 0.05
    offset: Share = 0.03  # a constant, as cheap converters add
    speed: Share = 0.35  # of the utterances: resampled by ±12 %, pitch and all
    level_db: Annotated[tuple[float, Annotated[float, Field(le=0)]], AfterValidator(_rising)] = (
        -45.0,
        0.0,
    )  # of the scene's peak
    # Of the scenes with speech: two to five people talk, each at a level and a distance of their
    # own (see `vad.training.meetings`).
    meetings: Share = 0.0
    bursts: Share = 0.0  # laughs, breaths, coughs between the words, from these corpora of noise
    bursts_of: tuple[str, ...] = ()
    agc: Share = 0.0  # the level follows the sound, as conference systems have it
    # Frames of speech below these are neither speech nor silence to a listener: not judged.
    inaudible_dbfs: float = -64.0
    masked_db: float = -14.0
    # Pauses of at most so many ms, where the background is less than so far below the speech, are
    # not judged either: a weak consonant would be drowned as well, and who could tell which it is?
    bridged_ms: FromZero = 0
    bridged_db: float = 12.0
    boost: Boost = ()  # (corpus, how much more often than its size says)
    held_out: tuple[HeldOut, ...] = ()  # as `vad.training.bank.held_out` reads them

    def __post_init__(self) -> None:
        if self.snr_db[0] == self.snr_db[2]:
            raise DataError("snr_db: the highest must exceed the lowest")
        if self.noise + self.music + self.noise_and_music + self.coloured > 1 + 1e-9:
            raise DataError("noise, music, noise_and_music and coloured are more than 1 together")

    @property
    def frames(self) -> int:
        return round(self.seconds * 100)


@dataclass(frozen=True, config=_CHECKED)
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
    steps: Count = 10_000
    batch: Count = 16
    repeats: FromZero = 0
    peak_rate: Positive = 2e-3
    warmup: Share = 0.1
    weight_decay: NotNegative = 0.01
    muon: NotNegative = 0.0
    clip: Positive = 1.0
    ema: Share = 0.999
    lag: FromZero = 0
    keep: Share = 0.0
    worst_tenth: NotNegative = 0.5
    teacher: Share = 0.0
    teacher_in_pauses: Share | None = None
    teachers: tuple[str, ...] = ("silero", "firered")
    taught: Share = 0.6
    arbiter: str = ""
    blends: tuple[Blend, ...] = ()
    calibrate: FromZero = 0
    smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.01
    seed: FromZero = 1
    scenes: SceneRecipe = field(default_factory=SceneRecipe)

    def __post_init__(self) -> None:
        for name in self.architectures:
            if name not in ARCHITECTURES:
                known = ", ".join(ARCHITECTURES)
                raise DataError(f"unknown architecture {name!r}; known are {known}")
        if len(set(self.architectures)) <= len(self.beside):
            raise DataError("architecture and beside name a network twice")
        for blend in self.blends:
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
        scenes = data.get("scenes", {})
        data |= {name: value for name, value in overrides.items() if value is not None}
        if isinstance(scenes, dict) and isinstance(data.get("scenes"), dict):
            data["scenes"] = scenes | data["scenes"]
        try:
            # From JSON, whose lists may be tuples even where types are strict.
            return TypeAdapter(cls).validate_json(json.dumps(data, default=str))
        except ValidationError as error:
            raise DataError(f"{path}: {_told(error.errors()[0])}") from None
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


def _told(error: ErrorDetails) -> str:
    """What is wrong, and with which key."""
    *where, name = error["loc"]
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unexpected_keyword_argument":
        kind = {"scenes": SceneRecipe, "blends": Blend}.get(str(where[0]) if where else "", Recipe)
        known = ", ".join(sorted(each.name for each in fields(kind)))
        return f"unknown key {name!r}; known are {known}"
    if error["type"] == "dataclass_type":
        return f"{place} must be a table"
    if error["type"] == "missing":
        return f"{place} is missing"
    return f"{place}: {error['msg']}, not {error['input']!r}"
