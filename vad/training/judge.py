"""Scores of a network in training on labelled sets: the compass by which weights are chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vad.evaluation.noise import CLEAN, Condition, NoiseBank, load_noise
from vad.evaluation.peers import FunctionPeer
from vad.evaluation.run import evaluate
from vad.evaluation.sets import load_sets
from vad.nn import Network


class Judge:
    """Scores the averaged network on development sets, never on training data.

    Args:
        data: a folder with labels.jsonl.
        noise: packs of noise held out of training, for a second look at 5 dB.
    """

    def __init__(self, data: Path, noise: list[str]) -> None:
        self.sets = load_sets([data])
        self.conditions = [CLEAN]
        if noise:
            bank = NoiseBank.of([load_noise(place) for place in noise])
            # Only the sets with exact truth: a noisy copy of a coarse label teaches nothing.
            self.conditions.append(Condition(5.0, bank, sets=("timit-nltk",)))

    def __call__(self, network: Network) -> dict[str, float]:
        """AUC at the best shift for each set and condition, and their mean."""

        def score(audio: NDArray[np.float32]) -> NDArray[np.float32]:
            with torch.inference_mode():
                device = next(network.parameters()).device
                logits = network(torch.from_numpy(audio).to(device).unsqueeze(0))
                scores: NDArray[np.float32] = logits[0].sigmoid().cpu().numpy()
                return scores

        peer = FunctionPeer("network", score)
        report = evaluate([peer], self.sets, self.conditions, draws=1)
        found = {
            row.set if row.condition == "clean" else f"{row.set} {row.condition}": row.auc_shifted
            for row in report.sets
        }
        return {**found, "mean": float(np.mean(list(found.values())))}
