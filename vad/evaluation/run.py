"""Runs detectors over labelled sets, noisy copies of them and sets without speech."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vad.audio import load_mono
from vad.corpora.sources import Corpus
from vad.errors import DataError, ModelError, ParameterError
from vad.evaluation.metrics import Scores
from vad.evaluation.noise import CLEAN, Condition
from vad.evaluation.peers import Peer
from vad.evaluation.report import Report
from vad.evaluation.results import Comparison, NoiseClipResult, NoiseResult, SetResult
from vad.evaluation.sets import LabelledSet
from vad.evaluation.summary import (
    THRESHOLD,
    Tally,
    compare,
    curve_result,
    file_results,
    group_results,
    pooled,
    set_result,
)
from vad.evaluation.timing import false_segments
from vad.frames import HOP_MS, SAMPLE_RATE, frame_count

Audio = NDArray[np.float32]
Progress = Callable[[float], None]
Advance = Callable[[], None]


def evaluate(
    models: Sequence[Peer],
    sets: Sequence[LabelledSet],
    conditions: Sequence[Condition] = (CLEAN,),
    noises: Sequence[Corpus] = (),
    *,
    groups: Mapping[str, Collection[str]] | None = None,
    small_minutes: float = 0,
    seed: int = 0,
    noise_draws: int = 1,
    draws: int = 1000,
    progress: Progress | None = None,
) -> Report:
    """Every model on every set under every condition, and on every set without speech, anew.

    Args:
        models: detectors; the first is compared with each of the others.
        sets: labelled sets, each reported apart.
        conditions: `CLEAN`, and noisy ones.
        noises: sets without speech, on which false segments are counted.
        groups: names for some of the sets, by which calibration is reported apart.
        small_minutes: shorter sets count as one in the pooled figures.
        seed: of the added noise and of the bootstrap.
        noise_draws: how often noise is added to each file, with this seed and those after it; the
            figures are over all of them.
        draws: bootstrap samples of each comparison.
        progress: called with the share that is done, 0 to 1.

    Raises:
        DataError: two models or conditions of one name, a clip without audio, or silent speech that
            noise should be added to.
        AudioError, ModelError: a file does not decode, or a detector gives too many or few frames.
    """
    names = [model.name for model in models]
    _distinct("models", names)
    _distinct("conditions", [condition.name for condition in conditions])
    steps = sum(len(labelled.files) for labelled in sets) + sum(len(c.clips) for c in noises)
    advance = _counter(steps, progress)
    seeds = range(seed, seed + noise_draws)
    tallies = [t for each in sets for t in _on_set(models, each, conditions, seeds, advance)]
    small = _small(tallies, small_minutes)
    results = [set_result(tally) for tally in [*tallies, *small]]
    return Report(
        models=tuple(names),
        seed=seed,
        sets=tuple(results[: len(tallies)]),
        pooled=tuple(results[len(tallies) :]),
        small_minutes=small_minutes,
        curves=tuple(curve_result(tally) for tally in [*tallies, *small]),
        groups=tuple(group_results(tallies, groups or {})),
        files=tuple(row for tally in tallies for row in file_results(tally)),
        noises=tuple(row for corpus in noises for row in _on_noise(models, corpus, advance)),
        comparisons=tuple(_compare([*tallies, *small], results, draws, seed)),
    )


def _small(tallies: Sequence[Tally], minutes: float) -> list[Tally]:
    """Sets shorter than that pooled, if there are several; for each condition and model."""
    members: dict[tuple[str, str], list[Tally]] = {}
    for tally in tallies:
        if tally.minutes < minutes:
            members.setdefault((tally.condition, tally.model), []).append(tally)
    return [
        pooled(those, f"{len(those)} small sets") for those in members.values() if len(those) > 1
    ]


def _on_set(
    models: Sequence[Peer],
    labelled: LabelledSet,
    conditions: Sequence[Condition],
    seeds: Sequence[int],
    advance: Advance,
) -> list[Tally]:
    """A tally for each condition and, within it, each model; none for a set not concerned."""
    tallies = {
        (condition.name, model.name): Tally(
            labelled.name,
            condition.name,
            model.name,
            model.latency_ms,
            len(_draws(condition, seeds)),
        )
        for condition in conditions
        for model in models
    }
    for file in labelled.files:
        clean = load_mono(file.path)
        labels = file.labels(frame_count(len(clean), SAMPLE_RATE))
        for condition in conditions:
            if not condition.applies_to(labelled.name, labels):
                continue
            for seed in _draws(condition, seeds):
                try:
                    audio = condition.apply(clean, labels, seed, f"{labelled.name}/{file.name}")
                except ParameterError as error:
                    raise DataError(f"{file.path}: {error}") from error
                for model in models:
                    scores = _probabilities(model, audio)
                    tally = tallies[condition.name, model.name]
                    tally.add(file, scores, labels, len(clean) / SAMPLE_RATE)
        advance()
    return [tally for tally in tallies.values() if tally.files]


def _draws(condition: Condition, seeds: Sequence[int]) -> Sequence[int]:
    """The seeds by which audio differs under a condition: without noise one stands for all."""
    return seeds[:1] if condition.noise is None else seeds


def _on_noise(models: Sequence[Peer], corpus: Corpus, advance: Advance) -> list[NoiseResult]:
    clips: dict[str, list[NoiseClipResult]] = {model.name: [] for model in models}
    for clip, audio in corpus.audio():
        if not len(audio):
            raise DataError(f"{clip.path}: clip {clip.id} holds no audio")
        for model in models:
            scores = _probabilities(model, audio)
            clips[model.name].append(
                NoiseClipResult(
                    clip=clip.id,
                    seconds=len(audio) / SAMPLE_RATE,
                    segments=false_segments(scores, THRESHOLD),
                    speech_s=int((scores >= THRESHOLD).sum()) * HOP_MS / 1000,
                )
            )
        advance()
    return [NoiseResult(corpus.name, model, tuple(rows)) for model, rows in clips.items()]


def _compare(
    tallies: Sequence[Tally], results: Sequence[SetResult], draws: int, seed: int
) -> list[Comparison]:
    """The first model against each other one, each at the shift that suits it best."""
    firsts: dict[tuple[str, str], tuple[Tally, int]] = {}
    found = []
    for tally, result in zip(tallies, results, strict=True):
        key = (tally.set, tally.condition)
        first, shift_ms = firsts.setdefault(key, (tally, result.shift_ms))
        if first is not tally:
            shifts = (shift_ms, result.shift_ms)
            found.append(compare(first, tally, shifts, draws=draws, seed=seed))
    return found


def _probabilities(model: Peer, audio: Audio) -> Scores:
    scores = model.probabilities(audio)
    due = frame_count(len(audio), SAMPLE_RATE)
    if scores.shape != (due,):
        raise ModelError(f"{model.name} gave frames of shape {scores.shape}, not ({due},)")
    return scores


def _distinct(what: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise DataError(f"{what} need different names, not {', '.join(names)}")


def _counter(steps: int, progress: Progress | None) -> Advance:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done / steps)

    return advance
