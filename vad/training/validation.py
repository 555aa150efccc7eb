"""Scores of a network in training on labelled sets: the compass by which weights are chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vad.evaluation.noise import CLEAN, Condition, NoiseBank, load_noise
from vad.evaluation.peers import Peer
from vad.evaluation.run import evaluate
from vad.evaluation.sets import load_sets
from vad.nn import Network

SNRS_DB = (10.0, 5.0, 0.0)
SMALL_MINUTES = 1.5  # shorter sets count as one in the mean: each is an anecdote


class Validation:
    """Scores the averaged network on development sets, never on training data.

    Args:
        data: folders with labels.jsonl.
        noise: packs of noise held out of training, for looks at 10, 5 and 0 dB.
    """

    def __init__(self, data: list[Path], noise: list[str]) -> None:
        self.sets = load_sets(data)
        self.conditions = [CLEAN]
        if noise:
            bank = NoiseBank.of([load_noise(place) for place in noise])
            # Only the sets with exact truth: a noisy copy of a coarse label teaches nothing.
            self.conditions += [Condition(snr, bank, sets=("timit-nltk",)) for snr in SNRS_DB]

    def __call__(self, network: Network) -> dict[str, float]:
        """AUC at the best shift for each set and condition, and the mean of them, in which the
        small sets are one."""

        def score(audio: NDArray[np.float32]) -> NDArray[np.float32]:
            with torch.inference_mode():
                device = next(network.parameters()).device
                logits = network(torch.from_numpy(audio).to(device).unsqueeze(0))
                scores: NDArray[np.float32] = logits[0].sigmoid().cpu().numpy()
                return scores

        peer = Peer("network", score)
        report = evaluate([peer], self.sets, self.conditions, small_minutes=SMALL_MINUTES, draws=1)
        found = {
            row.set if row.condition == "clean" else f"{row.set} {row.condition}": row.auc_shifted
            for row in (*report.sets, *report.pooled)
            if np.isfinite(row.auc_shifted)  # without speech, or without anything else, none is
        }
        within = {row.set for row in report.sets if report.pooled and row.minutes < SMALL_MINUTES}
        counted = [auc for name, auc in found.items() if name not in within]
        return {**found, "mean": float(np.mean(counted))}
