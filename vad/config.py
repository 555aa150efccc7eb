"""Frozen parameters; each default is stated here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from vad.errors import ParameterError

DEFAULT_MODEL = "convad-base"
Encoding = Literal["pcm_s16le", "pcm_f32le", "mulaw", "alaw"]  # of headerless PCM
Channels = Literal["mix", "separate"] | int  # which are listened to; the number is one's index


def _parameter(default: Any, low: float, high: float, unit: str, about: str) -> Any:
    """A field that carries its range and what it is for, to whoever offers it to others."""
    return field(default=default, metadata={"range": (low, high), "unit": unit, "about": about})


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """How probabilities become segments; names and meaning are silero-vad's.

    Each field's metadata has its `range`, `unit` and, in a few words, what it is `about`.

    Args:
        threshold: a segment opens at the first frame whose probability is at least this (0–1).
        neg_threshold: a frame below this begins a silence; None means threshold − 0.15.
            Never taken below 0.01.
        min_speech_duration_ms: shorter speech, measured before padding, is discarded.
        min_silence_duration_ms: how long a silence must last to end a segment.
        max_speech_duration_s: longer speech is cut at the lowest probability of its second
            half; None means no limit.
        speech_pad_ms: added before each start and after each end; negative trims.
        start_pad_ms, end_pad_ms: override `speech_pad_ms` at one side.

    Raises:
        ParameterError: a value out of range, named in `.param`.
    """

    threshold: float = _parameter(0.5, 0.01, 1, "P", "Speech starts at this probability.")
    neg_threshold: float | None = _parameter(
        None, 0, 1, "P", "Silence starts below this; else threshold - 0.15."
    )
    min_speech_duration_ms: int = _parameter(250, 0, 600_000, "MS", "Shorter speech is discarded.")
    min_silence_duration_ms: int = _parameter(100, 0, 600_000, "MS", "Shorter silence is bridged.")
    # Below a second the "second half" in which to cut is too short to hold a pause.
    max_speech_duration_s: float | None = _parameter(
        None, 1, 86_400, "S", "Longer speech is cut at its deepest pause."
    )
    speech_pad_ms: int = _parameter(
        30, -10_000, 10_000, "MS", "Added at both ends; negative trims."
    )
    start_pad_ms: int | None = _parameter(None, -10_000, 10_000, "MS", "Instead, at starts.")
    end_pad_ms: int | None = _parameter(None, -10_000, 10_000, "MS", "Instead, at ends.")

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None or each.default is not None:
                low, high = each.metadata["range"]
                _check(each.name, value, low, high, whole=each.metadata["unit"] == "MS")
        if self.neg_threshold is not None and self.neg_threshold > self.threshold:
            raise ParameterError("neg_threshold", "must not exceed threshold")

    @property
    def onset(self) -> float:
        """Probability at which speech starts."""
        return self.threshold

    @property
    def offset(self) -> float:
        """Probability below which a silence starts."""
        default = self.threshold - 0.15
        return max(0.01, default if self.neg_threshold is None else self.neg_threshold)

    @property
    def pad_before_ms(self) -> int:
        return self.speech_pad_ms if self.start_pad_ms is None else self.start_pad_ms

    @property
    def pad_after_ms(self) -> int:
        return self.speech_pad_ms if self.end_pad_ms is None else self.end_pad_ms

    def updated(self, **changes: Any) -> Segmentation:
        """A copy with some values replaced.

        Raises:
            ParameterError: an unknown name or a value out of range.
        """
        known = {field.name for field in fields(self)}
        for name in changes:
            if name not in known:
                raise ParameterError(name, f"unknown; known are {', '.join(sorted(known))}")
        return replace(self, **changes)

    def effective(self) -> dict[str, Any]:
        """All values with the derived ones filled in, as the service reports them."""
        return {
            **asdict(self),
            "neg_threshold": round(self.offset, 6),
            "start_pad_ms": self.pad_before_ms,
            "end_pad_ms": self.pad_after_ms,
        }


def _check(name: str, value: object, low: float, high: float, *, whole: bool) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ParameterError(name, f"must be {'a whole' if whole else 'a'} number, not {value!r}")
    if not low <= value <= high:  # NaN too
        raise ParameterError(name, f"must be between {low:g} and {high:g}, not {value!r:.40}")


# Other servers' defaults, for the routes that stand in for them.
PRESETS: Mapping[str, Segmentation] = {
    "default": Segmentation(),
    "speaches": Segmentation(
        threshold=0.75, min_silence_duration_ms=1000, min_speech_duration_ms=0, speech_pad_ms=0
    ),
    "openai": Segmentation(
        threshold=0.5, min_silence_duration_ms=500, start_pad_ms=300, end_pad_ms=0
    ),
}
