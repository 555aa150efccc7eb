"""How late the first word is heard after some seconds of digital silence.

    python benchmarks/after_quiet.py DATA/dev --set timit-nltk --model MODEL … --peer silero

Each recording is heard as it is and behind the silence; what counts is the first frame at a
threshold of 0.5, and the frames of speech that fall below it there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import RATE, Table, finish, parser
from numpy.typing import NDArray

from vad import Detector
from vad.audio import load_mono
from vad.evaluation.peers import Peer, convad, load_peer
from vad.evaluation.sets import load_sets
from vad.frames import HOP_MS

THRESHOLD = 0.5


def measured(peer: Peer, recordings: list[NDArray[np.float32]], seconds: float) -> list[str]:
    """Of one detector: median, 90th percentile and most of the delay in ms, and the loss in %."""
    late, lost, spoken = list[int](), 0, 0
    silence = np.zeros(round(seconds * RATE), np.float32)
    for audio in recordings:
        alone = np.asarray(peer.probabilities(audio)) >= THRESHOLD
        behind = np.asarray(peer.probabilities(np.concatenate([silence, audio]))) >= THRESHOLD
        behind = behind[round(seconds * 1000 / HOP_MS) :][: len(alone)]
        late.append(int(behind.argmax() - alone.argmax()) * HOP_MS)
        lost += int((alone[: len(behind)] & ~behind).sum())
        spoken += int(alone.sum())
    most = (np.median(late), np.percentile(late, 90), max(late))
    return [*(f"{value:.0f}" for value in most), f"{100 * lost / spoken:.2f} %"]


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("labels", type=Path)
    options.add_argument("--set", nargs="*", default=["timit-nltk"])
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--model", nargs="*", default=["convad-base"])
    options.add_argument("--peer", nargs="*", default=[])
    given = options.parse_args()
    sets = load_sets([given.labels], only=given.set)
    recordings = [load_mono(file.path) for each in sets for file in each.files]
    table = Table(
        f"First words of {len(recordings)} files after {given.seconds:g} s of silence, later by ms",
        ["", "median", "90 %", "most", "speech lost"],
    )
    for name in given.model:
        row = measured(convad(Detector.load(name, device="cpu")), recordings, given.seconds)
        table.rows.append([name, *row])
    for name in given.peer:
        table.rows.append([name, *measured(load_peer(name), recordings, given.seconds)])
    finish([table], None, given)


if __name__ == "__main__":
    main()
