"""Networks of any size side by side: the rungs of a ladder, or runs with parts left out.

    python benchmarks/ladder.py MODEL… --dev DEV --noise PACK --false-alarms PACK[:package,…]

A line a model: parameters, multiply-adds, AUC at best shift (the mean of the sets with the small
ones pooled; timit-nltk at 5 dB), false segments an hour, and how much its probabilities change
when the sound moves by less than a step.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from common import RATE, SPEECH, Table, finish, parser
from numpy.typing import NDArray

from vad import Detector
from vad.evaluation.noise import CLEAN, Condition, NoiseBank, load_noise
from vad.evaluation.peers import convad
from vad.evaluation.report import Report
from vad.evaluation.run import evaluate
from vad.evaluation.sets import load_sets
from vad.nn.weights import load

SHIFTS_MS = range(1, 20)  # within a step of 20 ms
COLUMNS = [
    "model", "parameters", "M MAC/s", "hears back, s", "AUC@shift", "timit 5 dB",
    "FA / miss at 0.5", "false segments an hour", "change when moved",
]  # fmt: skip


def moved_change(detector: Detector, audio: NDArray[np.float32]) -> float:
    """Mean |p − p of the same sound some milliseconds later|, over all shifts of a step.

    Between its frames a probability is interpolated, so that a network that answers the same
    wherever a sound begins gets about zero.
    """
    still = detector.probabilities(audio, RATE)
    frames = np.arange(len(still))
    changes = []
    for shift in SHIFTS_MS:
        moved = detector.probabilities(audio[shift * RATE // 1000 :], RATE)
        wanted = np.interp(frames[: len(moved)] + shift / 10, frames, still)
        changes.append(np.abs(moved - wanted).mean())
    return float(np.mean(changes))


def table(folders: list[Path], report: Report, audio: NDArray[np.float32]) -> Table:
    """One line for each model."""
    found = Table("Side by side", COLUMNS)
    means = {m.model: m for m in report.means() if m.over == "clean, small pooled"}
    for folder in folders:
        model = load(folder)
        name = folder.name
        noisy = [r.auc_shifted for r in report.sets if (r.model, r.condition) == (name, "5 dB")]
        hours = sum(n.hours for n in report.noises if n.model == name)
        count = sum(n.segments for n in report.noises if n.model == name)
        change = moved_change(Detector.load(folder), audio)
        mean = means[name]
        found.rows.append(
            [
                name,
                f"{model.architecture.parameter_count:,}",
                f"{model.architecture.macs_per_second / 1e6:.1f}",
                f"{model.architecture.receptive_field / RATE:.2f}",
                f"{mean.auc_shifted:.4f}",
                f"{np.mean(noisy):.4f}" if noisy else "–",
                f"{mean.false_alarm:.3f} / {mean.miss:.3f}",
                f"{count / hours:.0f}" if hours else "–",
                f"{change:.4f}",
            ]
        )
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("models", nargs="+", type=Path)
    options.add_argument("--dev", type=Path, required=True)
    options.add_argument("--noise", action="append", default=[])
    options.add_argument("--false-alarms", action="append", default=[])
    asked = options.parse_args()
    conditions = [CLEAN]
    if asked.noise:
        bank = NoiseBank.of([load_noise(place) for place in asked.noise])
        conditions.append(Condition(5.0, bank, sets=("timit-nltk",)))
    peers = [convad(Detector.load(folder)) for folder in asked.models]
    noises = [load_noise(place) for place in asked.false_alarms]
    report = evaluate(peers, load_sets([asked.dev]), conditions, noises, small_minutes=1.5, draws=1)
    audio = soundfile.read(SPEECH, dtype="float32")[0]
    finish([table(asked.models, report, audio)], None, asked)


if __name__ == "__main__":
    main()
