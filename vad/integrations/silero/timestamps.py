"""From a probability for each 32 ms to where people speak: silero-vad's rule.

    p ≥ threshold        speech starts, or a pause in it ends
    p < neg_threshold    a pause begins; once it has lasted long enough, speech ended where it began
    speech too long      is cut at a pause, its longest or its last, or if there is none, here

Speech that is too short is dropped, before padding; pads that would meet share the gap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from inspect import signature
from itertools import pairwise
from math import isfinite
from typing import Any

from vad.audio.pcm import as_array
from vad.errors import MissingExtra, ParameterError
from vad.integrations.silero.arrays import mono
from vad.integrations.silero.model import WINDOW_MS, SileroVAD, SileroVADSequence
from vad.integrations.silero.values import DURATIONS, PROBABILITIES, WHOLE, check, rate_of

Span = dict[str, Any]

# convad hears short pauses that silero-vad does not. With one window more for a pause to end speech
# it finds as many segments: benchmarks/silero_segments.py, whose table is in docs/dropins.md.
HEARD_MORE_MS = WINDOW_MS
_CHECKED = (
    *PROBABILITIES,
    *DURATIONS,
    *WHOLE,
    "max_speech_duration_s",
    "speech_pad_ms",
)


def get_speech_timestamps(
    audio: Any,
    model: Any,
    threshold: float = 0.5,
    sampling_rate: int = 16000,
    min_speech_duration_ms: int = 250,
    max_speech_duration_s: float = float("inf"),
    min_silence_duration_ms: int = 100,
    speech_pad_ms: int = 30,
    return_seconds: bool = False,
    time_resolution: int = 1,
    visualize_probs: bool = False,
    progress_tracking_callback: Callable[[float], object] | None = None,
    neg_threshold: float | None = None,
    window_size_samples: int = 512,
    min_silence_at_max_speech: int = 98,
    use_max_poss_sil_at_max_speech: bool = True,
) -> list[Span]:
    """Where people speak in a recording.

    Args:
        audio: [samples], a tensor, an array or a list: floats within ±1, or integers, which are
            scaled by their type.
        model: what `load_silero_vad` gives.
        threshold: speech starts at this probability.
        sampling_rate: of `audio`, 4 to 192 kHz.
        min_speech_duration_ms: shorter speech is dropped.
        max_speech_duration_s: longer speech is cut.
        min_silence_duration_ms: that ends speech.
        speech_pad_ms: added at both ends.
        return_seconds: positions in seconds, not in samples.
        time_resolution: decimal places of these.
        visualize_probs: draw the probabilities into pyplot's current figure.
        progress_tracking_callback: called with what is done, in percent.
        neg_threshold: a pause begins below this; None is 0.15 less than `threshold`.
        window_size_samples: accepted, as silero-vad does.
        min_silence_at_max_speech: ms that a pause must last for a cut.
        use_max_poss_sil_at_max_speech: cut at the longest pause, not at the last one.

    Returns:
        `{"start", "end"}` of each, in order.

    Raises:
        ParameterError: two channels, numbers on another scale than their type's, or a parameter
            that is no number or out of range.
    """
    asked = locals()
    if not isinstance(model, SileroVAD):
        raise ParameterError("model", f"must be what load_silero_vad gives, not {type(model)}")
    _check(asked)
    samples, told = mono(audio), progress_tracking_callback
    model.reset_states()
    progress = (lambda done: told(100 * done)) if told else None
    return _segmented(model.windows(samples, sampling_rate, progress), len(samples), asked)


def get_speech_timestamps_sequence(
    audio: Any,
    model: SileroVADSequence,
    threshold: float = 0.5,
    sampling_rate: int = 16000,
    min_speech_duration_ms: int = 250,
    max_speech_duration_s: float = float("inf"),
    min_silence_duration_ms: int = 100,
    speech_pad_ms: int = 30,
    return_seconds: bool = False,
    time_resolution: int = 1,
    visualize_probs: bool = False,
    neg_threshold: float | None = None,
    min_silence_at_max_speech: int = 98,
    use_max_poss_sil_at_max_speech: bool = True,
    max_frames: int | None = None,
) -> list[Span]:
    """As `get_speech_timestamps`, with a `SileroVADSequence`."""
    asked = locals()
    if not isinstance(model, SileroVADSequence):
        raise ParameterError("model", f"must be a SileroVADSequence, not {type(model)}")
    _check(asked)
    samples = mono(audio)
    probs = model.audio_forward(samples, sampling_rate, max_frames)
    return _segmented(probs, len(samples), asked)


def get_speech_timestamps_from_probs(
    speech_probs: Any,
    sampling_rate: int = 16000,
    threshold: float = 0.5,
    min_speech_duration_ms: int = 250,
    max_speech_duration_s: float = float("inf"),
    min_silence_duration_ms: int = 100,
    speech_pad_ms: int = 30,
    return_seconds: bool = False,
    time_resolution: int = 1,
    visualize_probs: bool = False,
    neg_threshold: float | None = None,
    min_silence_at_max_speech: int = 98,
    use_max_poss_sil_at_max_speech: bool = True,
    audio_length_samples: int | None = None,
    step: int = 1,
) -> list[Span]:
    """Where people speak, of probabilities for each 32 ms.

    Args:
        speech_probs: [windows], a list or an array.
        sampling_rate: Hz, of positions and of what follows.
        audio_length_samples: of the audio; None is that of all windows.
        step: positions in samples are multiplied by it.

    The others are those of `get_speech_timestamps`.

    Raises:
        ParameterError: a parameter is no number or out of range, or a probability is none.
    """
    _check(locals())
    sampling_rate = rate_of("sampling_rate", sampling_rate)
    time_resolution, step = int(time_resolution), int(step)
    probs = _probabilities(speech_probs)
    window = sampling_rate * WINDOW_MS / 1000
    length = len(probs) * window if audio_length_samples is None else audio_length_samples
    pad = sampling_rate * speech_pad_ms / 1000
    rule = _Rule(
        threshold,
        max(threshold - 0.15, 0.01) if neg_threshold is None else neg_threshold,
        sampling_rate * min_speech_duration_ms / 1000,
        sampling_rate * max_speech_duration_s - window - 2 * pad,
        sampling_rate * min_silence_duration_ms / 1000,
        sampling_rate * min_silence_at_max_speech / 1000,
        use_max_poss_sil_at_max_speech,
    )
    if visualize_probs:
        _draw(probs)
    spans = _padded(_spoken(probs, window, rule, length), pad, length)
    if return_seconds:
        return [
            {
                "start": max(round(start / sampling_rate, time_resolution), 0),
                "end": min(round(end / sampling_rate, time_resolution), length / sampling_rate),
            }
            for start, end in spans
        ]
    return [{"start": start * step, "end": end * step} for start, end in spans]


def _probabilities(given: Any) -> list[float]:
    found = as_array(given, "speech_probs")
    # Those of a model's calls may each be of one chunk of one stream.
    is_one_row = found.ndim and (not found.size or found.size == max(found.shape))
    if found.size and (not is_one_row or found.dtype.kind not in "fiu"):
        raise ParameterError("speech_probs", "must be numbers, [windows]")
    probs: list[float] = found.reshape(-1).astype(float).tolist()
    if not all(map(isfinite, probs)):
        raise ParameterError("speech_probs", "must be finite")
    return probs


def _segmented(probs: Any, length: int, asked: dict[str, Any]) -> list[Span]:
    """Of convad's own probabilities, by the arguments of the public function that had them."""
    taken = signature(get_speech_timestamps_from_probs).parameters
    rule = {name: value for name, value in asked.items() if name in taken}
    rule["min_silence_duration_ms"] += HEARD_MORE_MS
    return get_speech_timestamps_from_probs(probs, audio_length_samples=length, **rule)


