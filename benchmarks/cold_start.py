"""How long from nothing to the first answer, in processes of their own, beside silero-vad.

python benchmarks/cold_start.py > cold_start.json
"""

from __future__ import annotations

import json
import subprocess
import sys

from common import ROOT, SPEECH, Spread, Table, finish, parser

CLOCK = (
    "import json, time; t = [time.perf_counter()]; lap = lambda: t.append(time.perf_counter())\n"
)
END = """
resident = int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0]) / 1024
print(json.dumps([*(b - a for a, b in zip(t, t[1:])), t[-1] - t[0], resident]))
"""
OURS = f"""
import vad; vad.Detector; lap()
detector = vad.Detector.load(device="cpu"); lap()
import numpy; detector.stream().push(numpy.zeros(320, "float32")); lap()
detector.detect({str(SPEECH)!r}); lap()
"""
SILERO = """
import torch, silero_vad; lap()
model = silero_vad.load_silero_vad(onnx=True); lap()
model(torch.zeros(512), 16000); lap()
silero_vad.get_speech_timestamps(torch.zeros(160000), model); lap()
"""
PARTS = ["import", "load", "first chunk", "first file", "all", "resident, MB"]


def laps(code: str) -> list[float]:
    command = [sys.executable, "-c", CLOCK + code + END]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found: list[float] = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--repeats", type=int, default=5)
    arguments = options.parse_args()
    raw: dict[str, list[list[float]]] = {"convad": [], "silero package, ONNX": []}
    for _ in range(arguments.repeats):
        for name, code in zip(raw, (OURS, SILERO), strict=True):
            raw[name].append(laps(code))
    table = Table("From nothing to the first answer, s", ["", *PARTS])
    for name, runs in raw.items():
        parts = (str(Spread.of(list(part))) for part in zip(*runs, strict=True))
        table.rows.append([name, *parts])
    finish([table], raw, arguments)


if __name__ == "__main__":
    main()
