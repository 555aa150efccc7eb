"""How many segments silero-vad finds, and convad in its place, both with silero's defaults.

    python benchmarks/silero_segments.py SET… --write > segments.json

A set is what `vad eval` takes. Needs the extra `eval`.
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import silero_vad
import torch
from common import RATE, Table, finish, parser

from vad import Detector, Segmentation
from vad.audio import load_mono
from vad.evaluation.sets import load_sets
from vad.integrations import silero

MOST = 0.1  # that the two may differ by before the page says so in words


def count(sets: list[str]) -> dict[str, Counter[str]]:
    """Segments of each set and detector."""
    torch.set_num_threads(1)
    theirs, ours, detector = (
        silero_vad.load_silero_vad(onnx=True),
        silero.load_silero_vad(),
        Detector.load(),
    )
    found: dict[str, Counter[str]] = {}
    for each in load_sets(map(Path, sets)):
        counts = found[each.name] = Counter()
        for file in each.files:
            audio = load_mono(file.path, RATE)
            tensor = torch.from_numpy(audio)
            counts["files"] += 1
            counts["silero"] += len(silero_vad.get_speech_timestamps(tensor, theirs))
            counts["place"] += len(silero.get_speech_timestamps(tensor, ours))
            plain = detector.detect(audio, RATE, segmentation=Segmentation())
            counts["detect"] += len(plain.speech)
    return found


def table(found: dict[str, Counter[str]]) -> Table:
    shown = Table("Segments", ["set", "files", "silero-vad", "in its place", "", "`vad detect`"])
    for name, n in found.items():
        change = n["place"] / max(1, n["silero"]) - 1
        cells = n["files"], n["silero"], n["place"], f"{change:+.0%}", n["detect"]
        shown.rows.append([name, *map(str, cells)])
    return shown


def apart(found: dict[str, Counter[str]]) -> str:
    """In words, the sets in which the two differ by much."""
    names = [
        f"{name} ({n['place']} for {n['silero']})"
        for name, n in found.items()
        if abs(n["place"] / max(1, n["silero"]) - 1) > MOST
    ]
    return f"More than {MOST:.0%} apart: {', '.join(names)}." if names else ""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("sets", nargs="+", metavar="SET")
    arguments = options.parse_args()
    warnings.simplefilter("ignore")
    found = count(arguments.sets)
    finish([table(found)], found, arguments, apart(found))


if __name__ == "__main__":
    main()