def _check(asked: dict[str, Any]) -> None:
    """The parameters of a rule, among all arguments of a function."""
    check(**{name: asked[name] for name in _CHECKED if name in asked})


@dataclass(frozen=True)
class _Rule:
    """Probabilities, and durations in samples.

    Attributes:
        cut_silence: shorter pauses are none to cut at.
        at_longest: cut at the longest pause, not at the last one.
    """

    onset: float
    offset: float
    min_speech: float
    max_speech: float
    min_silence: float
    cut_silence: float
    at_longest: bool


@dataclass
class _Speech:
    """Speech that goes on.

    Attributes:
        pause: where one began that has not ended.
        pauses: (start, end) of those that ended and were long enough to cut at.
        last: the same of the last one that was so long while nobody spoke; no end is not yet.
    """

    start: float
    pause: float | None = None
    pauses: list[tuple[float, float]] = field(default_factory=list)
    last: tuple[float, float | None] | None = None

    def resume(self, now: float, rule: _Rule) -> None:
        if self.pause is None:
            return
        if now - self.pause > rule.cut_silence:
            self.pauses.append((self.pause, now))
        if self.last and self.last[1] is None:
            self.last = self.last[0], now
        self.pause = None

    def be_quiet(self, now: float, rule: _Rule) -> bool:
        """Whether that ended it."""
        self.pause = now if self.pause is None else self.pause
        if now - self.pause > rule.cut_silence and (not self.last or self.last[0] != self.pause):
            self.last = self.pause, None
        return now - self.pause >= rule.min_silence

    def cut(self, now: float, rule: _Rule) -> tuple[float, float | None]:
        """Where it ends, and where speech goes on that follows on it."""
        if not rule.at_longest:
            return self.last or (now, None)
        return max(self.pauses, key=lambda pause: pause[1] - pause[0], default=(now, None))


def _spoken(
    probs: Sequence[float], window: float, rule: _Rule, length: float
) -> list[tuple[float, float]]:
    """(start, end) in samples, without pads."""
    found: list[tuple[float, float]] = []
    speech: _Speech | None = None
    for i, probability in enumerate(probs):
        now = i * window
        if probability >= rule.onset:
            if speech is None:
                speech = _Speech(now)
                continue
            speech.resume(now, rule)
        if speech and now - speech.start > rule.max_speech:
            end, rest = speech.cut(now, rule)
            found.append((speech.start, end))
            speech = None if rest is None else _Speech(rest)
        if speech and probability < rule.offset and speech.be_quiet(now, rule):
            assert speech.pause is not None
            if speech.pause - speech.start > rule.min_speech:
                found.append((speech.start, speech.pause))
            speech = None
    if speech and length - speech.start > rule.min_speech:
        found.append((speech.start, length))
    return found


def _padded(spans: list[tuple[float, float]], pad: float, length: float) -> list[tuple[int, int]]:
    gaps = [start - end for (_, end), (start, _) in pairwise(spans)]
    pads = [pad, *(gap // 2 if gap < 2 * pad else pad for gap in gaps), pad]
    padded = [
        (int(max(0, start - before)), int(min(length, end + after)))
        for (start, end), before, after in zip(spans, pads, pads[1:], strict=False)
    ]
    # Negative pads may leave nothing of it.
    return padded if pad >= 0 else [(start, end) for start, end in padded if start < end]


def _draw(probs: Sequence[float]) -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingExtra("matplotlib", "plot") from error
    times = [i * WINDOW_MS / 1000 for i in range(len(probs))]
    _, axes = plt.subplots(figsize=(16, 8))
    axes.fill_between(times, probs, step="post")
    axes.set(xlabel="seconds", ylabel="speech probability", ylim=(0, 1.05))
