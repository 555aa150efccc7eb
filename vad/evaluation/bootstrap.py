"""Is one detector better than another, or were the files lucky?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vad.errors import ParameterError
from vad.evaluation.metrics import NAN, Labels, Scores, auc_of_counts, roc_auc


@dataclass(frozen=True)
class Difference:
    """A difference of two AUCs with its bootstrap interval.

    Attributes:
        value: AUC of the first minus AUC of the second, over all files.
        low, high: the interval; NaN if the draws did not define it (one file, one class).
    """

    value: float
    low: float
    high: float


def auc_difference(
    first: Sequence[Scores],
    second: Sequence[Scores],
    labels: Sequence[Labels],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The paired percentile bootstrap over files of a difference of pooled AUCs.

    Files, not frames, are drawn with replacement (frames of a file are not independent), the
    same ones for both detectors: Efron & Tibshirani, "An introduction to the bootstrap" (1993);
    Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR performance
    evaluation", ICASSP 2004.

    Args:
        first, second: [frames] scores of each file, of the two detectors.
        labels: [frames] int8 of each file.
        draws: bootstrap samples.
        level: share of the draws that the interval holds.
        seed: of the draws.

    Raises:
        ParameterError: the three differ in files.
    """
    if not len(first) == len(second) == len(labels):
        raise ParameterError("labels", "the detectors and the labels must be of the same files")
    if not labels:
        return Difference(NAN, NAN, NAN)
    every = np.concatenate(labels)
    aucs = [roc_auc(np.concatenate(scores), every) for scores in (first, second)]
    drawn = _draws(len(labels), draws, seed)
    differences = _weighted_aucs(first, labels, drawn) - _weighted_aucs(second, labels, drawn)
    differences = differences[~np.isnan(differences)]
    low = high = NAN
    if len(labels) > 1 and len(differences):
        low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return Difference(aucs[0] - aucs[1], float(low), float(high))


def _draws(files: int, draws: int, seed: int) -> NDArray[np.float64]:
    """[draws, files]: how often each file was drawn."""
    random = np.random.default_rng(seed)
    return random.multinomial(files, np.full(files, 1 / files), size=draws).astype(np.float64)


def _weighted_aucs(
    scores: Sequence[Scores], labels: Sequence[Labels], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[draws] AUCs with each file's frames weighted by how often it was drawn."""
    truth = np.concatenate(labels)
    used = truth >= 0
    speech = truth[used] == 1
    file = np.repeat(np.arange(len(labels)), [len(each) for each in labels])[used]
    values, index = np.unique(np.concatenate(scores)[used], return_inverse=True)
    aucs = np.empty(len(weights))
    for draw, weight in enumerate(weights):
        of_frame = weight[file]
        hits, other = (
            np.bincount(index, weights=of_frame * which, minlength=len(values)).astype(np.float64)
            for which in (speech, ~speech)
        )
        aucs[draw] = auc_of_counts(hits, other)
    return aucs
