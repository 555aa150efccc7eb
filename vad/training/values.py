"""What a recipe's values may be, so that a slip is told before a run and not after hours of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vad.errors import DataError


@dataclass(frozen=True)
class Rule:
    """What one value may be.

    Attributes:
        says: it, after "must be".
        fits: whether a value is so.
    """

    says: str
    fits: Callable[[Any], bool]


def check(values: object, rules: Mapping[str, Rule], where: str = "") -> None:
    """Raises DataError, which begins with `where`, at the first attribute that breaks its rule."""
    for name, rule in rules.items():
        value = getattr(values, name)
        if not rule.fits(value):
            raise DataError(f"{where}{name} must be {rule.says}, not {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(low: int) -> Callable[[Any], bool]:
    # Those that generators of random numbers take.
    return lambda value: _is_whole(value) and low <= value < 2**63


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: _is_number(value) and low <= value <= high


def _rise(values: Any, count: int, top: float) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(map(_is_number, values))
        and sorted(values) == list(values)
        and values[-1] <= top
    )


def _are_words(values: Any) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, str) for value in values)


# As `vad.training.bank.held_out` reads them.
_HELD_OUT = re.compile(
    r"[^:%]+|[^:%]+:%[1-9][0-9]*|[^:%]*%[1-9][0-9]*(:.+)?|[^:%]*:[^%]+", re.DOTALL
)

_NUMBER = Rule("a number", _is_number)
_POSITIVE = Rule("a positive number", lambda value: _is_number(value) and value > 0)
_NOT_NEGATIVE = Rule("a number of at least 0", _between(0, math.inf))
_SHARE = Rule("a number from 0 to 1", _between(0, 1))
_COUNT = Rule("a positive whole number", _whole(1))
_FROM_ZERO = Rule("a whole number of at least 0", _whole(0))
_WORD = Rule("a text", lambda value: isinstance(value, str))

BLEND = {
    "network": _WORD,
    "of": _WORD,
    "share": _SHARE,
    "refresh": _FROM_ZERO,
    "bias": _NUMBER,
}

RECIPE = {
    "architecture": _WORD,
    "beside": Rule("a list of architectures' names", _are_words),
    **dict.fromkeys(("steps", "batch"), _COUNT),
    **dict.fromkeys(("peak_rate", "clip"), _POSITIVE),
    **dict.fromkeys(("weight_decay", "muon", "worst_tenth"), _NOT_NEGATIVE),
    **dict.fromkeys(("warmup", "ema", "keep", "teacher", "taught"), _SHARE),
    "teacher_in_pauses": Rule(_SHARE.says, lambda value: value is None or _SHARE.fits(value)),
    **dict.fromkeys(("lag", "repeats", "calibrate", "seed"), _FROM_ZERO),
    "arbiter": _WORD,
    "teachers": Rule("a list of teachers' names", _are_words),
    "smoothing": Rule(
        "a number of at least 0 and below 0.5", lambda value: _is_number(value) and 0 <= value < 0.5
    ),
}

_SHARES = (
    "without_speech noise music noise_and_music coloured shaped layered lone room measured_room "
    "varied narrow_band mu_law effects_over babble far_talk notes chirps hum packet_loss clipped "
    "offset speed meetings bursts agc"
)
SCENES = {
    "seconds": Rule("a number from 0.1 to 60", _between(0.1, 60)),
    **dict.fromkeys(_SHARES.split(), _SHARE),
    "snr_db": Rule(
        "[low, mode, high], three rising numbers",
        lambda value: _rise(value, 3, math.inf) and value[0] < value[2],
    ),
    "level_db": Rule("[low, high], two rising numbers up to 0", lambda value: _rise(value, 2, 0)),
    "speech_spread_db": _NOT_NEGATIVE,
    **dict.fromkeys(("inaudible_dbfs", "masked_db", "bridged_db"), _NUMBER),
    "bridged_ms": _FROM_ZERO,
    "bursts_of": Rule("a list of corpora", _are_words),
    "boost": Rule(
        "a table of positive numbers",
        lambda value: isinstance(value, tuple) and all(_POSITIVE.fits(each) for _, each in value),
    ),
    "held_out": Rule(
        'a list of "corpus", "corpus:group", ":group", "corpus%7" or "corpus:%7"',
        lambda value: _are_words(value) and all(map(_HELD_OUT.fullmatch, value)),
    ),
}
