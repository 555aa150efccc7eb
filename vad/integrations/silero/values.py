"""Numbers that callers give, looked at before anything is computed with them."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from vad.audio.reader import check_rate
from vad.errors import ParameterError

PROBABILITIES = ("threshold", "neg_threshold")
OPTIONAL = ("neg_threshold", "audio_length_samples")
DURATIONS = (
    "min_speech_duration_ms",
    "min_silence_duration_ms",
    "min_silence_at_max_speech",
    "audio_length_samples",
)
WHOLE = {"time_resolution": 0, "step": 1}  # and the least


def check(**values: Any) -> None:
    """Parameters of silero-vad's functions, by their names.

    Raises:
        ParameterError: one is no number or out of its range.
    """
    for name, value in values.items():
        if value is None and name in OPTIONAL:
            continue
        number = _number(name, value)
        if name in PROBABILITIES:
            _demand(0 <= number <= 1, name, "between 0 and 1", value)
        elif name in DURATIONS:
            _demand(number >= 0, name, "0 or more", value)
            _demand(name != "audio_length_samples" or number < math.inf, name, "finite", value)
        elif name == "max_speech_duration_s":
            _demand(number > 0, name, "positive", value)
        elif name in WHOLE:
            _demand(number.is_integer(), name, "a whole number", value)
            _demand(number >= WHOLE[name], name, f"{WHOLE[name]} or more", value)
        else:
            _demand(math.isfinite(number), name, "finite", value)


def rate_of(param: str, value: Any) -> int:
    """A sample rate in Hz. Whole numbers are taken in any type: 16000.0, a tensor's 16000.

    Raises:
        ParameterError: it is none, or out of range; `param` is named.
    """
    with suppress(ValueError, RuntimeError):  # of several numbers
        value = value.item() if hasattr(value, "item") else value
    return check_rate(param, int(value) if isinstance(value, float) and value % 1 == 0 else value)


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ParameterError(name, f"must be a number, not {value!r:.40}") from None


def _demand(holds: bool, name: str, what: str, value: Any) -> None:
    if not holds:
        raise ParameterError(name, f"must be {what}, not {value!r:.40}")
