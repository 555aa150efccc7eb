"""How many segments silero-vad finds, and convad in its place, both with silero's defaults.

    python benchmarks/silero_segments.py SET…            # prints the table
    python benchmarks/silero_segments.py SET… --write    # and puts it into docs/dropins.md

A set is what `vad eval` takes. Needs the extra `eval`.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # from a checkout, without installing

import silero_vad  # noqa: E402
import torch  # noqa: E402

from vad import Detector, Segmentation  # noqa: E402
from vad.audio import load_mono  # noqa: E402
from vad.evaluation.sets import load_sets  # noqa: E402
from vad.integrations import silero  # noqa: E402

PAGE = ROOT / "docs" / "dropins.md"
RATE = 16_000
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


def table(found: dict[str, Counter[str]]) -> str:
    lines = [
        "| set | files | silero-vad | in its place | | `vad detect` |",
        "|---|---|---|---|---|---|",
    ]
    apart = []
    for name, n in found.items():
        change = n["place"] / max(1, n["silero"]) - 1
        if abs(change) > MOST:
            apart.append(f"{name} ({n['place']} for {n['silero']})")
        lines.append(
            f"| {name} | {n['files']} | {n['silero']} | {n['place']} | {change:+.0%} |"
            f" {n['detect']} |"
        )
    if apart:
        lines += ["", f"More than {MOST:.0%} apart: {', '.join(apart)}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("sets", nargs="+", metavar="SET")
    options.add_argument("--write", action="store_true")
    asked = options.parse_args()
    warnings.simplefilter("ignore")
    text = table(count(asked.sets))
    print(text)
    if asked.write:
        page = PAGE.read_text(encoding="utf-8")
        start, end = "<!-- segments -->\n", "<!-- /segments -->"
        renewed = re.sub(f"{start}.*?{end}", lambda _: start + text + end, page, flags=re.DOTALL)
        PAGE.write_text(renewed, encoding="utf-8")


if __name__ == "__main__":
    main()
